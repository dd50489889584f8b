"""Initial weights in which copying from the context already works: an induction circuit, written down by hand.

A random Depthformer learns to copy after tens of thousands of steps; `tiny` gets about two thousand. So its start is
laid out on purpose. Everything here is ordinary weights of the ordinary network: training may change all of it.

The residual's dimensions are split into slots (`Slots`):
  position  the fastest sinusoids; in the decoder, where there are none, the same dimensions hold the copy
  content   which code a token is: made from the codec's codebook vectors, so that codes that sound alike are alike
  history   what came before a place: content of earlier frames, each lag turned by its own random map
  marks     constants that tell kinds of tokens and of positions apart

1. Encoder layer 0: at the first token of a frame (its "hub"), one head adds the content of the frame's other tokens,
   the others look at earlier frames (`LAGS`, by position alone: `kernels`) and add their content to `history`.
   So a hub knows its frame and what preceded it.
2. Temporal layer 0, cross-attention: the start token, which has no past, fetches the context's last frame, and the
   history of the first style token, which stands where the hub of the next frame would be.
3. Temporal layer 1: relative biases gather the frames just played into `history`, as the encoder's heads do. Then
   cross-attention asks: which hub has a history like mine? It reads that hub's content.
4. Depth layer 0: every level looks at the temporal output and takes the copy along. The output projection is the
   content vectors again, so an attended code raises its own logit. Depth layer 1 takes off the copy the levels that
   have been played, which leaves those still to come.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.network import sinusoids
from darius.tokens import MASK_ID, PAD_ID
from recipes.tiny.lm.kernels import Kernel, position_kernel

Floats = NDArray[np.float32]
Array = NDArray[np.float64]

LAGS = ((1, 1), (2, 2), (3, 5), (6, 13))
"""Frames back, first to last, that each of the first heads looks at; the head after them collects the frame."""

CONTENT = 12.0
MARK = 4.0
FINE = 6.0
START = 1.5
LAST = 1.4
MATCH = 0.42
COPY = 3.0
CARRY = 1.6
LOGIT = (1.4, 2.0, 1.6, 2.0)
COLLECT = 1.3
EXPLAINED = 0.38
HUB = 6.0
EDGE = 12.0
ENCODER_RMS = 1.09
MARKS_SEEN = (2.3, 3.3, 3.3, 3.3, 3.3, 4.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slots:
    """Orthonormal directions of the residual, as columns: [D, size] or, for marks, [D].

    All but `position` and `free` are orthogonal to the sinusoid of every position, so that neither disturbs
    the other: the slow sinusoids, seen at 1006 places only, span few dimensions.
    """

    position: Array
    content: Array
    history: Array
    free: Array
    token_mark: Array
    hub_mark: Array
    member_mark: Array
    frame_mark: Array
    style_mark: Array
    start_mark: Array
    frequencies: Array

    @classmethod
    def of(cls, config: DepthformerConfig) -> Slots:
        """The fast sinusoids are positions; what the slower ones leave free holds the rest."""
        width, size, half = config.embed_dim, config.head_dim, config.embed_dim // 2
        axes = np.eye(width)
        fast = np.r_[0 : size // 2, half : half + size // 2]
        slow = np.setdiff1d(np.arange(width), fast)
        positions = sinusoids(config.layout.encoder_length, width)[:, slow].astype(np.float64)
        directions = axes[:, slow] @ np.linalg.svd(positions, full_matrices=True)[2][::-1].T  # the quietest first
        marks = directions[:, :6].T
        return cls(
            position=axes[:, fast],
            content=directions[:, 6 : 6 + size],
            history=directions[:, 6 + size : 5 + 2 * size],
            free=directions[:, 5 + 2 * size :],
            token_mark=marks[0],
            hub_mark=marks[1],
            member_mark=marks[2],
            frame_mark=marks[3],
            style_mark=marks[4],
            start_mark=marks[5],
            frequencies=10000.0 ** (-np.arange(half) / (half - 1)),
        )


class Structure:
    """Writes the circuit into small random weights."""

    def __init__(self, config: DepthformerConfig, codebooks: NDArray[Any] | None, seed: int) -> None:
        """Takes the codec's codebooks [levels, codes, dims], or None for random content vectors."""
        self.config, self.slots = config, Slots.of(config)
        self.rng = np.random.default_rng(seed)
        self.params = self._small_random()
        self.content = self._content_vectors(codebooks)
        self.lag_maps = [self._map(config.head_dim, config.head_dim - 1) for _ in LAGS]

    def build(self, counts: NDArray[Any] | None) -> dict[str, Floats]:
        self._tokens()
        self._encoder()
        self._gather()
        self._start()
        copy = self._copy()
        self._depth(copy)
        self._projection(copy)
        if counts is not None:
            self._frequencies(counts)
        return {name: value.astype(np.float32) for name, value in self.params.items()}

    def _map(self, rows: int, columns: int) -> NDArray[np.float64]:
        """A random map with orthogonal rows or columns that keeps lengths on average."""
        size = max(rows, columns)
        q, _ = np.linalg.qr(self.rng.standard_normal((size, size)))
        return q[:rows, :columns] * np.sqrt(size / columns)

    def _small_random(self) -> dict[str, Any]:
        params = {}
        for name, shape in weights.shapes(self.config).items():
            if name.endswith("/scale"):
                params[name] = np.ones(shape, np.float32)
            elif name == weights.EMBEDDING or name.endswith("/rel_embedding"):
                params[name] = np.zeros(shape, np.float32)
            else:
                gain = 0.1 if name.endswith(("out/kernel", "wo/kernel", "query/kernel")) else 1.0
                gain = 0.1 if name == weights.LOGITS else gain
                params[name] = self.rng.standard_normal(shape, np.float32) * np.float32(gain / np.sqrt(shape[0]))
        return params

    def _content_vectors(self, codebooks: NDArray[Any] | None) -> Array:
        """Unit vectors [levels, codes, content dims]: half the codec's vector (turned per level), half random."""
        layout, width = self.config.layout, self.config.head_dim
        own = self.rng.standard_normal((layout.codec_levels, layout.codebook_size, width))
        own /= np.linalg.norm(own, axis=-1, keepdims=True)
        if codebooks is None:
            return own
        heard = np.asarray(codebooks[: layout.codec_levels], np.float64)
        heard = heard - heard.mean(axis=1, keepdims=True)
        heard /= np.linalg.norm(heard, axis=-1, keepdims=True) + 1e-9
        heard = np.stack([vectors @ self._map(heard.shape[-1], width) for vectors in heard])
        mixed = own + heard
        return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)

    def _tokens(self) -> None:
        table, slots, layout = self.params[weights.EMBEDDING], self.slots, self.config.layout
        size = layout.codebook_size
        for level in range(layout.codec_levels):
            rows = slice(layout.codec_offset + level * size, layout.codec_offset + (level + 1) * size)
            table[rows] = MARK * (slots.token_mark + (slots.hub_mark if level == 0 else slots.member_mark))
            if level < layout.context_levels:
                table[rows] += CONTENT * self.content[level] @ slots.content.T
            else:  # out of the way of the match
                table[rows] += (
                    FINE * self.content[level] @ self._map(self.config.head_dim, slots.free.shape[1]) @ slots.free.T
                )
        styles = slice(layout.style_offset, layout.style_offset + layout.context_style_levels * size)
        vectors = self.rng.standard_normal((layout.context_style_levels * size, self.config.head_dim))
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
        table[styles] = MARK * np.sqrt(2) * slots.style_mark + CONTENT * vectors @ slots.content.T
        table[MASK_ID] = np.sqrt(CONTENT**2 + 2 * MARK**2) * slots.style_mark  # as long as the others
        table[PAD_ID] = MARK * slots.start_mark

    def _columns(self, name: str, head: int) -> Any:
        """The columns of one head in a query, key or value kernel."""
        size = self.config.head_dim
        return self.params[f"{name}/kernel"][:, head * size : (head + 1) * size]

    def _rows(self, name: str, head: int) -> Any:
        """The rows of one head in an output kernel."""
        size = self.config.head_dim
        return self.params[f"{name}/out/kernel"][head * size : (head + 1) * size]

    def _move(self, name: str, head: int, source: Array, target: Array) -> None:
        """Values of a head: read `source` [D, n], write `target` [n, D]; the head's other dims stay empty."""
        value, out = self._columns(f"{name}/value", head), self._rows(name, head)
        value[:], out[:] = 0.0, 0.0
        value[:, : source.shape[1]], out[: len(target)] = source, target

    def _point(self, name: str, head: int, kernel: Kernel, *, gain: float, constant: Array | None = None) -> None:
        """A head that attends by position: around `kernel.centre`, relative or, asked by a constant mark, absolute.

        For the pair (sin wp, cos wp), turning by w * centre gives the pair of the place looked for.
        """
        query, key = self._columns(f"{name}/query", head), self._columns(f"{name}/key", head)
        query[:], key[:] = 0.0, 0.0
        axes, half = np.eye(self.config.embed_dim), self.config.embed_dim // 2
        for n, (pair, weight) in enumerate(zip(kernel.pairs, kernel.weights, strict=True)):
            size = np.sqrt(weight) * gain
            sine, cosine = axes[pair], axes[half + pair]
            turn = self.slots.frequencies[pair] * kernel.centre
            key[:, 2 * n], key[:, 2 * n + 1] = sine * size, cosine * size
            if constant is not None:
                sine, cosine = 0.0 * constant, constant
            query[:, 2 * n] = size * (np.cos(turn) * sine + np.sin(turn) * cosine)
            query[:, 2 * n + 1] = size * (np.cos(turn) * cosine - np.sin(turn) * sine)

    def _encoder(self) -> None:
        name, levels = f"{weights.encoder_layer(0)}/attention", self.config.layout.context_levels
        for head, (first, last) in enumerate(LAGS):
            frames = last - first + 1
            centre, reach = -levels * (first + last) / 2 + (levels - 1) / 2, (frames * levels - 1) / 2
            self._point(name, head, self._kernel(centre, reach), gain=ENCODER_RMS)
            self._gather_head(name, head, levels * np.sqrt(frames))
        collect = len(LAGS)
        self._point(name, collect, self._kernel(levels / 2, (levels - 2) / 2), gain=ENCODER_RMS)
        self._move(name, collect, self.slots.content, COLLECT * ENCODER_RMS * (levels - 1) * self.slots.content.T)

    def _kernel(self, centre: float, reach: float) -> Kernel:
        return position_kernel(self.slots.frequencies, centre, reach, self.config.head_dim)

    def _gather_head(self, name: str, head: int, gain: float) -> None:
        self._move(name, head, self.slots.content, gain * self.lag_maps[head] @ self.slots.history.T)

    def _gather(self) -> None:
        """Temporal layer 1 gathers the frames just played; its own input is frame f - 1, so distance 0 is lag 1."""
        bias, name = self.params[weights.TEMPORAL_BIAS], f"{weights.temporal_layer(1)}/self_attention"
        levels = self.config.layout.context_levels
        offsets = -levels * np.arange(1, self.config.temporal_buckets + 1)[:, None] + np.arange(levels)
        for head, (first, last) in enumerate(LAGS):
            frames = last - first + 1
            centre, reach = -levels * (first + last) / 2 + (levels - 1) / 2, (frames * levels - 1) / 2
            scores = self._kernel(centre, reach).scores(self.slots.frequencies, offsets)
            seen = np.log(np.exp(scores - scores.max()).sum(axis=1))  # what the encoder's head sees of each frame
            # Too early for this lag, the oldest place (the start token) is the nearest.
            too_near = np.maximum(first - np.arange(1, len(seen) + 1), 0)
            bias[head] = np.maximum(seen - seen.max(), -9.0) - 2.0 * too_near
            self._gather_head(name, head, np.sqrt(frames))
            if last <= 2:  # lag 2 of frame 1 is the context's last frame; longer lags find nothing at the start
                self._columns(f"{name}/value", head)[:] += self.slots.position

    def _start(self) -> None:
        """Temporal layer 0: the start token fetches the last frame and the history of the next; all get a mark."""
        name, slots, layout = f"{weights.temporal_layer(0)}/encoder_decoder_attention", self.slots, self.config.layout
        kernel = self._kernel(layout.context_frames * layout.context_levels, 0.0)
        self._point(name, 0, kernel, constant=slots.start_mark, gain=1.0)
        self._move(name, 0, slots.history, START * slots.history.T)
        kernel = self._kernel((layout.context_frames - 1) * layout.context_levels, 0.0)
        self._point(name, 1, kernel, constant=slots.start_mark, gain=1.0)
        self._move(name, 1, slots.content, LAST * slots.position.T)
        self._move(name, 2, where(self.config, slice(None))[:, None], 12.0 * slots.frame_mark[None])
        # Frames that are not the start ask nothing and get a mean over all places: two more heads take it off again.
        for head, slot, place, gain in (
            (3, slots.content, slots.position, LAST),
            (4, slots.history, slots.history, START),
        ):
            self._columns(f"{name}/query", head)[:] = 0.0
            self._move(name, head, slot, -gain * place.T)

    def _copy(self) -> Array:
        """Temporal layer 1, head 0: match histories among the hubs, read the content. Gives the map of the copy."""
        name, slots = f"{weights.temporal_layer(1)}/encoder_decoder_attention", self.slots
        query, key = self._columns(f"{name}/query", 0), self._columns(f"{name}/key", 0)
        query[:, :-1] = key[:, :-1] = MATCH * slots.history
        query[:, -1] = slots.token_mark + slots.start_mark
        key[:, -1] = HUB * slots.hub_mark - EDGE * where(
            self.config, slice(LAGS[-1][-1] * self.config.layout.context_levels)
        )
        turn = self._map(self.config.head_dim, self.config.head_dim)
        self._move(name, 0, slots.content, COPY * turn @ slots.position.T)
        return turn

    def _depth(self, turn: Array) -> None:
        name, slots = f"{weights.depth_layer(0)}/self_attention", self.slots
        query, key = self._columns(f"{name}/query", 0), self._columns(f"{name}/key", 0)
        query[:], key[:] = 0.0, 0.0
        query[:, 0], key[:, 0] = slots.token_mark, slots.frame_mark
        self._move(name, 0, slots.position, CARRY * slots.position.T)
        # The copy holds all context levels at once: take off those that are played already.
        bias, name = self.params[weights.DEPTH_BIAS], f"{weights.depth_layer(1)}/self_attention"
        for head in range(1, self.config.layout.context_levels):
            bias[head] = -12.0
            bias[head, head - 1] = 0.0
            self._columns(f"{name}/query", head)[:] *= 0.3
            self._move(name, head, slots.content, -EXPLAINED * turn @ slots.position.T)

    def _projection(self, turn: Array) -> None:
        kernel, layout = self.params[weights.LOGITS], self.config.layout
        for level in range(layout.context_levels):
            first = layout.codec_offset + level * layout.codebook_size
            columns = (self.content[level] @ turn @ self.slots.position.T).T
            kernel[:, first : first + layout.codebook_size] += LOGIT[level] * columns

    def _frequencies(self, counts: NDArray[Any]) -> None:
        """The token mark is in every position of the depth stack: it carries the log frequency of each code."""
        kernel, layout = self.params[weights.LOGITS], self.config.layout
        logged = np.log(counts + 0.5)
        logged -= logged.mean(axis=1, keepdims=True)
        for level, row in enumerate(logged):
            first = layout.codec_offset + level * layout.codebook_size
            seen = MARKS_SEEN[min(level, len(MARKS_SEEN) - 1)]
            kernel[:, first : first + layout.codebook_size] += np.outer(self.slots.token_mark, row / seen)


def where(config: DepthformerConfig, places: slice) -> Array:
    """A direction [D] along which the sinusoids of these places are about 1, and the others' about 0."""
    positions = sinusoids(config.layout.encoder_length, config.embed_dim).astype(np.float64)
    target = np.zeros(config.layout.encoder_length)
    target[places] = 1.0
    return np.linalg.solve(positions.T @ positions + np.eye(config.embed_dim), positions.T @ target)


def initialise(
    config: DepthformerConfig,
    codebooks: NDArray[Any] | None = None,
    *,
    seed: int = 0,
    counts: NDArray[Any] | None = None,
) -> dict[str, Floats]:
    """Full-size flat parameters with the circuit in them.

    Args:
      config: 1 encoder layer or more, 2 temporal layers or more, 5 heads or more.
      codebooks: the codec's RVQ vectors [levels, codes, dims]; None draws random ones.
      counts: how often each code occurs, [levels, codes]: the logits start at about these frequencies.
    """
    return Structure(config, codebooks, seed).build(counts)
