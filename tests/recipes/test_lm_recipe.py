"""The recipe of tiny's language model: examples, structural start, training step, compact weights."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darius.checkpoints import compact
from darius.depthformer import network, weights
from darius.depthformer.config import DepthformerConfig
from darius.errors import BadCheckpoint
from darius.tokens import MASK_ID, TokenLayout
from recipes.tiny.lm import batches, structure, train
from recipes.tiny.lm.batches import Batch, Clip, Dropouts
from recipes.tiny.lm.forward import encode_near, level_losses
from recipes.tiny.lm.kernels import position_kernel
from recipes.tiny.lm.package import sharpened
from recipes.tiny.lm.saved import load_params, load_run, save_run

LAYOUT = TokenLayout(codebook_size=64, context_frames=60, chunk_frames=12)
CONFIG = dataclasses.replace(DepthformerConfig.tiny(), layout=LAYOUT)


@pytest.fixture(scope="module")
def start() -> dict[str, np.ndarray]:
    return structure.initialise(CONFIG)


def counting_clip(frames: int = 500) -> Clip:
    """Code of frame f, level q: (f + q) mod 1024."""
    codes = (np.arange(frames)[:, None] + np.arange(16)) % 1024
    return Clip(codes=codes.astype(np.int16), styles=np.arange(12, dtype=np.int16)[None])


def test_an_example_is_1006_ids_of_context_and_style_and_the_800_ids_that_follow() -> None:
    clip = counting_clip(300)  # exactly one place: context 0..249, target 250..299
    encoder, target = batches.draw_example(TokenLayout(), clip, np.random.default_rng(0), None)
    assert encoder.shape == (1006,) and target.shape == (50, 16)
    assert encoder[:5].tolist() == [2, 1 + 1026, 2 + 2050, 3 + 3074, 1 + 2]
    assert encoder[996:1000].tolist() == [249 + 2, 250 + 1026, 251 + 2050, 252 + 3074]
    assert encoder[1000:].tolist() == [17410 + 1025 * n for n in range(6)]
    assert target[0, :2].tolist() == [250 + 2, 251 + 1026]
    assert target[49, 15] == (299 + 15) + 2 + 15 * 1024


def test_hidden_style_is_six_masks_and_a_short_context_is_masked_at_the_front() -> None:
    rng = np.random.default_rng(3)
    hidden = Dropouts(style=1.0, context=1.0, tiled=0.0, noise=0.0)
    for _ in range(20):
        encoder, _ = batches.draw_example(TokenLayout(), counting_clip(), rng, hidden)
        assert (encoder[1000:] == MASK_ID).all()
        masked = np.flatnonzero(encoder[:1000] == MASK_ID)
        assert len(masked) % 4 == 0 and len(masked) >= 4
        assert masked.tolist() == list(range(len(masked)))


def test_the_shares_of_hidden_conditions_are_as_asked() -> None:
    rng = np.random.default_rng(5)
    rows = [batches.draw_example(TokenLayout(), counting_clip(), rng, Dropouts())[0] for _ in range(600)]
    assert np.mean([row[1000] == MASK_ID for row in rows]) == pytest.approx(0.15, abs=0.05)
    assert np.mean([row[0] == MASK_ID for row in rows]) == pytest.approx(0.25, abs=0.06)


def test_a_tiled_loop_ends_at_its_end() -> None:
    loop = np.arange(3, dtype=np.int32)[:, None]
    assert batches.tiled(loop, 7)[:, 0].tolist() == [2, 0, 1, 2, 0, 1, 2]


def test_noise_replaces_about_the_share_of_codes_that_was_asked() -> None:
    codes = np.full((250, 16), 5, np.int32)
    changed = batches.noisy(codes, np.random.default_rng(0), 0.2, 1024) != codes
    assert changed.mean() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("centre,reach", [(-4.0, 0.0), (-2.5, 1.5), (-14.5, 5.5)])
def test_a_position_kernel_attends_to_its_window_and_nowhere_else(centre: float, reach: float) -> None:
    frequencies = 10000.0 ** (-np.arange(128) / 127)
    offsets = np.arange(-1000, 1001)
    scores = position_kernel(frequencies, centre, reach, 64).scores(frequencies, offsets)
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    assert offsets[shares.argmax()] in (np.floor(centre), np.ceil(centre))
    assert shares[np.abs(offsets - centre) <= reach + 3].sum() > 0.9


def test_the_structural_start_copies_a_loop_far_better_than_chance(start: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    clips = [batches.periodic(LAYOUT, rng, shortest=15, longest=28) for _ in range(4)]
    batch = batches.draw(LAYOUT, clips, rng, batch=4, chosen=12)
    _, right = level_losses(CONFIG, start, batch)
    assert float(right[..., :4].mean()) > 0.25  # chance is 1 in 64


def test_near_attention_equals_the_whole_at_the_start(start: dict[str, np.ndarray]) -> None:
    from darius.depthformer.packing import pack

    rng = np.random.default_rng(2)
    batch = batches.draw(LAYOUT, [batches.periodic(LAYOUT, rng)], rng, batch=1, chosen=2)
    packed = pack(CONFIG, {name: jnp.asarray(value) for name, value in start.items()}, jnp.float32)
    near = encode_near(CONFIG, packed, jnp.asarray(batch.encoder))
    whole = network.encode(CONFIG, start, batch.encoder)
    assert float(jnp.abs(near - whole)[:, 60:].max()) < 0.05 * float(jnp.abs(whole).max())


def test_the_loss_is_the_engines_at_the_chosen_frames(start: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(4)
    batch = batches.draw(LAYOUT, [batches.periodic(LAYOUT, rng)], rng, batch=2, chosen=3)
    losses, _ = level_losses(CONFIG, start, batch)
    inputs = network.shift_right(batch.targets.reshape(2, -1))
    logits = network.logits(CONFIG, start, batch.encoder, inputs, legal_only=True).reshape(2, 12, 16, -1)
    codes = batch.targets - 2 - 64 * np.arange(16)
    expected = -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), codes[..., None], -1)[..., 0]
    chosen = np.take_along_axis(expected, batch.chosen[..., None], 1)
    np.testing.assert_allclose(losses, chosen, atol=1e-3)


def test_training_steps_reduce_the_loss_and_a_run_goes_on_where_it_stopped(start, tmp_path) -> None:
    rng = np.random.default_rng(6)
    batch = batches.draw(LAYOUT, [batches.periodic(LAYOUT, rng)], rng, batch=2, chosen=4)
    step = lambda state: train.update(CONFIG, True, jnp.float32, *state[:2], batch, jnp.float32(1e-3))  # noqa: E731
    params, moments, first, _ = step(train.begin(start))
    for _ in range(3):
        params, moments, last, _ = step((params, moments))
    assert float(last.mean()) < float(first.mean())
    save_run(tmp_path, params, moments, 4)
    again = load_run(tmp_path, train.begin(load_params(tmp_path)[0]).optimiser)
    assert again[2] == 4
    *_, continued, _ = step((params, moments))
    *_, resumed, _ = step(again[:2])
    np.testing.assert_allclose(continued, resumed, rtol=1e-6)


def test_the_learning_rate_warms_up_and_ends_at_a_twentieth() -> None:
    assert train.learning_rate(1.0, 0, 0.0) == pytest.approx(1 / 40)
    assert train.learning_rate(1.0, 1000, 0.0) == pytest.approx(1.0)
    assert train.learning_rate(1.0, 1000, 1.0) == pytest.approx(0.05)


def halves(config: DepthformerConfig) -> dict[str, np.ndarray]:
    """Parameters that float16 can hold."""
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape).astype(np.float16).astype(np.float32)
        for name, shape in weights.shapes(config).items()
    }


def test_compact_weights_are_exact_for_what_half_precision_can_hold() -> None:
    params = halves(CONFIG)
    again = compact.unpack(CONFIG, compact.pack(CONFIG, params))
    kept, drawn = compact.table_ids(CONFIG), compact.projection_ids(CONFIG)
    assert len(kept) == 2 + 16 * 64 + 6 * 64 and len(drawn) == 16 * 64
    for name, value in params.items():
        if name == weights.EMBEDDING:
            np.testing.assert_array_equal(again[name][kept], value[kept])
        elif name == weights.LOGITS:
            np.testing.assert_array_equal(again[name][:, drawn], value[:, drawn])
        else:
            np.testing.assert_array_equal(again[name], value)
    assert not np.any(np.delete(again[weights.EMBEDDING], kept, axis=0))


def test_small_compact_weights_lose_at_most_half_a_step_of_127() -> None:
    params = halves(CONFIG)
    tensors = compact.pack(CONFIG, params, small=True)
    again = compact.unpack(CONFIG, tensors)
    name = "decoder/decoder/depth_decoder/depth_layers_0/mlp/wo/kernel"
    assert tensors[name].dtype == np.int8
    error = np.abs(again[name] - params[name]) / np.abs(params[name]).max(axis=1, keepdims=True)
    assert error.max() <= 0.5 / 127 + 1e-6


def test_compact_weights_of_another_size_are_refused() -> None:
    tensors = compact.pack(CONFIG, halves(CONFIG))
    other = dataclasses.replace(CONFIG, layout=dataclasses.replace(LAYOUT, codebook_size=32))
    with pytest.raises(BadCheckpoint, match=r"token_embedder/embedding\.rows"):
        compact.unpack(other, tensors)


def test_sharpness_scales_the_logits_of_coarse_and_fine_levels() -> None:
    kernel = sharpened(CONFIG, {weights.LOGITS: np.ones((2, LAYOUT.vocab_rows), np.float32)}, 1.5, 3.0)[weights.LOGITS]
    assert kernel[0, 2] == 1.5 and kernel[0, 2 + 4 * 64 - 1] == 1.5
    assert kernel[0, 2 + 4 * 64] == 3.0 and kernel[0, 2 + 16 * 64] == 1.0


def test_a_batch_holds_what_training_reads() -> None:
    batch = batches.draw(TokenLayout(), [counting_clip()], np.random.default_rng(0), batch=3, chosen=5)
    assert isinstance(batch, Batch)
    assert batch.encoder.shape == (3, 1006) and batch.targets.shape == (3, 50, 16) and batch.chosen.shape == (3, 5)
    assert all(len(set(row.tolist())) == 5 for row in batch.chosen)
