"""The recipe of tiny's language model: examples, structural start, training step, compact weights."""

from __future__ import annotations

import dataclasses
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darius.checkpoints import compact
from darius.depthformer import network, weights
from darius.depthformer.config import DepthformerConfig
from darius.errors import BadCheckpoint
from darius.tokens import MASK_ID, TokenLayout
from recipes.tiny.lm import batches, listening, paces, package, structure, train, words
from recipes.tiny.lm.batches import Dropouts, Pool
from recipes.tiny.lm.forward import level_losses
from recipes.tiny.lm.kernels import position_kernel

LAYOUT = TokenLayout(codebook_size=64, context_frames=60, chunk_frames=12)
CONFIG = dataclasses.replace(DepthformerConfig.tiny(), layout=LAYOUT)
WHOLE = Dropouts(style=0.0, context=0.0, silence=0.0, tiled=0.0, noise=0.0, slips=0.0)
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def start() -> dict[str, np.ndarray]:
    return structure.initialise(CONFIG)


def pool_of(codes: np.ndarray, *, loop: int = 0, switch: int = 0) -> Pool:
    """Clips [N, frames, 16] with the style codes 0 to 5."""
    return Pool(
        codes=jnp.asarray(codes, jnp.int16),
        styles=jnp.broadcast_to(jnp.arange(6, dtype=jnp.int16), (len(codes), 1, 6)),
        loop=jnp.full(len(codes), loop, jnp.int32),
        switch=jnp.full(len(codes), switch, jnp.int32),
        filled=jnp.int32(len(codes)),
    )


def counting(layout: TokenLayout, frames: int) -> Pool:
    """One clip: the code of frame f, level q is (f + q) mod the codebook's size."""
    return pool_of((np.arange(frames)[None, :, None] + np.arange(16)) % layout.codebook_size)


def periodic(layout: TokenLayout, seed: int, clips: int = 4) -> Pool:
    """Clips that repeat a random loop of a few different frames."""
    rng, length = np.random.default_rng(seed), layout.context_frames + 2 * layout.chunk_frames
    rows = []
    for _ in range(clips):
        alphabet = rng.integers(0, layout.codebook_size, (int(rng.integers(3, 40)), 16))
        loop = alphabet[rng.integers(0, len(alphabet), int(rng.integers(15, 29)))]
        rows.append(loop[np.arange(length) % len(loop)])
    return pool_of(np.stack(rows))


def heard(layout: TokenLayout) -> batches.Sounds:
    books = np.random.default_rng(0).standard_normal((16, layout.codebook_size, 4)).astype(np.float32)
    return batches.sounds(books, np.full(16, 7, np.int16))


def drawn(
    layout: TokenLayout, pool: Pool, dropouts: Dropouts = WHOLE, batch: int = 2, prefix: int = 0
) -> batches.Batch:
    return batches.draw(layout, pool, heard(layout), KEY, batch=batch, prefix=prefix, dropouts=dropouts)


def test_an_example_is_1006_ids_of_context_and_style_and_the_800_ids_that_follow() -> None:
    layout = TokenLayout()
    # exactly one place: context 0..249, target 250..299
    encoder, target, played = (np.asarray(part)[0] for part in drawn(layout, counting(layout, 300), batch=1))
    assert encoder.shape == (1006,) and target.shape == (50, 16)
    assert encoder[:5].tolist() == [2, 1 + 1026, 2 + 2050, 3 + 3074, 1 + 2]
    assert encoder[996:1000].tolist() == [249 + 2, 250 + 1026, 251 + 2050, 252 + 3074]
    assert encoder[1000:].tolist() == [17410 + 1025 * n for n in range(6)]
    assert target[0, :2].tolist() == [250 + 2, 251 + 1026]
    assert target[49, 15] == (299 + 15) + 2 + 15 * 1024
    assert (played == target).all()
    codes = np.arange(300)[:, None] + np.arange(16)
    np.testing.assert_array_equal(encoder, layout.encoder_row(codes[:250], np.arange(6)))


def test_hidden_style_is_six_masks_and_a_short_context_is_masked_at_the_front() -> None:
    hidden = dataclasses.replace(WHOLE, style=1.0, context=1.0)
    rows = np.asarray(drawn(LAYOUT, counting(LAYOUT, 200), hidden, batch=40).encoder)
    assert (rows[:, 240:] == MASK_ID).all()
    lengths = (rows[:, :240] == MASK_ID).sum(1)
    assert all((row[:n] == MASK_ID).all() for row, n in zip(rows, lengths, strict=True))
    assert (lengths % 4 == 0).all() and len(set(lengths.tolist())) > 10


