"""Training windows: every id where the original puts it, and places drawn as the original draws them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darius.errors import BadDataset
from darius.tokens import MASK_ID, TokenLayout
from finetune import windows
from finetune.records import Example
from finetune.windows import Place

LAYOUT = TokenLayout()


def a_clip(seconds: int, *, levels: int = 64) -> Example:
    """Codes that tell their place: frame f, level q has (f + 3 q) mod 1024; style row r, level q has 100 r + q."""
    frames = np.arange(seconds * 25)[:, None]
    rows = np.arange(-(-seconds // 10))[:, None]
    return Example(
        acoustic_tokens=np.asarray((frames + 3 * np.arange(levels)) % 1024, np.int32),
        style_tokens=np.asarray(100 * rows + np.arange(12), np.int32),
    )


def expected_id(frame: int, level: int) -> int:
    return 2 + 1024 * level + (frame + 3 * level) % 1024


def test_a_full_window_worked_out_by_hand() -> None:
    inputs, targets = windows.window_at(a_clip(30), LAYOUT, Place(start=5, context=10), styled=True)
    assert (inputs.dtype, inputs.shape, targets.dtype, targets.shape) == (np.int32, (1006,), np.int32, (800,))
    # 10 s from second 5 are frames 125 to 374, four levels each, frame by frame
    assert inputs[:5].tolist() == [expected_id(125, q) for q in range(4)] + [expected_id(126, 0)]
    assert inputs[996:1000].tolist() == [expected_id(374, q) for q in range(4)]
    # the targets' middle is second 16, in the second row of the style: 100 + level
    assert inputs[1000:].tolist() == [17410 + 1024 * q + 100 + q for q in range(6)]
    # the targets are frames 375 to 424, sixteen levels each
    assert targets[:17].tolist() == [expected_id(375, q) for q in range(16)] + [expected_id(376, 0)]
    assert targets[-1] == expected_id(424, 15)


def test_missing_context_is_masked_at_the_front() -> None:
    inputs, targets = windows.window_at(a_clip(30), LAYOUT, Place(start=0, context=3), styled=True)
    assert (inputs[:700] == MASK_ID).all()
    assert inputs[700] == expected_id(0, 0)
    assert targets[0] == expected_id(75, 0)


def test_no_context_at_all() -> None:
    inputs, targets = windows.window_at(a_clip(2), LAYOUT, Place(start=0, context=0), styled=True)
    assert (inputs[:1000] == MASK_ID).all()
    assert inputs[1000] == 17410
    assert targets[0] == expected_id(0, 0)


def test_a_masked_style_is_six_masks() -> None:
    inputs, _ = windows.window_at(a_clip(30), LAYOUT, Place(start=5, context=10), styled=False)
    assert (inputs[1000:] == MASK_ID).all()
    assert (inputs[:1000] != MASK_ID).all()


@pytest.mark.parametrize(("start", "context", "row"), [(0, 8, 0), (0, 9, 1), (8, 0, 0), (9, 0, 1), (18, 10, 2)])
def test_the_style_is_the_one_around_the_targets_middle(start: int, context: int, row: int) -> None:
    inputs, _ = windows.window_at(a_clip(30), LAYOUT, Place(start=start, context=context), styled=True)
    assert inputs[1000] == 17410 + 100 * row


@given(st.integers(2, 40), st.integers(0, 2**32))
@settings(max_examples=200)
def test_every_drawn_place_lies_in_the_clip(seconds: int, seed: int) -> None:
    place = windows.draw_place(seconds * 25 + seed % 25, LAYOUT, np.random.default_rng(seed))
    assert 0 <= place.context <= 10
    assert place.start >= 0
    assert place.start + place.context + 2 <= seconds


def test_three_draws_in_four_have_the_full_context_and_the_others_are_spread_evenly() -> None:
    rng = np.random.default_rng(1)
    places = [windows.draw_place(750, LAYOUT, rng) for _ in range(8000)]
    counts = np.bincount([place.context for place in places], minlength=11)
    assert counts[10] / 8000 == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(counts[:10] / 8000, 0.025, atol=0.008)
    starts = np.bincount([place.start for place in places if place.context == 10], minlength=19)
    assert len(starts) == 19  # 0 to 18: the last target ends with the clip
    assert starts.min() > 0.7 * starts.mean()


def test_one_style_in_ten_is_masked() -> None:
    rng, clip = np.random.default_rng(2), a_clip(30)
    masked = [windows.cut_window(clip, LAYOUT, rng)[0][-1] == MASK_ID for _ in range(4000)]
    assert np.mean(masked) == pytest.approx(0.1, abs=0.02)


def test_the_same_generator_cuts_the_same_windows() -> None:
    clip = a_clip(30)
    for a, b in zip(*(windows.cut_window(clip, LAYOUT, np.random.default_rng(3)) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_last_window_ends_with_the_clip() -> None:
    inputs, targets = windows.last_window(a_clip(30), LAYOUT)
    assert targets[-1] == expected_id(749, 15)
    assert inputs[0] == expected_id(18 * 25, 0)
    inputs, targets = windows.last_window(a_clip(5), LAYOUT)
    assert targets[-1] == expected_id(124, 15)
    assert (inputs[:700] == MASK_ID).all() and inputs[700] == expected_id(0, 0)


def test_clips_and_codes_that_are_too_few_are_told() -> None:
    short = Example(acoustic_tokens=np.zeros((49, 64), np.int32), style_tokens=np.zeros((1, 12), np.int32))
    with pytest.raises(BadDataset, match="A clip of 49 frames is too short"):
        windows.cut_window(short, LAYOUT, np.random.default_rng(0))
    with pytest.raises(BadDataset, match="8 codec and 12 style levels; this model needs 16 and 6"):
        windows.last_window(a_clip(30, levels=8), LAYOUT)
