"""The decoder: one compiled call turns B encoder rows into B chunks of codes. Knows no sessions and no audio.

Within the call the encoder runs once, cross-attention keys and values are computed once, caches are static, and
every level is projected on its own codes only: a token of the wrong level, or an early end, cannot be drawn.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from darius.ahead import Ahead
from darius.depthformer import cuda, drawing, heard, one_stream, weights
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.packing import Packed, pack
from darius.depthformer.sampling import Controls, choose, guide, gumbel, list_length
from darius.depthformer.steps import Attention, frame_step, start
from darius.errors import InvalidOption, OutOfMemory
from darius.tokens import MASK_ID

DType = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodePlan:
    """How a chunk is compiled. The tokens mean the same whatever is chosen; speed, memory and compile time do not.

    Attributes:
      dtype: of weights, caches and most arithmetic.
      unroll_levels: RVQ levels written out per turn of the loop over a frame's levels (1: a plain loop). Every
        turn costs a launch of its condition on a GPU, and written-out levels fuse into fewer kernels.
      unroll_layers: write the decoder's layers out, or scan over stacked weights (compiles faster, copies more).
      unroll_encoder: the same for the encoder, where a chunk spends little time.
      exact_frames: compile one program for each number of frames, whose loops then have lengths known to the
        compiler; otherwise one program serves them all.
      encoder_rows: rows that the encoder takes at a time; without fused attention it needs the most memory of all.
      fused_attention: the encoder's attention through cuDNN, where that is possible.
      whole_rows: see `steps.Attention`.
      count_top_k: find the top k by counting instead of sorting (see `sampling.keep_top_k`).
      draw_kernel: draw codes with a CUDA kernel of our own (see `drawing`), where that is possible.
      library_rows: from this many rows on, matrix products are left to NVIDIA's library. XLA writes many kernels of its
        own otherwise and tries them out: that takes time to compile, and pays for few rows only.
      kernels: decode a single stream with CUDA kernels of our own (see `one_stream`), where that is possible.
      kernel_bits: of the decoder's weights in these kernels: 16, or 8, which rounds them (see `fused.quantised`).
    """

    dtype: DType = "float32"
    unroll_levels: int = 1
    unroll_layers: bool = True
    unroll_encoder: bool = False
    exact_frames: bool = False
    encoder_rows: int = 16
    fused_attention: bool = False
    whole_rows: int | None = None
    count_top_k: bool = False
    draw_kernel: bool = False
    library_rows: int | None = None
    kernels: bool = False
    kernel_bits: int = 16

    @classmethod
    def for_platform(cls, platform: str, *, dtype: DType | None = None) -> DecodePlan:
        """The default of a JAX platform: "cpu", or anything else as a GPU."""
        if platform == "cpu":
            return cls(dtype=dtype or "float32")
        return cls(
            dtype=dtype or "bfloat16",
            unroll_levels=4,
            encoder_rows=32,
            fused_attention=True,
            whole_rows=64,
            count_top_k=True,
            kernels=True,
            draw_kernel=True,
            library_rows=64,
        )


class Decoder:
    """A Depthformer on a device, ready to decode chunks for any batch of independent streams.

    Holds parameters and compiled functions and nothing else: calls do not influence each other.

    Args:
      params: flat parameters (`weights.Params`), converted on the host, tensor by tensor.
      dtype: "float32" or "bfloat16"; None chooses float32 on a CPU and bfloat16 elsewhere.
      device: None is JAX's default device.
      plan: how to compile; None is the platform's default.

    Raises:
      BadCheckpoint: the parameters do not fit the configuration.
    """

    def __init__(
        self,
        config: DepthformerConfig,
        params: Mapping[str, Any],
        *,
        dtype: DType | None = None,
        device: jax.Device | None = None,
        plan: DecodePlan | None = None,
    ) -> None:
        weights.check(config, params)
        self.config = config
        self.device = device or jax.devices()[0]
        self.plan = plan or DecodePlan.for_platform(self.device.platform, dtype=dtype)
        self.packed: Packed = self._place(params)
        wanted = self.plan.kernels and self.plan.unroll_layers and self.plan.dtype == "bfloat16"
        self._compiled = one_stream.compiled_for(config, self.device, self.plan.kernel_bits) if wanted else {}
        self.kernels: one_stream.Kernels | None = self._ordered()
        attention = attention_of(config, self.plan, self.device)
        draws = drawing.compiled(config, self.device) if self._can_draw() else None
        static = ("guided", "listed", "frames") if self.plan.exact_frames else ("guided", "listed")
        run = functools.partial(decode, config, self.plan, self._compiled, attention=attention, draws=draws)
        self._run = Ahead(jax.jit(run, static_argnames=static), static)
        library = {"xla_gpu_enable_triton_gemm": False} if cuda.architecture(self.device) is not None else None
        self._run_many = Ahead(jax.jit(run, static_argnames=static, compiler_options=library), static)

    def _program(self, batch: int, guided: bool) -> Ahead:
        rows, many = batch * (2 if guided else 1), self.plan.library_rows
        return self._run_many if many is not None and rows >= many else self._run

    def _can_draw(self) -> bool:
        return self.plan.draw_kernel and drawing.possible(self.config, self.device)

    def _place(self, params: Mapping[str, Any]) -> Packed:
        packed = pack(
            self.config,
            {name: np.asarray(value) for name, value in params.items()},
            self.plan.dtype,
            projection_dtype=self.plan.dtype,
            stacked=not self.plan.unroll_layers,
            stacked_encoder=not self.plan.unroll_encoder,
        )
        placed: Packed = jax.device_put(packed, self.device)
        return placed

    def _ordered(self) -> one_stream.Kernels | None:
        return one_stream.prepare(self.config, self.packed, self.plan.kernel_bits) if self._compiled else None

    def with_params(self, params: Mapping[str, Any] | None) -> Decoder:
        """The same compiled programs with other parameters of the same model, say of a later training step.

        Without any (None) it cannot play, but keeps its programs and takes no room on the device.

        Raises:
          BadCheckpoint: the parameters do not fit the configuration.
        """
        other = copy.copy(self)
        if params is None:
            del other.packed, other.kernels
        else:
            weights.check(self.config, params)
            other.packed = other._place(params)
            other.kernels = other._ordered()
        return other

    def decode_chunk(
        self,
        encoder_tokens: ArrayLike,
        controls: Controls,
        *,
        frames: int | None = None,
        prefix: ArrayLike | None = None,
    ) -> jax.Array:
        """Decodes the next frames of every stream.

        Args:
          encoder_tokens: int32 [B, encoder_length], the conditioned rows; the unconditioned ones are made here, and
            only if any row has a guidance other than 0.
          controls: one value a row.
          frames: at most (and by default) the layout's `chunk_frames`; fewer give the beginning of the same chunk.
          prefix: codes int32 [B, k, levels] that the chunk's first k frames are, k at most `frames`; -1 leaves a code
            to the model. What follows then has a past of its own to go by, not the encoder's context alone.

        Returns:
          RVQ codes int32 [B, frames, levels], on the device, possibly still being computed.

        Raises:
          InvalidOption: shapes that do not fit, or too many frames.
          OutOfMemory: the batch does not fit on the device.
        """
        frames = self.config.layout.chunk_frames if frames is None else frames
        given = self._given(prefix, np.shape(encoder_tokens)[0], frames)
        self._check(encoder_tokens, controls, frames)
        run = self._program(np.shape(encoder_tokens)[0], _guided(controls))
        call = functools.partial(run, **self._settings(controls, frames))
        try:
            codes: jax.Array = call(self.packed, self.kernels, encoder_tokens, controls, given)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise OutOfMemory(
                f"The device has too little memory to decode {np.shape(encoder_tokens)[0]} streams together.",
                "Use fewer streams, guidance 0, or a smaller model.",
            ) from error
        return codes[:, :frames]

    def compile(self, controls: Controls, *, frames: int | None = None, prefix: bool = False) -> None:
        """Compiles what `decode_chunk` needs with such controls, and executes nothing; from any thread.

        Args:
          controls: as many rows, guided or not, as will be decoded; other values do not matter.
          prefix: whether the chunk will have one.
        """
        batch = len(np.asarray(controls.guidance))
        frames = self.config.layout.chunk_frames if frames is None else frames
        rows = jax.ShapeDtypeStruct((batch, self.config.layout.encoder_length), np.int32)
        chunk = (batch, self.config.layout.chunk_frames, self.config.layout.codec_levels)
        given = jax.ShapeDtypeStruct(chunk, np.int32) if prefix else None
        run, settings = self._program(batch, _guided(controls)), self._settings(controls, frames)
        run.compile(self.packed, self.kernels, rows, controls, given, **settings)

    def lower(self, batch: int, *, guided: bool = True) -> jax.stages.Lowered:
        """The program of a whole chunk for a batch, not yet compiled: to time its compilation, or to look inside."""
        rows = jax.ShapeDtypeStruct((batch, self.config.layout.encoder_length), np.int32)
        controls = Controls.of(batch, guidance=5.0 if guided else 0.0)
        settings = self._settings(controls, self.config.layout.chunk_frames)
        return self._program(batch, guided).lower(self.packed, self.kernels, rows, controls, **settings)

    def _settings(self, controls: Controls, frames: int) -> dict[str, Any]:
        """What a program is told by name."""
        codes = self.config.layout.codebook_size
        listed = None if self.plan.count_top_k else list_length(controls.top_k, codes)
        return {"guided": _guided(controls), "listed": listed, "frames": frames}

    def _given(self, prefix: ArrayLike | None, batch: int, frames: int) -> jax.Array | None:
        """The prefix as int32 [B, chunk_frames, levels], -1 past its end; None if there is none."""
        if prefix is None:
            return None
        layout, codes = self.config.layout, jnp.asarray(prefix, jnp.int32)
        shape = codes.shape
        if len(shape) != 3 or shape[0] != batch or shape[1] > frames or shape[2] != layout.codec_levels:
            raise InvalidOption(
                f"A prefix is [{batch}, up to {frames}, {layout.codec_levels}] codes, not {list(shape)}."
            )
        missing = layout.chunk_frames - codes.shape[1]
        return jnp.pad(codes, ((0, 0), (0, missing), (0, 0)), constant_values=-1)

    def _check(self, encoder_tokens: ArrayLike, controls: Controls, frames: int) -> None:
        layout = self.config.layout
        if not 1 <= frames <= layout.chunk_frames:
            raise InvalidOption(f"A chunk has 1 to {layout.chunk_frames} frames, not {frames}.")
        shape = np.shape(encoder_tokens)
        if len(shape) != 2 or shape[1] != layout.encoder_length or shape[0] < 1:
            raise InvalidOption(f"Encoder rows are [batch, {layout.encoder_length}], not {list(shape)}.")
        for name, value in zip(controls._fields, controls, strict=True):
            if np.shape(value) != shape[:1]:
                raise InvalidOption(
                    f"The control {name} is {list(np.shape(value))}, not one value for each of {shape[0]} rows."
                )


def _guided(controls: Controls) -> bool:
    return bool(np.any(np.asarray(controls.guidance) != 0))


def attention_of(config: DepthformerConfig, plan: DecodePlan, device: jax.Device) -> Attention:
    """A plan's attention as far as a device has what it asks for."""
    architecture = cuda.architecture(device)
    modern = architecture is not None and int(architecture) >= 80 and plan.dtype == "bfloat16"
    kernel = modern and plan.whole_rows is not None and heard.possible(config, device)
    return Attention(
        encoder_rows=plan.encoder_rows,
        fused="cudnn" if modern and plan.fused_attention else None,
        whole_rows=plan.whole_rows,
        kernel=heard.compiled(config, device) if kernel else None,
    )


