"""The language model of Magenta RealTime 2 on the package's layers: several frames a call, any batch, state a value.

Pure functions of parameters and states; knows no audio, no files and no devices. What is our own is the loop over
frames and levels: each level is projected on its own codes only, every row has its own key, temperature and top k, and
frames that are known already go through the temporal layers together, without the levels' loop.

Source: `magenta_rt.jax.depthformer` (`MultivariateDecoder`, `StreamingEncoderDecoderSampler`), whose codes it draws.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from darius.mrt2 import sampling
from darius.mrt2.package import Architecture, sequence_layers
from darius.mrt2.sampling import Draws

Params = dict[str, Any]


class State(NamedTuple):
    """What streams remember between frames; every leaf begins with the batch.

    Attributes:
      key: of the next code that is drawn, uint32 [B, 2].
      previous: ids of the last frame, int32 [B, levels]; the start id before the first.
      temporal: past keys and values of every temporal layer, and where they count.
      frames: made or heard so far, int32 [B].
    """

    key: jax.Array
    previous: jax.Array
    temporal: Any
    frames: jax.Array


class Network:
    """The functions of one architecture. Holds no parameters.

    Args:
      unroll: levels written out per turn of the loop over a frame's levels. One compiles soonest; more leave fewer
        turns, each of which costs a GPU some microseconds.
    """

    def __init__(self, architecture: Architecture, *, unroll: int = 1) -> None:
        self._unroll = unroll
        self.architecture = architecture
        config = architecture.model.depthformer_config()
        self._sl, self._module = sequence_layers(), config.make()
        self._source, self._cap = config.conditioning_name, config.decoder.soft_cap_logits

    def shapes(self) -> Params:
        """Every parameter's shape and type, as the package makes them (float32)."""
        import flax.linen as nn

        sequence, channels = self._sl.Sequence, self.architecture.input_channels

        def whole(module: Any) -> None:
            decoder = module.decoder
            source = module.encoder.body.layer(
                sequence.from_values(jnp.zeros((1, 1, channels), jnp.int32)), training=False
            )
            inputs = decoder.embedder(decoder.get_sos(1), training=False).apply_values(jnp.mean, axis=-2)
            hidden = decoder.temporal_body.layer(inputs, training=False, constants={self._source: source})
            decoder.depth_body.layer(hidden, training=False)

        tree = jax.eval_shape(lambda: self._module.init({"params": jax.random.PRNGKey(0)}, method=whole))
        return dict(nn.unbox(tree)["params"])

    def begin(self, params: Params, key: jax.Array) -> State:
        """Streams that have heard nothing, one for each key (uint32 [B, 2])."""
        batch = key.shape[0]

        def temporal(module: Any) -> Any:
            start = module.decoder.get_sos(batch)
            embedded = module.decoder.embedder(start, training=False).apply_values(jnp.mean, axis=-2)
            spec = jax.ShapeDtypeStruct((self.architecture.input_channels,), jnp.int32)
            heard = module.encoder.body.get_output_spec(spec, constants={})
            nothing = self._sl.Sequence(
                jnp.zeros((batch, 1, *heard.shape), heard.dtype), jnp.zeros((batch, 1), jnp.bool_)
            )
            state = module.decoder.temporal_body.get_initial_state(
                batch, input_spec=embedded.channel_spec, training=False, constants={self._source: nothing}
            )
            return start.values[:, 0].astype(jnp.int32), state

        previous, state = self._module.apply({"params": params["layers"]}, method=temporal)
        return State(key, previous, state, jnp.zeros(batch, jnp.int32))

    def play(
        self,
        params: Params,
        state: State,
        conditioning: jax.Array,
        draws: Draws,
        forced: jax.Array | None = None,
        count: jax.Array | None = None,
        *,
        sorts: bool,
    ) -> tuple[jax.Array, State]:
        """The next frames of every stream.

        Args:
          conditioning: tokens int32 [B, frames, channels] (`darius.mrt2.conditioning`).
          draws: a value a stream.
          forced: codes int32 [B, frames, levels] that are not drawn; -1 where they are. None: all are drawn.
          count: how many of these frames to make, int32; None: all.
          sorts: how the top k are found, see `sampling.draw`.

        Returns:
          codes int32 [B, frames, levels], -1 in frames that were not made, and the new state.
        """
        encoded = self._encode(params, conditioning)
        batch, frames = conditioning.shape[:2]

        def frame(index: jax.Array, carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
            state, codes = carry
            known = None if forced is None else forced[:, index]
            state, drawn = self._frame(params, state, encoded[:, index][:, None], known, draws, sorts)
            return state, codes.at[:, index].set(drawn)

        nothing = jnp.full((batch, frames, self.architecture.levels), -1, jnp.int32)
        state, codes = jax.lax.fori_loop(0, frames if count is None else count, frame, (state, nothing))
        return codes, state

    def hear(self, params: Params, state: State, codes: jax.Array, conditioning: jax.Array) -> State:
        """Streams after known frames: the same as playing them with every code forced.

        Args:
          codes: int32 [B, frames, levels]; frames of -1 at the front are skipped.
          conditioning: tokens int32 [B, frames, channels].
        """
        valid = (codes >= 0).all(-1)
        count = valid.sum(-1, dtype=jnp.int32)
        ids = self._ids(codes)
        # Every layer's input is the frame before: what was last before this, then all but the last of these.
        before = jnp.concatenate([state.previous[:, None], ids[:, :-1]], axis=1)
        first = jnp.argmax(valid, axis=-1)[:, None] == jnp.arange(codes.shape[1])
        before = jnp.where(first[..., None], state.previous[:, None], before)
        source = self._sl.Sequence(self._encode(params, conditioning), valid)
        _, temporal = self._temporal(params, state.temporal, self._sl.Sequence(before, valid), source)

        def skip(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            key, frame = carry
            after = key
            for _ in range(self.architecture.levels):
                after = sampling.next_key(after, frame)
            left = frame < state.frames + count
            return jnp.where(left[:, None], after, key), frame + left

        key, frames = jax.lax.fori_loop(0, codes.shape[1], skip, (state.key, state.frames))
        previous = jnp.where((count > 0)[:, None], ids[:, -1], state.previous)
        return State(key, previous, temporal, frames)

    def _frame(
        self,
        params: Params,
        state: State,
        encoded: jax.Array,
        known: jax.Array | None,
        draws: Draws,
        sorts: bool,
    ) -> tuple[State, jax.Array]:
        """One frame: the temporal layers once, then level after level. Codes int32 [B, levels]."""
        source = self._sl.Sequence.from_values(encoded)
        previous = self._sl.Sequence.from_values(state.previous[:, None])
        hidden, temporal = self._temporal(params, state.temporal, previous, source)

        def level(
            carry: tuple[jax.Array, jax.Array, Any], given: tuple[Any, jax.Array, jax.Array | None]
        ) -> tuple[tuple[jax.Array, jax.Array, Any], jax.Array]:
            (key, inputs, memory), (projection, first, forced) = carry, given
            outputs, memory = self._depth(params, inputs, memory)
            noise = sampling.gumbel(key, first, self.architecture.codebook_size)
            code = sampling.draw(self._logits(projection, outputs), noise, draws, sorts=sorts)
            if forced is not None:
                code = jnp.where(forced >= 0, forced, code)
            ids = first + code
            return (sampling.next_key(key, state.frames), self._embed(params, ids), memory), ids

        levels = (params["projections"], self._firsts(), None if known is None else known.T)
        begun = (state.key, hidden.values, self._depth_memory(params, hidden))
        (key, _, _), ids = jax.lax.scan(level, begun, levels, unroll=self._unroll)
        return State(key, ids.T, temporal, state.frames + 1), self._codes(ids.T)

    def _depth_memory(self, params: Params, hidden: Any) -> Any:
        """The depth layers' state before a frame's first level."""

        def begin(module: Any) -> Any:
            body = module.decoder.depth_body
            return body.get_initial_state(hidden.shape[0], input_spec=hidden.channel_spec, training=False)[:-1]

        return self._module.apply({"params": params["layers"]}, method=begin)

    def _depth(self, params: Params, inputs: jax.Array, memory: Any) -> tuple[jax.Array, Any]:
        """The depth layers at one level, but for their projection on the whole vocabulary: [B, 1, D] to [B, D]."""

        def step(module: Any) -> tuple[jax.Array, Any]:
            x, states = self._sl.Sequence.from_values(inputs), []
            for layer, before in zip(module.decoder.depth_body.layers[:-1], memory, strict=True):
                x, after = layer.step(x, before, training=False, constants={})
                states.append(after)
            return x.values[:, 0], tuple(states)

        found: tuple[jax.Array, Any] = self._module.apply({"params": params["layers"]}, method=step)
        return found

    def _embed(self, params: Params, ids: jax.Array) -> jax.Array:
        """Embeddings [B, 1, D] of the ids [B] of one level."""

        def embed(module: Any) -> jax.Array:
            embedded: jax.Array = module.decoder.embedder(
                self._sl.Sequence.from_values(ids[:, None]), training=False
            ).values
            return embedded

        found: jax.Array = self._module.apply({"params": params["layers"]}, method=embed)
        return found

    def _temporal(self, params: Params, state: Any, previous: Any, source: Any) -> tuple[Any, Any]:
        """Hidden vectors of the frames after `previous` (a sequence of ids), and the layers' new state."""

        def step(module: Any) -> tuple[Any, Any]:
            inputs = module.decoder.embedder(previous, training=False).apply_values(jnp.mean, axis=-2)
            hidden: tuple[Any, Any] = module.decoder.temporal_body.step(
                inputs, state, training=False, constants={self._source: source}
            )
            return hidden

        found: tuple[Any, Any] = self._module.apply({"params": params["layers"]}, method=step)
        return found

    def _encode(self, params: Params, conditioning: jax.Array) -> jax.Array:
        def encode(module: Any) -> jax.Array:
            heard: jax.Array = module.encoder.body.layer(
                self._sl.Sequence.from_values(conditioning), training=False
            ).values
            return heard

        found: jax.Array = self._module.apply({"params": params["layers"]}, method=encode)
        return found

    def _logits(self, projection: tuple[jax.Array, jax.Array], hidden: jax.Array) -> jax.Array:
        kernel, bias = projection
        logits = jnp.einsum("...a,ab->...b", hidden, kernel.astype(hidden.dtype)) + bias.astype(hidden.dtype)
        logits = jnp.tanh(logits / self._cap) * self._cap
        found: jax.Array = logits.astype(jnp.float32)
        return found

    def _firsts(self) -> jax.Array:
        """The id of each level's first code, int32 [levels]."""
        architecture = self.architecture
        return architecture.reserved + jnp.arange(architecture.levels, dtype=jnp.int32) * architecture.codebook_size

    def _ids(self, codes: jax.Array) -> jax.Array:
        """Codes [..., levels] to ids; -1 to the start id."""
        return jnp.where(codes >= 0, codes + self._firsts(), 0).astype(jnp.int32)

    def _codes(self, ids: jax.Array) -> jax.Array:
        codes: jax.Array = (ids - self.architecture.reserved) % self.architecture.codebook_size
        return codes
