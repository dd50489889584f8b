"""The vocabulary's layout and the encoder's input row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darius.tokens import MASK_ID, TokenLayout

V1 = TokenLayout()
SMALL = TokenLayout(codebook_size=64)


def test_v1_has_the_published_vocabulary_and_lengths() -> None:
    assert (V1.codec_offset, V1.style_offset, V1.vocab_size, V1.vocab_rows) == (2, 17410, 29698, 29824)
    assert (V1.encoder_length, V1.decoder_length) == (1006, 800)


def test_a_smaller_codebook_keeps_the_layout() -> None:
    assert (SMALL.style_offset, SMALL.vocab_size, SMALL.vocab_rows) == (1090, 1858, 1920)


def test_each_level_has_its_own_ids() -> None:
    codes = np.array([[0, 1023, 5]])
    assert V1.codec_ids(codes).tolist() == [[2, 2 + 1024 + 1023, 2 + 2048 + 5]]
    assert V1.style_ids(codes).tolist() == [[17410, 17410 + 1024 + 1023, 17410 + 2048 + 5]]


@given(st.lists(st.integers(0, 1023), min_size=16, max_size=16))
def test_codes_survive_the_way_to_ids_and_back(frame: list[int]) -> None:
    assert V1.codes_from_ids(V1.codec_ids(frame)).tolist() == frame


def test_an_unknown_code_is_the_mask() -> None:
    assert V1.codec_ids([[3, -1]]).tolist() == [[5, MASK_ID]]


@pytest.mark.parametrize("frames", [0, 1, 249, 250, 300])
def test_a_row_holds_the_newest_frames_last_and_masks_what_is_missing(frames: int) -> None:
    context = np.random.default_rng(0).integers(0, 1024, (frames, 16), np.int32)
    row = V1.encoder_row(context, np.arange(12))
    assert row.shape == (1006,) and row.dtype == np.int32
    kept = min(frames, 250)
    assert (row[: (250 - kept) * 4] == MASK_ID).all()
    assert (row[(250 - kept) * 4 : 1000].reshape(-1, 4) == V1.codec_ids(context[frames - kept :, :4])).all()
    assert row[1000:].tolist() == [17410 + level * 1024 + level for level in range(6)]


def test_without_a_style_the_row_ends_in_masks() -> None:
    row = V1.encoder_row(np.zeros((250, 16), np.int32), None)
    assert row[-6:].tolist() == [MASK_ID] * 6
    assert (row[:-6] != MASK_ID).all()