def decode(
    config: DepthformerConfig,
    plan: DecodePlan,
    compiled: Mapping[int, one_stream.Compiled],
    packed: Packed,
    kernels: one_stream.Kernels | None,
    encoder_tokens: jax.Array,
    controls: Controls,
    given: jax.Array | None = None,
    *,
    guided: bool,
    listed: int | None,
    frames: int | jax.Array,
    attention: Attention | None = None,
    draws: Mapping[bool, str] | None = None,
) -> jax.Array:
    """`Decoder.decode_chunk` as a pure function: codes int32 [B, chunk_frames, levels], 0 past `frames`.

    Args:
      compiled: the kernels of one stream by rows, see `one_stream`; kernels: their matrices.
      given: codes int32 [B, chunk_frames, levels] that are not drawn; -1 where they are.
      guided: any row has a guidance other than 0.
      listed: how the top k are found, see `sampling.keep_top_k`.
      attention: of `attention_of`; None for plain products.
      draws: the kernel that draws, see `drawing.compiled`; None for `sampling.choose`.
    """
    layout = config.layout
    batch = encoder_tokens.shape[0]
    rows = with_unconditioned(config, encoder_tokens) if guided else encoder_tokens
    attention = attention or Attention(encoder_rows=plan.encoder_rows)
    empty = jnp.zeros((batch, layout.chunk_frames, layout.codec_levels), jnp.int32)
    known = jnp.full_like(empty, -1) if given is None else given
    if kernels is not None and batch == 1 and len(rows) in compiled:
        parts = (packed, kernels, compiled[len(rows)], attention)
        return one_stream.decode(config, *parts, rows, controls, known[0], frames)[None]
    contexts, state = start(config, packed, rows, attention)
    offsets = layout.codec_offset + jnp.arange(layout.codec_levels) * layout.codebook_size

    def pick(_: None, extra: tuple[jax.Array, ...], hidden: jax.Array) -> tuple[None, jax.Array, jax.Array]:
        table, offset, noise, known = extra
        logits = jnp.dot(hidden[:, 0].astype(table.dtype), table, preferred_element_type=jnp.float32)
        if draws is not None:
            codes = drawing.draw(draws[guided], logits, noise, controls, known)
        else:
            if guided:
                logits = guide(logits[:batch], logits[batch:], controls.guidance)
            codes = choose(logits, noise, controls.temperature, controls.top_k, listed=listed)
            codes = jnp.where(known >= 0, known, codes)
        ids = offset + codes
        return None, jnp.concatenate([ids, ids]) if guided else ids, codes

    def frame_body(frame: jax.Array, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        state, codes = carry
        steps = frame * layout.codec_levels + jnp.arange(layout.codec_levels)
        noise = gumbel(jnp.asarray(controls.seed), jnp.asarray(controls.chunk), steps[:, None], layout.codebook_size)
        extras = (packed.projection, offsets, noise, known[:, frame].T)
        state, _, _, drawn = frame_step(
            config, packed, contexts, state, frame, pick, None, extras, unroll_levels=plan.unroll_levels
        )
        return state, jax.lax.dynamic_update_slice_in_dim(codes, drawn.T[:, None], frame, axis=1)

    codes: jax.Array
    _, codes = jax.lax.fori_loop(0, frames, frame_body, (state, empty))
    return codes


def with_unconditioned(config: DepthformerConfig, encoder_tokens: jax.Array) -> jax.Array:
    """Rows [B, L], then the same rows with the style masked: [2B, L]."""
    without = encoder_tokens.at[:, -config.layout.context_style_levels :].set(MASK_ID)
    return jnp.concatenate([encoder_tokens, without])
