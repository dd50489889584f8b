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
    """The functions of one architecture. Holds no parameters."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        config = architecture.model.depthformer_config()
        self._sl, self._module = sequence_layers(), config.make()
        self._source, self._cap = config.conditioning_name, config.decoder.soft_cap_logits

    def shapes(self) -> Params:
        """Every parameter's shape and type, as the package makes them (float32)."""
        import flax.linen as nn

        rngs = {"params": jax.random.PRNGKey(0), "random": jax.random.PRNGKey(0)}
        channels = self.architecture.input_channels
        conditioning = self._sl.Sequence.from_values(jnp.zeros((1, 1, channels), jnp.int32))

        def whole(module: Any) -> None:
            spec = jax.ShapeDtypeStruct((channels,), jnp.int32)
            state = module.sampler.get_initial_state(1, spec, training=False, constants={})
            draws = {"temperature": jnp.ones(1), "top_k": jnp.ones(1, jnp.int32)}
            module.sampler.step(conditioning, state, training=False, constants=draws)

        tree = jax.eval_shape(lambda: self._module.init(rngs, method=whole))
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
            return start.values[:, 0], state

        previous, state = self._module.apply({"params": params["layers"]}, method=temporal)
        return State(key, previous, state, jnp.zeros(batch, jnp.int32))

    def play(
        self,
        params: Params,
        state: State,
        conditioning: jax.Array,
        draws: Draws,
        forced: jax.Array | None = None,
        *,
        listed: int | None,
    ) -> tuple[jax.Array, State]:
        """The next frames of every stream.

        Args:
          conditioning: tokens int32 [B, frames, channels] (`darius.mrt2.conditioning`).
          draws: a value a stream.
          forced: codes int32 [B, frames, levels] that are not drawn; -1 where they are. None: all are drawn.
          listed: how the top k are found, see `darius.depthformer.sampling.keep_top_k`.

        Returns:
          codes int32 [B, frames, levels], and the new state.
        """

        def frame(state: State, given: tuple[jax.Array, jax.Array | None]) -> tuple[State, jax.Array]:
            heard, known = given
            return self._frame(params, state, heard[:, None], known, draws, listed)

        encoded = self._encode(params, conditioning)
        known = None if forced is None else jnp.swapaxes(forced, 0, 1)
        state, codes = jax.lax.scan(frame, state, (jnp.swapaxes(encoded, 0, 1), known))
        return jnp.swapaxes(codes, 0, 1), state

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
        listed: int | None,
    ) -> tuple[State, jax.Array]:
        """One frame: the temporal layers once, then level after level. Codes int32 [B, levels]."""
        sequence, size = self._sl.Sequence, self.architecture.codebook_size
        source = sequence.from_values(encoded)
        hidden, temporal = self._temporal(params, state.temporal, sequence.from_values(state.previous[:, None]), source)

        def levels(module: Any) -> tuple[jax.Array, list[jax.Array]]:
            body = module.decoder.depth_body
            layers = body.layers[:-1]  # the last projects on the whole vocabulary
            memory = body.get_initial_state(batch_size=hidden.shape[0], input_spec=hidden.channel_spec, training=False)[
                :-1
            ]
            inputs, key, ids = hidden, state.key, []
            for level in range(self.architecture.levels):
                memory, states, x = list(memory), [], inputs
                for layer, layer_state in zip(layers, memory, strict=True):
                    x, after = layer.step(x, layer_state, training=False, constants={})
                    states.append(after)
                memory = states
                logits = self._logits(params, x.values[:, 0], level)
                first = self.architecture.reserved + level * size
                code = sampling.draw(logits, sampling.gumbel(key, first, size), draws, listed=listed)
                if known is not None:
                    code = jnp.where(known[:, level] >= 0, known[:, level], code)
                key = sampling.next_key(key, state.frames)
                ids.append(first + code)
                if level < self.architecture.levels - 1:
                    inputs = module.decoder.embedder(sequence.from_values(ids[-1][:, None]), training=False)
            return key, ids

        key, ids = self._module.apply({"params": params["layers"]}, method=levels)
        previous = jnp.stack(ids, axis=-1)
        return State(key, previous, temporal, state.frames + 1), self._codes(previous)

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

    def _logits(self, params: Params, hidden: jax.Array, level: int) -> jax.Array:
        kernel, bias = params["projections"][level]
        logits = jnp.einsum("...a,ab->...b", hidden, kernel.astype(hidden.dtype)) + bias.astype(hidden.dtype)
        logits = jnp.tanh(logits / self._cap) * self._cap
        found: jax.Array = logits.astype(jnp.float32)
        return found

    def _ids(self, codes: jax.Array) -> jax.Array:
        """Codes [..., levels] to ids; -1 to the start id."""
        first = self.architecture.reserved + jnp.arange(self.architecture.levels) * self.architecture.codebook_size
        return jnp.where(codes >= 0, codes + first, 0).astype(jnp.int32)

    def _codes(self, ids: jax.Array) -> jax.Array:
        codes: jax.Array = (ids - self.architecture.reserved) % self.architecture.codebook_size
        return codes
