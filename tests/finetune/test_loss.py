"""The loss is the original's: on golden data, by hand, and however the logits are cut up."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_trainee
from small_trainee import LAYOUT, SMALL

from darius.checkpoints import archives, t5x
from darius.depthformer import network, weights
from darius.depthformer.config import DepthformerConfig
from darius.tokens import TokenLayout
from finetune import forward, loss, stacks
from finetune.forward import Hidden
from finetune.loss import LossOptions, Sums

GOLDEN = Path(__file__).parents[1] / "golden" / "depthformer_test"


def sums_of(params: dict[str, Any], options: LossOptions, windows: Any = None) -> Sums:
    inputs, targets = windows or small_trainee.windows()
    return compute(SMALL, options, stacks.stack(params), inputs, targets)


@partial(jax.jit, static_argnums=(0, 1))
def compute(config: DepthformerConfig, options: LossOptions, stacked: Any, inputs: Any, targets: Any) -> Sums:
    hidden = forward.hidden(config, stacked, inputs, targets, dtype=options.dtype, legal_only=options.legal_only)
    return loss.token_sums(config, hidden, targets, options)


def test_golden_cross_entropy_and_z_loss_are_the_originals(tmp_path: Path) -> None:
    folder = archives.unpack(GOLDEN / "checkpoint_1862001.tgz", tmp_path)
    params = t5x.read(folder)
    config = weights.infer({name: value.shape for name, value in params.items()}, TokenLayout(codebook_size=64))
    inputs, outputs = np.load(GOLDEN / "inputs.npz"), np.load(GOLDEN / "outputs.npz")
    targets = inputs["decoder_target_tokens"]
    found = compute(config, LossOptions(dtype="float32"), stacks.stack(params), inputs["encoder_input_tokens"], targets)
    log_z, target = outputs["f32/tf_logsumexp"], outputs["f32/tf_target_logit"]
    right = outputs["f32/tf_argmax"] == targets
    for ours, original in zip(found, (log_z - target, 1e-4 * log_z**2, right), strict=True):
        by_level = original.reshape(2, 50, 16).sum((0, 1))
        np.testing.assert_allclose(ours, by_level, rtol=1e-5)
    mean = (log_z - target + 1e-4 * log_z**2).mean()
    assert float(loss.total(found)) / targets.size == pytest.approx(mean, abs=1e-4)


def test_by_hand() -> None:
    """One frame of one level of width 1: logits are the output times the projection."""
    config = SMALL
    output = jnp.zeros((1, LAYOUT.chunk_frames, LAYOUT.codec_levels, 16)).at[..., 0].set(2.0)
    projection = jnp.zeros((16, LAYOUT.vocab_rows)).at[0, 5].set(1.5)
    targets = np.full((1, LAYOUT.decoder_length), 5)
    found = loss.token_sums(config, Hidden(output, projection), jnp.asarray(targets), LossOptions(z_loss=0.1))
    log_z = np.log(np.exp(3.0) + LAYOUT.vocab_rows - 1)
    np.testing.assert_allclose(found.cross_entropy, LAYOUT.chunk_frames * (log_z - 3.0), rtol=1e-5)
    np.testing.assert_allclose(found.z_loss, LAYOUT.chunk_frames * 0.1 * log_z**2, rtol=1e-5)
    np.testing.assert_array_equal(found.right, LAYOUT.chunk_frames)


@pytest.mark.parametrize("legal_only", [False, True])
def test_logits_a_few_frames_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch, legal_only: bool) -> None:
    options, targets = LossOptions(dtype="float32", legal_only=legal_only), small_trainee.windows()[1]
    rng = np.random.default_rng(0)
    table = (LAYOUT.codec_levels, 16, LAYOUT.codebook_size) if legal_only else (16, LAYOUT.vocab_rows)
    output = rng.normal(size=(2, LAYOUT.chunk_frames, LAYOUT.codec_levels, 16)).astype(np.float32)
    hidden = Hidden(output, rng.normal(size=table).astype(np.float32))

    def differentiate() -> Any:
        total = lambda hidden: loss.total(loss.token_sums(SMALL, hidden, jnp.asarray(targets), options))  # noqa: E731
        return jax.jit(jax.value_and_grad(total))(hidden)

    at_once = differentiate()
    monkeypatch.setattr(loss, "LOGIT_BYTES", 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), at_once, differentiate())


def test_legal_only_is_the_choice_among_a_levels_own_codes() -> None:
    params, (inputs, targets) = small_trainee.params(), small_trainee.windows()
    logits = jax.jit(partial(network.logits, SMALL, legal_only=True))(params, inputs, network.shift_right(targets))
    codes = LAYOUT.codes_from_ids(targets.reshape(2, -1, LAYOUT.codec_levels)).reshape(targets.shape)
    chosen = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), codes[..., None], axis=-1)[..., 0]
    found = sums_of(params, LossOptions(dtype="float32", legal_only=True))
    np.testing.assert_allclose(found.cross_entropy, -chosen.reshape(-1, LAYOUT.codec_levels).sum(0), rtol=1e-4)


def test_scanned_layers_give_what_written_out_ones_give_with_the_same_dropout() -> None:
    params, (inputs, targets) = small_trainee.params(), small_trainee.windows()

    @jax.jit
    def scanned(stacked: Any, key: jax.Array) -> jax.Array:
        hidden = forward.hidden(SMALL, stacked, inputs, targets, dtype="float32", legal_only=False, dropout_key=key)
        return jnp.einsum("bfqd,dv->bfqv", hidden.output, hidden.projection).reshape(*targets.shape, -1)

    @jax.jit
    def written_out(params: Any, key: jax.Array) -> jax.Array:
        return network.logits(SMALL, params, inputs, network.shift_right(targets), dropout_key=key)

    ours, plain = scanned(stacks.stack(params), jax.random.key(3)), written_out(params, jax.random.key(3))
    np.testing.assert_allclose(ours, plain, atol=1e-4)
    assert np.abs(plain - written_out(params, jax.random.key(4))).max() > 0.1


def test_in_bfloat16_a_masks_gradient_counts_each_of_its_thousand_places() -> None:
    table = jnp.zeros((2, 4), jnp.bfloat16)
    tokens = jnp.ones(1000, jnp.int32)
    gradient = jax.grad(lambda table: network.lookup(table, tokens).astype(jnp.float32).sum())(table)
    np.testing.assert_allclose(np.asarray(gradient, np.float32)[1], 1000, rtol=0.01)
