"""Log-mel spectrograms: scale, shape, and no empty filter."""

from __future__ import annotations

import numpy as np
import pytest

from darius.audio.mel import hertz_to_mel, log_mel, mel_filters, mel_to_hertz

from .sounds import noise, sine


def test_the_scale_is_htk_and_invertible() -> None:
    assert float(hertz_to_mel(1000.0)) == pytest.approx(999.99, abs=0.01)
    hertz = np.linspace(0, 24_000, 50)
    assert np.allclose(mel_to_hertz(hertz_to_mel(hertz)), hertz)


@pytest.mark.parametrize(("rate", "window"), [(16_000, 512), (44_100, 2048), (48_000, 1024)])
def test_no_filter_is_empty_and_each_peaks_near_its_centre(rate: int, window: int) -> None:
    filters = mel_filters(rate, window, 128, 20.0, rate / 2)
    assert filters.shape == (window // 2 + 1, 128)
    assert filters.max(axis=0).min() > 0.4
    centres = mel_to_hertz(np.linspace(hertz_to_mel(20.0), hertz_to_mel(rate / 2), 130))[1:-1]
    assert np.abs(filters.argmax(axis=0) * rate / window - centres).max() <= rate / window


def test_a_full_sine_is_about_0_db_in_its_own_band() -> None:
    mels = log_mel(sine(1.0, hertz=1000.0, gain=1.0).samples, 44_100)
    assert mels.shape == (1 + 44_100 // 512, 128) and mels.dtype == np.float32
    row = mels[40]
    assert row.max() == pytest.approx(0.0, abs=1.5)
    centres = mel_to_hertz(np.linspace(hertz_to_mel(20.0), hertz_to_mel(22_050), 130))[1:-1]
    assert abs(centres[row.argmax()] - 1000.0) < 40.0


def test_half_the_amplitude_is_6_db_less() -> None:
    loud, soft = (log_mel(noise(0.5, gain=gain).samples, 44_100) for gain in (0.2, 0.1))
    assert np.allclose(loud - soft, 6.02, atol=0.01)


def test_silence_is_the_floor() -> None:
    assert (log_mel(np.zeros(5000), 44_100, floor_db=-80.0) == -80.0).all()


def test_rows_are_centred_on_their_hops_even_across_blocks() -> None:
    click = np.zeros(1_200_000, np.float32)
    click[700_000] = 1.0
    rows = log_mel(click, 48_000, hop=500, window=1024, num_mels=16).max(axis=1)
    assert rows.argmax() == 1400 and len(rows) == 2401
