"""A style gliding into another: a straight line over a stretch of music, wherever it started."""

from __future__ import annotations

import numpy as np

from darius.jam.glide import Glide

A, B, C = (np.array(v, np.float32) for v in ([1, 0], [0, 1], [4, 4]))


def test_it_goes_in_a_straight_line_and_stays_at_its_end() -> None:
    glide = Glide(source=A, target=B, begun=100, frames=200)
    assert np.allclose(glide.at(100), A) and np.allclose(glide.at(50), A)
    assert np.allclose(glide.at(150), [0.75, 0.25])
    assert np.array_equal(glide.at(300), B) and np.array_equal(glide.at(10_000), B)


def test_no_time_means_at_once() -> None:
    assert np.array_equal(Glide(source=A, target=B, begun=100).at(100), B)


def test_a_new_style_halfway_begins_where_the_music_is() -> None:
    glide = Glide(source=A, target=B, begun=0, frames=200).to(C, now=100, frames=100)
    assert np.allclose(glide.at(100), [0.5, 0.5])
    assert np.allclose(glide.at(150), [2.25, 2.25])
    assert np.array_equal(glide.at(200), C)


def test_the_neutral_style_comes_and_goes_at_once() -> None:
    assert Glide(source=A, target=None, begun=0, frames=200).at(0) is None
    assert np.array_equal(Glide(source=None, target=B, begun=0, frames=200).at(0), B)
