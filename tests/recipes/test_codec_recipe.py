"""The training of tiny's codec, and what the shipped codec keeps of real loops it never heard."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from darius.audio import loudness
from darius.audio.waveform import Waveform
from darius.codec import network, weights
from darius.codec.codec import Codec
from darius.codec.config import CodecConfig
from recipes.tiny.codec import data, losses, measures, quantiser, ship, step, train, widen
from recipes.tiny.codec import pool as pools

ROOT = Path(__file__).parents[2]

SMALL = CodecConfig(
    stft_frame=192, stft_step=96, stft_fft=192, ratios=((1, 3), (2, 2)), mults=(2, 1), encoder_depth=4,
    decoder_depth=4, encoder_conv_size=(1, 1), decoder_conv_size=(3, 3), num_features=8, num_levels=3,
    codebook_size=16, channel_splits=1, channel_recombo_block=0, fold=(2, 4), compression=1 / 3,
)  # fmt: skip

# Measured by `python -m recipes.tiny.codec.evaluate`, with room for another machine's rounding.
MOST_LOUDNESS = 2.0
MOST_MEL_DB = 4.5
MEAN_MEL_DB = 3.5
LEAST_ONSET_F1 = 0.85
LEAST_CODES = 200


def test_training_steps_lower_the_loss_of_a_batch_and_move_every_part():
    time = np.arange(96 * 96) / 48_000
    waves = np.stack([np.sin(2 * np.pi * f * time) for f in (220, 440, 880, 3000)])[..., None] * [0.3, 0.1]
    state = step.start(weights.initialise(SMALL, jax.random.key(0)), 96)
    before = weights.flatten(jax.tree.map(np.array, state.params))
    advance = jax.jit(partial(step.advance, SMALL, True))
    found = []
    for count in range(30):
        key = jax.random.key(count)
        state, parts = advance(state, step.Batch(jnp.asarray(waves, jnp.float32), key, jnp.float32(5e-3)))
        found.append(float(parts["loss"]))
    assert np.mean(found[-5:]) < 0.7 * np.mean(found[:3])
    after = weights.flatten(state.params)
    assert all(np.abs(after[name] - before[name]).max() > 0 for name in after)


def test_refining_the_decoder_leaves_encoder_and_codebooks_as_they_are():
    params = weights.initialise(SMALL, jax.random.key(0))
    state = step.start(params, 96, trained=("decoder",))
    before = weights.flatten(jax.tree.map(np.array, params))
    waves = jnp.asarray(np.random.default_rng(0).normal(0, 0.1, (2, 96 * 96, 2)), jnp.float32)
    advance = jax.jit(partial(step.refine, SMALL, ("decoder",)))
    for count in range(3):
        state, parts = advance(state, step.Batch(waves, jax.random.key(count), jnp.float32(1e-3)))
    assert np.isfinite(float(parts["loss"]))
    for name, value in weights.flatten(state.params).items():
        assert (np.abs(value - before[name]).max() > 0) == name.startswith("decoder/"), name


def test_a_widened_decoder_says_what_it_said_before_and_its_new_channels_hear_the_old_ones():
    params = weights.initialise(SMALL, jax.random.key(0))
    wide_config, wide = widen.widened(SMALL, params, depth=6, units=2)
    weights.check(wide_config, wide)
    embeddings = np.random.default_rng(1).normal(size=(1, 3, SMALL.num_features)).astype(np.float32)
    decode = jax.jit(network.decode_spectrogram, static_argnums=0)
    said = [np.asarray(decode(c, p, embeddings)) for c, p in ((SMALL, params), (wide_config, wide))]
    np.testing.assert_allclose(said[1], said[0], atol=1e-5 * np.abs(said[0]).max())
    before, after = weights.flatten(params), weights.flatten(wide)
    assert all(after[name] is before[name] for name in before if not name.startswith("decoder/"))
    new = np.asarray(wide["decoder"]["decoder_1"]["conv2d_3x3"]["conv"]["kernel"])
    assert (new[:, :, :4, 4:] != 0).all() and (new[:, :, 4:, :4] == 0).all()


def test_the_loudness_loss_hears_what_a_loudness_meter_hears():
    time = np.arange(2 * 48_000) / 48_000
    waves = [0.1 * np.sin(2 * np.pi * f * time).astype(np.float32) for f in (60, 1000, 8000)]
    ours = [float(losses._loudness(jnp.asarray(wave[None]), 48_000)[0]) for wave in waves]
    meter = [loudness.measure(Waveform(np.stack([wave, wave], 1), 48_000)).lufs for wave in waves]
    np.testing.assert_allclose(np.diff(ours), np.diff(meter), atol=0.3)


@pytest.mark.acceptance
def test_a_run_by_the_clock_trains_without_and_then_with_the_quantiser(tmp_path):
    rng = np.random.default_rng(0)
    sound = (rng.normal(size=(4, 12_000, 2)) * 2000).astype(np.int16)
    full = pools.Pool(jnp.asarray(np.concatenate([sound] * 33)), jnp.int32(132))
    settings = train.Settings(rows=2, frames=24, fit_batches=1, refill_every=1, log_every=1)
    refilled = []
    params = train.train(SMALL, full, lambda pool: refilled.append(1) or pool, time.monotonic() + 8, tmp_path, settings)
    stages = [json.loads(line)["stage"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert set(stages) == {"warm", "joint"} and len(stages) == len(refilled)
    with np.load(tmp_path / "joint.npz") as file:
        assert set(file.files) == set(weights.flatten(params))


def test_windows_are_cut_anywhere_and_newer_clips_take_the_place_of_older_ones():
    special = pools.LONE + pools.RECORDED
    pool = pools.Pool(jnp.zeros((special + 4, 100, 2), jnp.int16), jnp.int32(special))
    for value in (8000, 16000):
        pool = pools.add(pool, np.full((3, 100, 2), value, np.int16), np.random.default_rng(0))
    assert int(pool.filled) == special + 4
    windows = np.asarray(pools.windows(pool, jax.random.key(0), 64, 40))
    assert windows.shape == (64, 40, 2)
    loud = np.abs(windows).max((1, 2))
    assert 0.5 < np.mean(loud > 0) < 0.9  # the special rows, three in ten, are silent here
    assert loud.max() <= 1


def test_dead_codes_are_put_on_vectors_that_were_seen():
    rng = np.random.default_rng(0)
    codebooks = np.stack([rng.normal(size=(8, 4)), rng.normal(size=(8, 4))]).astype(np.float32)
    codebooks[0, 5:] = 1000
    seen = rng.normal(size=(2, 16, 4)).astype(np.float32)
    averages = quantiser.start_averages(jnp.asarray(codebooks), 32)
    for count in range(300):
        done = quantiser.train_pass(jnp.asarray(codebooks), jnp.asarray(seen), jnp.array([2, 2]))
        codebooks, averages = quantiser.update(averages, done, jax.random.key(count))
    assert np.abs(codebooks).max() < 10
    used = np.unique(np.asarray(quantiser.train_pass(codebooks, jnp.asarray(seen), jnp.array([2, 2])).codes[0]))
    assert len(used) == 8


def test_k_means_levels_each_leave_less():
    vectors = np.random.default_rng(0).normal(size=(2000, 6)).astype(np.float32)
    codebooks = quantiser.fit(vectors, 3, 32)
    residual, left = vectors, []
    for codebook in codebooks:
        nearest = np.square(residual[:, None] - codebook).sum(-1).argmin(1)
        residual = residual - codebook[nearest]
        left.append(residual.var())
    assert left[0] < 0.6
    assert left[2] < left[1] < left[0]


def test_onset_f1_counts_what_lies_within_30_ms():
    wanted = np.array([0.0, 0.5, 1.0, 1.5])
    assert measures.onset_f1(wanted, wanted + 0.02) == 1
    assert measures.onset_f1(wanted, wanted + 0.04) == 0
    assert measures.onset_f1(wanted, np.array([0.5, 0.51])) == pytest.approx(2 / 6)


def test_no_loop_of_the_tests_is_trained_on():
    names = {name for name, _ in measures.loops([ROOT / "examples/loops", ROOT / "tests/loops"])}
    assert len(names) == 6
    assert not names & set(data.RECORDINGS)
    assert not [name for name in data.RECORDINGS if name.startswith(("arovane", "loop_amen"))]


@pytest.fixture(scope="module")
def shipped():
    return Codec(*ship.load_any(ship.ASSET))


@pytest.fixture(scope="module")
def trips(shipped):
    """Every loop, its codes and what they sound like: name -> (samples, codes, samples). One batch, to compile once."""
    sounds = dict(measures.loops([ROOT / "examples/loops", ROOT / "tests/loops"]))
    quiet = sounds["loop_compus"] * np.float32(0.1)
    everything = sounds | {"quiet": quiet}
    longest = max(map(len, everything.values()))
    padded = np.stack([np.pad(sound, ((0, longest - len(sound)), (0, 0))) for sound in everything.values()])
    codes = np.asarray(shipped.encode(padded))
    decoded = np.asarray(shipped.decode(codes))
    return {
        name: (sound, codes[row, : -(-len(sound) // 1920)], decoded[row, : len(sound)])
        for row, (name, sound) in enumerate(everything.items())
    }


def test_the_shipped_codec_has_the_configuration_of_the_code(shipped):
    assert shipped.config == CodecConfig.tiny()
    assert ship.ASSET.stat().st_size < 8e6


def test_shipped_codec_gives_whole_frames(shipped):
    samples = np.zeros((1, 5000, 2), np.float32)
    codes = shipped.encode(samples)
    assert codes.shape == (1, 3, 16)
    assert shipped.decode(codes).shape == (1, 3 * 1920, 2)


def test_shipped_codec_keeps_loops_level_and_spectrum(trips):
    found = {name: measures.compare(sound, decoded) for name, (sound, _, decoded) in trips.items()}
    quiet = found.pop("quiet")
    assert abs(quiet["loudness_lu"]) < MOST_LOUDNESS
    for name, numbers in found.items():
        assert abs(numbers["loudness_lu"]) < MOST_LOUDNESS, name
        assert numbers["mel_db"] < MOST_MEL_DB, name
    assert np.mean([numbers["mel_db"] for numbers in found.values()]) < MEAN_MEL_DB
    assert np.mean([numbers["onset_f1"] for numbers in found.values()]) > LEAST_ONSET_F1


def test_shipped_codebooks_are_used(trips):
    codes = np.concatenate([codes for _, codes, _ in trips.values()])
    distinct = [len(np.unique(level)) for level in codes.T]
    assert min(distinct) > LEAST_CODES
