"""One training step as one compiled function: gradients of micro-batches, then the optimiser. Knows no files or clocks.

Full finetuning trains every parameter in float32 with Adafactor, as the original does; LoRA trains adapters with Adam
over a frozen model. Activations are bfloat16 and computed again layer by layer for the gradient.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike

from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.layers import Fused
from finetune import adafactor, forward, lora
from finetune.loss import LossOptions, Sums, token_sums, total, zeros
from finetune.sharding import AXIS, Placement

LORA_RATE = 1e-3
"""Adam's learning rate for adapters, where none is given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What a step does.

    Attributes:
      loss: what is minimised, and in which number type.
      lora: whether adapters are trained, not the parameters.
      learning_rate: a constant; None is the original's schedule (full) or LORA_RATE.
      step_offset: the step at which the optimiser's state was empty, see `adafactor.update`.
      seed: of dropout.
    """

    loss: LossOptions
    lora: bool = False
    learning_rate: float | None = None
    step_offset: int = 0
    seed: int = 0


class State(NamedTuple):
    """All that a step changes."""

    step: jax.Array  # int32, steps so far
    trained: Any  # stacked parameters, or adapters
    moments: Any  # of Adafactor, or of Adam


class Batch(NamedTuple):
    """Ids int32: inputs [micro-batches, rows, encoder_length], targets [micro-batches, rows, decoder_length]."""

    inputs: Any
    targets: Any


class StepMetrics(NamedTuple):
    """What a step found: sums over its tokens, the norm of the mean loss's gradient, the learning rate."""

    sums: Sums
    gradient_norm: jax.Array
    learning_rate: jax.Array


Step = Callable[[State, Mapping[str, Any], Batch], tuple[State, StepMetrics]]


def start(step: int, trained: Any, placement: Placement, *, lora: bool, moments: Any = None) -> State:
    """A state on the devices. Without moments, with empty ones.

    Args:
      trained: stacked host parameters (float32), or adapters; moments: on the host, too.
    """
    if moments is None:
        empty = jax.eval_shape(_adam().init if lora else adafactor.init, trained)
        moments = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), empty)
    at = placement.put_whole(np.int32(step))
    if lora:
        return State(at, placement.put_whole(trained), placement.put_whole(moments))
    own = {name: {part: placement.put_owned(name, leaf) for part, leaf in m.items()} for name, m in moments.items()}
    return State(at, placement.put_trained(trained), own)


def make(config: DepthformerConfig, options: StepOptions, placement: Placement, state: State) -> Step:
    """The compiled step: (state, frozen parameters, batch) -> (new state, metrics). The old state is used up.

    With full finetuning nothing is frozen: give {}.

    Args:
      state: of the shapes that will be given, laid out as the new ones are to be.
    """
    layout = jax.tree.map(lambda leaf: leaf.sharding, state)
    step = jax.jit(
        functools.partial(_step, config, options, placement),
        donate_argnums=0,
        out_shardings=(layout, None),
        compiler_options=placement.compiler_options,
    )
    return step


def make_evaluation(config: DepthformerConfig, options: StepOptions, placement: Placement) -> Callable[..., Sums]:
    """The compiled (state, frozen parameters, inputs [B, L], targets [B, T]) -> sums, without dropout."""

    def evaluate(trained: Any, frozen: Mapping[str, Any], inputs: jax.Array, targets: jax.Array) -> Sums:
        specs = _specs(trained, options, placement)

        def sums(trained: Any, frozen: Mapping[str, Any], inputs: jax.Array, targets: jax.Array) -> Sums:
            found = _weights(options, placement, specs, trained)
            return _added(_sums(config, options, placement, found, frozen, inputs, targets, None), placement)

        if not placement.reduces:
            return sums(trained, frozen, inputs, targets)
        whole, rows = PartitionSpec(), PartitionSpec(AXIS)
        added: Sums = placement.per_device(sums, (specs, whole, rows, rows), whole)(trained, frozen, inputs, targets)
        return added

    compiled = jax.jit(evaluate)
    return lambda state, frozen, inputs, targets: compiled(state.trained, frozen, inputs, targets)


def _added(sums: Sums, placement: Placement) -> Sums:
    """Inside `per_device`, the sums of all devices."""
    if not placement.reduces:
        return sums
    added: Sums = placement.add_up(sums, jax.tree.map(lambda leaf: PartitionSpec(), sums))
    return added


@dataclasses.dataclass(frozen=True)
class _Gather:
    """Makes a tensor ready for computing: cast, changed by its adapter, and whole on every device."""

    placement: Placement

    def __call__(self, tensor: jax.Array, dtype: DTypeLike, adapter: lora.Adapter | None) -> jax.Array:
        tensor = tensor.astype(dtype)
        if adapter is not None:
            tensor = lora.merge(tensor, adapter)
        if self.placement.split:
            tensor = jax.lax.with_sharding_constraint(tensor, self.placement.whole)
        return tensor