def test_the_shares_of_hidden_conditions_are_as_asked() -> None:
    asked = dataclasses.replace(WHOLE, style=0.15, context=0.25)
    rows = np.asarray(drawn(LAYOUT, counting(LAYOUT, 200), asked, batch=800).encoder)
    assert np.mean(rows[:, 240] == MASK_ID) == pytest.approx(0.15, abs=0.05)
    assert np.mean(rows[:, 0] == MASK_ID) == pytest.approx(0.25, abs=0.06)


def test_of_a_clip_that_turns_into_another_groove_only_the_new_one_is_played_on() -> None:
    pool = pool_of((np.arange(120)[None, :, None] >= 90) * np.ones((1, 1, 16), int), switch=90)
    rows, targets, _ = (np.asarray(part) for part in drawn(LAYOUT, pool, batch=200, prefix=4))
    new = targets[:, 4:, 0] == 2 + 1
    assert new.all()
    at_once = (rows[:, :240].reshape(-1, 60, 4)[..., 0] == 2).all(1)
    assert 0.3 < at_once.mean() < 0.7


def test_a_tiled_context_ends_with_the_loops_end() -> None:
    codes = np.random.default_rng(0).integers(0, 64, (1, 200, 16))
    rows = np.asarray(drawn(LAYOUT, pool_of(codes, loop=25), dataclasses.replace(WHOLE, tiled=1.0), batch=8).encoder)
    context = rows[:, :240].reshape(8, 60, 4)
    np.testing.assert_array_equal(context[:, 35:], context[:, 10:35])
    np.testing.assert_array_equal(context[:, :10], context[:, 25:35])


def test_music_out_of_silence_begins_at_a_clips_beginning() -> None:
    asked = dataclasses.replace(WHOLE, silence=1.0)
    rows, targets, _ = (np.asarray(part)[0] for part in drawn(LAYOUT, counting(LAYOUT, 200), asked, prefix=4))
    assert (rows[:240].reshape(60, 4) == 7 + 2 + 64 * np.arange(4)).all()
    assert (targets[:4] == 7 + 2 + 64 * np.arange(16)).all()
    assert targets[4:, 0].tolist() == [2 + n for n in range(8)]


def test_slips_are_in_what_is_played_and_not_in_the_targets() -> None:
    asked = dataclasses.replace(WHOLE, slips=0.5)
    batch = drawn(LAYOUT, counting(LAYOUT, 200), asked, batch=100)
    assert np.mean(np.asarray(batch.played) != np.asarray(batch.targets)) == pytest.approx(0.25, abs=0.05)


def test_a_full_pool_takes_new_clips_in_the_place_of_others() -> None:
    pool, rng = batches.empty(LAYOUT, 6, 90, 1), np.random.default_rng(0)
    for value in (1, 2, 3):
        pool = batches.add(pool, pool_of(np.full((4, 90, 16), value)), rng)
    assert int(pool.filled) == 6
    assert (np.asarray(pool.codes)[:, 0, 0] == 3).sum() == 4


@pytest.mark.parametrize("centre,reach", [(-4.0, 0.0), (-2.5, 1.5), (-14.5, 5.5)])
def test_a_position_kernel_attends_to_its_window_and_nowhere_else(centre: float, reach: float) -> None:
    frequencies = 10000.0 ** (-np.arange(128) / 127)
    offsets = np.arange(-1000, 1001)
    scores = position_kernel(frequencies, centre, reach, 64).scores(frequencies, offsets)
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    assert offsets[shares.argmax()] in (np.floor(centre), np.ceil(centre))
    assert shares[np.abs(offsets - centre) <= reach + 3].sum() > 0.9


@pytest.mark.acceptance
def test_the_structural_start_copies_a_loop_far_better_than_chance(start: dict[str, np.ndarray]) -> None:
    _, right = level_losses(CONFIG, start, drawn(LAYOUT, periodic(LAYOUT, 1), batch=4))
    assert float(right[..., :4].mean()) > 0.25  # chance is 1 in 64


def test_the_loss_is_the_engines_at_the_frames_that_are_played(start: dict[str, np.ndarray]) -> None:
    batch = drawn(LAYOUT, periodic(LAYOUT, 4))
    losses, _ = level_losses(CONFIG, start, batch, first=3)
    targets = np.asarray(batch.targets)
    inputs = network.shift_right(targets.reshape(2, -1))
    logits = network.logits(CONFIG, start, batch.encoder, inputs, legal_only=True).reshape(2, 12, 16, -1)
    codes = targets - 2 - 64 * np.arange(16)
    expected = -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), codes[..., None], -1)[..., 0]
    np.testing.assert_allclose(losses, expected[:, 3:], atol=1e-3)


