"""The codec on a device: waveforms to RVQ codes and back, whole or as a stream. Knows no files and no bars.

Programs are compiled once for each of a few block lengths; other lengths are padded to the next one, which changes
nothing in what is kept. Long inputs go through block by block, so memory does not grow with them.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from darius.ahead import Ahead
from darius.codec import network, rvq, streaming, weights
from darius.codec.config import CodecConfig
from darius.codec.conv import Rows
from darius.codec.network import Params
from darius.codec.streaming import CodecState
from darius.errors import BadAudio, InvalidOption

BLOCK_FRAMES = 250
"""Frames that go through the network at once, at most."""

STREAMS = 32
"""Of a larger batch of streams, a multiple of this, as many go through the network at a time: a GPU is full with them,
and memory does not grow with the rest."""


class Codec:
    """A SpectroStream on a device. Holds parameters and compiled functions; calls do not influence each other.

    Args:
      params: nested parameters (`darius.codec.weights`), any float dtype.
      dtype: of the conv stacks; by default float32 on a CPU and bfloat16 elsewhere. Codebooks and transforms are
        float32 always.
      device: by default JAX's first.

    Raises:
      BadCheckpoint: the parameters do not fit the configuration.
    """

    def __init__(
        self,
        config: CodecConfig,
        params: Params,
        *,
        dtype: DTypeLike | None = None,
        device: jax.Device | None = None,
    ) -> None:
        weights.check(config, params)
        self.config = config
        self.device = device or jax.devices()[0]
        self.dtype = jnp.dtype(dtype or (jnp.float32 if self.device.platform == "cpu" else jnp.bfloat16))
        self._params = jax.device_put(self._cast(params), self.device)
        self._encode = Ahead(jax.jit(self._encode_block, static_argnames="levels"), ["levels"])
        self._decode = jax.jit(self._decode_all)
        self._step = Ahead(jax.jit(self._decode_block))

    @property
    def sample_rate(self) -> int:
        return self.config.sample_rate

    @property
    def channels(self) -> int:
        return self.config.channels

    @property
    def frame_samples(self) -> int:
        """Samples in a frame."""
        return self.config.frame_samples

    @property
    def num_levels(self) -> int:
        return self.config.num_levels

    @property
    def lookahead_frames(self) -> int:
        """Frames by which `step` lags behind its codes."""
        return self.config.lookahead_frames

    @property
    def history_frames(self) -> int:
        """Frames that a stream has to be primed with to sound as if it had heard everything before them."""
        return streaming.history_frames(self.config)

    def encode(self, samples: ArrayLike, levels: int = 16, *, block_frames: int = BLOCK_FRAMES) -> jax.Array:
        """RVQ codes of whole waveforms; zeros fill up the last frame.

        Args:
          samples: float32 [B, n, channels] in [-1, 1] at `sample_rate`.
          levels: how many RVQ levels.
          block_frames: frames that go through the network at once, at most. Large batches are better off with few:
            they fill a device anyway, and what the compiler tries out and the layers hold grows with both.

        Returns:
          codes int32 [B, ceil(n / frame_samples), levels].

        Raises:
          BadAudio: the shape is another one, or nothing is in it.
          InvalidOption: more levels than there are.
        """
        heard = np.asarray(samples, np.float32)
        if heard.ndim != 3 or heard.shape[2] != self.channels or 0 in heard.shape:
            raise BadAudio(f"The codec encodes samples [batch, time, {self.channels}], not {list(heard.shape)}.")
        if not 1 <= levels <= self.num_levels:
            raise InvalidOption(f"This codec has {self.num_levels} RVQ levels, so {levels} cannot be encoded.")
        batch, length, _ = heard.shape
        frames = -(-length // self.frame_samples)
        block = min(bucket(frames), block_frames)
        ahead = streaming.ahead_samples(self.config)
        padding = -(-frames // block) * block * self.frame_samples + ahead - length
        heard = np.pad(heard, ((0, 0), (0, padding), (0, 0)))
        rows = self._zeros(self._encoding(batch))
        found = []
        for start in range(0, frames, block):
            end = (start + block) * self.frame_samples + ahead
            codes, rows = self._encode(self._params, rows, heard[:, start * self.frame_samples : end], levels=levels)
            found.append(codes)
        return jnp.concatenate(found, axis=1)[:, :frames]

    def decode(self, codes: ArrayLike) -> jax.Array:
        """Waveforms of whole sequences of codes, all-zero embeddings being the lookahead of their last frame.

        Args:
          codes: int32 [B, frames, levels], any number of levels up to `num_levels`; -1 adds nothing.

        Returns:
          float32 [B, frames * frame_samples, channels].

        Raises:
          InvalidOption: the shape is another one, or a code is outside the codebook.
        """
        tokens = self._codes(codes)
        frames = tokens.shape[1]
        if frames <= BLOCK_FRAMES:
            padded = _pad_frames(tokens, bucket(frames))
            whole: jax.Array = self._decode(self._params, padded)
            return whole[:, : frames * self.frame_samples]
        blocks = -(-(frames + self.lookahead_frames) // BLOCK_FRAMES)
        padded = _pad_frames(tokens, blocks * BLOCK_FRAMES)
        state, heard = self.start(tokens.shape[0]), []
        for block in np.split(padded, blocks, axis=1):
            samples, state = self._step(self._params, state, block)
            heard.append(samples)
        late = self.lookahead_frames * self.frame_samples
        return jnp.concatenate(heard, axis=1)[:, late : late + frames * self.frame_samples]

    def start(self, batch: int) -> CodecState:
        """The state of `batch` decoding streams before their first frame: a value; every leaf begins with the batch."""
        state: CodecState = self._zeros(self._decoding(batch))
        return state

    def step(self, state: CodecState, codes: ArrayLike) -> tuple[jax.Array, CodecState]:
        """The next k frames of every stream; compiled for each k and batch that is used.

        To prime streams with codes whose sound is not wanted, step them and leave the samples. To hear the end of a
        stream, step `lookahead_frames` frames of -1.

        Args:
          state: of `start` or the step before; it stays valid.
          codes: int32 [B, k, levels], on any device; -1 adds nothing.

        Returns:
          float32 [B, k * frame_samples, channels], `lookahead_frames` late, and the new state.

        Raises:
          InvalidOption: the codes' shape does not fit.
        """
        if np.ndim(codes) != 3 or np.shape(codes)[0] != len(state.position):
            raise InvalidOption(
                f"A step of {len(state.position)} streams needs codes [{len(state.position)}, frames, levels], "
                f"not {list(np.shape(codes))}."
            )
        stepped: tuple[jax.Array, CodecState] = self._step(self._params, state, codes)
        return stepped

    def compile_step(self, batch: int, frames: int, levels: int) -> None:
        """Compiles what `step` needs for codes of this shape, and executes nothing; from any thread."""
        codes = jax.ShapeDtypeStruct((batch, frames, levels), np.int32)
        self._step.compile(self._params, self._decoding(batch), codes)

    def compile_encode(self, batch: int, frames: int, levels: int) -> None:
        """Compiles what `encode` needs for waveforms of so many frames, and executes nothing; from any thread."""
        samples = min(bucket(frames), BLOCK_FRAMES) * self.frame_samples + streaming.ahead_samples(self.config)
        waveform = jax.ShapeDtypeStruct((batch, samples, self.channels), np.float32)
        self._encode.compile(self._params, self._encoding(batch), waveform, levels=levels)

    def _decoding(self, batch: int) -> CodecState:
        """Shapes and dtypes of the state in which `batch` decoding streams begin: all zeros."""
        return cast(CodecState, _several(self._past[0], batch))

    def _encoding(self, batch: int) -> Rows:
        return cast(Rows, _several(self._past[1], batch))

    @functools.cached_property
    def _past(self) -> tuple[CodecState, Rows]:
        """Of one stream, decoding and encoding. Finding out takes as long as encoding a second of sound."""
        return cast(
            tuple[CodecState, Rows],
            jax.eval_shape(
                lambda: (
                    streaming.start_decoding(self.config, self._params, 1),
                    streaming.start_encoding(self.config, self._params, 1),
                )
            ),
        )

    def _zeros(self, shapes: Any) -> Any:
        return jax.device_put(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes), self.device)

    def _cast(self, params: Params) -> Params:
        flat = {}
        for name, value in weights.flatten(params).items():
            dtype = jnp.float32 if name == weights.EMBEDDING else self.dtype
            flat[name] = np.asarray(value).astype(dtype)
        return weights.nest(flat)

    def _codes(self, codes: ArrayLike) -> np.ndarray[Any, np.dtype[np.int32]]:
        tokens = np.asarray(codes, np.int32)
        if tokens.ndim != 3 or 0 in tokens.shape or tokens.shape[2] > self.num_levels:
            raise InvalidOption(
                f"The codec decodes codes [batch, frames, up to {self.num_levels} levels], not {list(tokens.shape)}."
            )
        if tokens.max() >= self.config.codebook_size:
            raise InvalidOption(f"The code {tokens.max()} is outside the codebook of {self.config.codebook_size}.")
        return tokens

    def _encode_block(self, params: Params, rows: Rows, waveform: jax.Array, *, levels: int) -> tuple[jax.Array, Rows]:
        embeddings, rows = streaming.encode_block(self.config, params, rows, waveform)
        codes, _ = rvq.quantise(params["quantizer"]["embedding"][:levels], embeddings.astype(jnp.float32))
        return codes, rows

    def _decode_all(self, params: Params, codes: jax.Array) -> jax.Array:
        return network.decode(self.config, params, rvq.dequantise(params["quantizer"]["embedding"], codes))

    def _decode_block(self, params: Params, state: CodecState, codes: jax.Array) -> tuple[jax.Array, CodecState]:
        batch = codes.shape[0]
        if batch <= STREAMS or batch % STREAMS:
            return self._decode_streams(params, state, codes)

        def parted(leaf: jax.Array) -> jax.Array:
            return leaf.reshape(batch // STREAMS, STREAMS, *leaf.shape[1:])

        def joined(leaf: jax.Array) -> jax.Array:
            return leaf.reshape(batch, *leaf.shape[2:])

        groups = jax.tree.map(parted, (state, codes))
        together: tuple[jax.Array, CodecState] = jax.tree.map(
            joined, jax.lax.map(lambda group: self._decode_streams(params, *group), groups)
        )
        return together

    def _decode_streams(self, params: Params, state: CodecState, codes: jax.Array) -> tuple[jax.Array, CodecState]:
        embeddings = rvq.dequantise(params["quantizer"]["embedding"], codes)
        return streaming.decode_block(self.config, params, state, embeddings)


def _several(one: Any, batch: int) -> Any:
    """Shapes of a state of so many streams, from those of one: each begins with the batch."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype), one)


def bucket(frames: int) -> int:
    """The block length that `frames` frames are padded to: a power of two, a multiple of 25, at most BLOCK_FRAMES."""
    if frames <= 16:
        return int(1 << (frames - 1).bit_length())
    return min(-(-frames // 25) * 25, BLOCK_FRAMES)


def _pad_frames(codes: np.ndarray[Any, np.dtype[np.int32]], frames: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.pad(codes, ((0, 0), (0, frames - codes.shape[1]), (0, 0)), constant_values=-1)