def _step(
    config: DepthformerConfig,
    options: StepOptions,
    placement: Placement,
    state: State,
    frozen: Mapping[str, Any],
    batch: Batch,
) -> tuple[State, StepMetrics]:
    specs = _specs(state.trained, options, placement)
    gradients: Callable[..., Any] = functools.partial(_gradients, config, options, placement, specs)
    if placement.reduces:
        whole, rows = PartitionSpec(), PartitionSpec(None, AXIS)
        gradients = placement.per_device(gradients, (specs, whole, whole, rows), (specs, whole))
    grads, sums = gradients(state.trained, frozen, state.step, batch)
    norm = optax.global_norm(grads) / batch.targets.size
    rate = _rate(options, state.step)
    if options.lora:
        updates, moments = _adam().update(grads, state.moments)
        trained = jax.tree.map(lambda value, change: value - rate * change, state.trained, updates)
    else:
        update: Callable[..., Any] = functools.partial(adafactor.update, step_offset=options.step_offset)
        if placement.reduces:
            layers = {name: dict.fromkeys(own, specs[name]) for name, own in state.moments.items()}
            update = placement.per_device(update, (specs, layers, specs, whole, whole), (specs, layers))
        trained, moments = update(state.trained, state.moments, grads, state.step, rate)
    return State(state.step + 1, trained, moments), StepMetrics(sums, norm, rate)


def _specs(trained: Any, options: StepOptions, placement: Placement) -> Any:
    """How what is trained lies on the devices. Adapters are small: all devices have all of them."""
    if options.lora:
        return jax.tree.map(lambda leaf: PartitionSpec(), trained)
    return {name: placement.owned(name, value.shape) for name, value in trained.items()}


def _weights(options: StepOptions, placement: Placement, specs: Any, trained: Any) -> Any:
    """What is computed with: where devices own layers, all of them, cast before they travel (but for the output
    projection, whose product is in float32). One device casts a layer as it runs, which takes less memory."""
    if options.lora or not placement.reduces:
        return trained
    cast = {
        name: value if name == weights.LOGITS else value.astype(options.loss.dtype) for name, value in trained.items()
    }
    return placement.gather(cast, specs)


def _gradients(
    config: DepthformerConfig,
    options: StepOptions,
    placement: Placement,
    specs: Any,
    trained: Any,
    frozen: Mapping[str, Any],
    step: jax.Array,
    batch: Batch,
) -> tuple[Any, Sums]:
    """The gradient of a batch, or, inside `per_device`, of all devices' parts of it."""
    key = jax.random.fold_in(jax.random.key(options.seed), step)

    def objective(trained: Any, inputs: jax.Array, targets: jax.Array, index: jax.Array) -> tuple[jax.Array, Sums]:
        own = jax.random.fold_in(key, index)
        sums = _sums(config, options, placement, trained, frozen, inputs, targets, own)
        return total(sums), sums

    found = _weights(options, placement, specs, trained)
    grads, sums = _over_parts(objective, found, batch, config.layout.codec_levels)
    if placement.reduces:
        grads = placement.add_up(grads, specs)
    return grads, _added(sums, placement)


def _over_parts(objective: Callable[..., Any], trained: Any, batch: Batch, levels: int) -> tuple[Any, Sums]:
    """Summed over micro-batches, which run one after another."""
    differentiate = jax.grad(objective, has_aux=True)
    if batch.inputs.shape[0] == 1:
        grads, sums = differentiate(trained, batch.inputs[0], batch.targets[0], 0)
        return grads, sums

    def one(carry: tuple[Any, Sums], item: tuple[jax.Array, ...]) -> tuple[tuple[Any, Sums], None]:
        return jax.tree.map(jnp.add, carry, differentiate(trained, *item)), None

    nothing = (jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), trained), zeros(levels))
    items = (batch.inputs, batch.targets, jnp.arange(batch.inputs.shape[0]))
    return jax.lax.scan(one, nothing, items)[0]


def _sums(
    config: DepthformerConfig,
    options: StepOptions,
    placement: Placement,
    trained: Any,
    frozen: Mapping[str, Any],
    inputs: jax.Array,
    targets: jax.Array,
    dropout_key: jax.Array | None,
) -> Sums:
    found = forward.hidden(
        config,
        frozen if options.lora else trained,
        inputs,
        targets,
        dtype=options.loss.dtype,
        legal_only=options.loss.legal_only,
        dropout_key=dropout_key,
        adapters=trained if options.lora else None,
        prepare=_Gather(placement),
        shard=(AXIS, placement.devices) if placement.reduces else None,
        fused=Fused(options.loss.fused) if options.loss.fused else None,
    )
    return token_sums(config, found, targets, options.loss)


def _rate(options: StepOptions, step: jax.Array) -> jax.Array:
    if options.learning_rate is None and not options.lora:
        return adafactor.learning_rate(step)
    return jnp.asarray(LORA_RATE if options.learning_rate is None else options.learning_rate, jnp.float32)


def _adam() -> optax.GradientTransformation:
    return optax.scale_by_adam()