def test_a_stretch_of_training_lowers_the_loss_and_leaves_what_is_frozen(start, tmp_path) -> None:
    settings = train.Settings(batch=2, prefix=2, rates=(1e-3, 1e-4), warm_up=1, log_every=1, refill_every=1)
    pool, known, began = (
        periodic(LAYOUT, 6, clips=1),
        heard(LAYOUT),
        train.begin(start, partial(paces.from_nothing, CONFIG)),
    )
    step = train.compiled(CONFIG, settings, began, pool, known)
    measure, saved = train.measuring(CONFIG, settings), []
    before = float(measure(began.params, pool, pool, known)[0].mean())
    state, _, count = train.run(
        step,
        began,
        pool,
        known,
        settings,
        refill=lambda pool: pool,
        until=time.monotonic() + 4,
        out=tmp_path,
        check=lambda params: measure(params, pool, pool, known),
        save=lambda params, at: saved.append(at),
        first_step=100,
        save_every=0.0,
    )
    after, right, _, _ = measure(state.params, pool, pool, known)
    assert float(after.mean()) < before
    assert right.shape == (16,)
    assert count > 101 and saved[-1] == count
    assert len((tmp_path / "lm-log.jsonl").read_text().splitlines()) == count - 100
    for name in train.FROZEN:
        np.testing.assert_array_equal(state.params[name], start[name])


def test_heads_for_the_style_hear_it_and_leave_the_copying_alone(start, monkeypatch) -> None:
    batch = drawn(LAYOUT, periodic(LAYOUT, 1), batch=4)
    other = batch._replace(encoder=batch.encoder.at[:, -6:].add(11))
    look = jax.jit(lambda params, batch: level_losses(CONFIG, params, batch))
    given = listening.attend_style(CONFIG, start)
    (_, before), (_, after) = look(start, batch), look(given, batch)
    assert after[..., :4].mean() > 0.8 * before[..., :4].mean()

    def by_style(params: dict[str, np.ndarray]) -> float:
        return float(jnp.abs(look(params, other)[0] - look(params, batch)[0]).mean())

    monkeypatch.setattr(listening, "NEWS", 3.0)  # as loud as training may make them
    loud = listening.attend_style(CONFIG, start)
    assert by_style(loud) > 3 * by_style(start)


def test_going_on_spares_what_copies_and_teaches_the_style() -> None:
    pace = {
        name: np.broadcast_to(paces.going_on(CONFIG, name), shape) for name, shape in weights.shapes(CONFIG).items()
    }
    tokens, logits = pace[weights.EMBEDDING], pace[weights.LOGITS]
    assert not tokens[: LAYOUT.style_offset].any() and tokens[LAYOUT.style_offset : LAYOUT.style_offset + 6 * 64].all()
    assert logits[0, LAYOUT.codec_offset] > logits[0, LAYOUT.codec_offset + 4 * 64] > 0
    query = pace[f"{weights.temporal_layer(1)}/encoder_decoder_attention/query/kernel"]
    assert not query[:, : CONFIG.head_dim].any() and query[:, CONFIG.head_dim :].all()
    still = [name for name, value in pace.items() if not value.any()]
    assert all(name in still for name in pace if name.startswith(("encoder/", weights.temporal_layer(0))))


def test_the_learning_rate_warms_up_and_follows_the_clock() -> None:
    settings = train.Settings(rates=(1.0, 0.05), warm_up=40)
    assert train.rate_at(settings, 0, 0.0) == pytest.approx(1 / 40)
    assert train.rate_at(settings, 1000, 0.0) == pytest.approx(1.0)
    assert train.rate_at(settings, 1000, 1.0) == pytest.approx(0.05)


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
    kernel = package.sharpened(CONFIG, {weights.LOGITS: np.ones((2, LAYOUT.vocab_rows), np.float32)}, 1.5, 3.0)[
        weights.LOGITS
    ]
    assert kernel[0, 2] == 1.5 and kernel[0, 2 + 4 * 64 - 1] == 1.5
    assert kernel[0, 2 + 4 * 64] == 3.0 and kernel[0, 2 + 16 * 64] == 1.0


def test_a_mixture_lies_between_old_and_new_with_the_new_tokens() -> None:
    old = {weights.EMBEDDING: np.zeros(3), weights.LOGITS: np.zeros(2)}
    new = {weights.EMBEDDING: np.ones(3), weights.LOGITS: np.full(2, 4.0)}
    mixed = package.between(old, new, 0.25)
    assert mixed[weights.EMBEDDING].tolist() == [1, 1, 1]
    assert mixed[weights.LOGITS].tolist() == [1, 1]


def test_weights_to_go_on_from_are_read_without_their_sharpness(tmp_path) -> None:
    params = halves(CONFIG)
    package.write(
        tmp_path / "lm.safetensors", CONFIG, package.sharpened(CONFIG, params, 2.0, 4.0), step=3, sharpness=[2.0, 4.0]
    )
    _, soft, _ = package.read_soft(tmp_path / "lm.safetensors")
    drawn_rows = compact.projection_ids(CONFIG)
    np.testing.assert_allclose(soft[weights.LOGITS][:, drawn_rows], params[weights.LOGITS][:, drawn_rows], atol=0.03)


def test_packaged_weights_are_read_back_with_their_step(tmp_path) -> None:
    package.write(tmp_path / "lm.safetensors", CONFIG, halves(CONFIG), step=12)
    config, params, step = package.read(tmp_path / "lm.safetensors")
    assert (config, step) == (CONFIG, 12)
    assert params.keys() == weights.shapes(CONFIG).keys()


def turning(layout: TokenLayout, clips: int = 6) -> Pool:
    """Random clips; the style codes are 0 and, where they are words, 5."""
    rng, frames = np.random.default_rng(1), layout.context_frames + 3 * layout.chunk_frames
    pool = pool_of(
        rng.integers(0, layout.codebook_size, (clips, frames, 16)), loop=20, switch=layout.context_frames + 10
    )
    return pool._replace(styles=jnp.broadcast_to(jnp.array([0, 0, 5], jnp.int16)[None, :, None], (clips, 3, 7)))


CLEAN = words.Kinds(sounds=2, variants=3, tiled=0.5, words=dataclasses.replace(WHOLE, tiled=1.0, at_switch=1.0))


def test_without_words_half_of_the_examples_go_on_with_one_loop_in_codes_of_their_own() -> None:
    draw = jax.jit(partial(words.draw_same, LAYOUT, kinds=CLEAN, batch=40, prefix=2))
    batch, tiled = jax.tree.map(np.asarray, draw(turning(LAYOUT), heard(LAYOUT), KEY))
    codes = np.concatenate([batch.encoder[:, :240].reshape(40, 60, 4), batch.targets[..., :4]], axis=1)
    repeats = [max(np.mean(row[lag:] == row[:-lag]) for lag in range(words.SHORTEST, 61)) for row in codes]
    np.testing.assert_array_equal(np.array(repeats) == 1.0, tiled)
    assert 10 < tiled.sum() < 30
    assert (batch.encoder[:, 240:] == LAYOUT.style_offset + 64 * np.arange(7)).all()


def test_with_words_the_past_is_a_loop_and_the_style_is_as_the_old_model_and_the_new_one_know_it() -> None:
    pool = turning(LAYOUT)
    pool = pool._replace(styles=pool.styles.at[:, 2, 6].set(9))
    draw = jax.jit(partial(words.examples, LAYOUT, kinds=CLEAN, batch=16, prefix=2))
    new, old, tiled = jax.tree.map(np.asarray, draw(pool, heard(LAYOUT), KEY))
    same = len(tiled)
    context = new.encoder[same:, :240].reshape(-1, 60, 4)
    np.testing.assert_array_equal(context[:, 20:], context[:, :-20])
    starts = LAYOUT.style_offset + 64 * np.arange(6)
    assert (new.encoder[same:, 240:] == starts + 5).all() and (new.encoder[:same, 240:] == starts).all()
    assert (old.encoder[same:, 240:] == starts + np.array([5, 5, 5, 5, 5, 9])).all()


def test_the_last_style_code_starts_as_what_it_was_on_the_whole_and_turns_one_way(start) -> None:
    first = LAYOUT.style_offset + 5 * 64
    before = start[weights.EMBEDDING][first:]
    rows = words.flagged(CONFIG, start, 8, 16)[weights.EMBEDDING][first:][:8]
    np.testing.assert_allclose(rows[0], before[:16].mean(0), atol=1e-5)
    np.testing.assert_allclose(rows[4] - rows[3], (rows[7] - rows[0]) / 7, atol=1e-4)
    assert np.linalg.norm(rows[7] - rows[0]) > 5


@pytest.mark.acceptance
def test_a_step_comes_nearer_to_both_models(start) -> None:
    kept = words.flagged(CONFIG, start, 8, 16)
    settings = train.Settings(batch=8, prefix=2, warm_up=1)
    state = train.begin(kept, partial(paces.from_nothing, CONFIG))
    other = structure.initialise(CONFIG, seed=1)
    teachers = tuple({name: jnp.array(value) for name, value in params.items()} for params in (kept, other))
    pool, sounds = turning(LAYOUT), heard(LAYOUT)
    step = words.compiled(CONFIG, settings, CLEAN, teachers, state, pool, sounds)
    apart = []
    for _ in range(4):
        state, named, _ = step(teachers, state, pool, sounds, KEY, jnp.float32(1e-4))
        apart.append(float(named.mean()))
    assert apart[3] < apart[0]
