"""Mixing styles: words and weights in, one embedding out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darius.errors import InvalidOption
from darius.style.mix import StyleRequest, WeightedText, mix, pair, parse, parse_list, style_vector
from darius.style.steering import Assets

A, B, C = np.eye(3, dtype=np.float32)
WEIGHTS = st.floats(0, 1e30)
WORDS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)


class Letters:
    """A style space of three axes: the text "a" lies on the first, "b" on the second, everything else on the third."""

    dim = 3

    def __init__(self):
        self.seen = []

    def embed_text(self, texts):
        self.seen.append(list(texts))
        return np.stack([{"a": A, "b": B}.get(text, C) for text in texts])

    def embed_audio(self, waveform):
        return C

    def tokenize(self, embedding):
        return np.zeros(12, np.int32)


def test_weights_are_shares_of_their_sum():
    np.testing.assert_allclose(mix([(A, 3.0), (B, 1.0)]), [0.75, 0.25, 0], rtol=1e-6)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8), st.floats(1e-20, 1e20))
def test_only_the_ratio_of_weights_counts(weights, scale):
    embeddings = np.random.default_rng(0).normal(size=(len(weights), 5)).astype(np.float32)
    plain = mix(zip(embeddings, weights, strict=True))
    scaled = mix(zip(embeddings, [weight * scale for weight in weights], strict=True))
    np.testing.assert_allclose(plain, scaled, rtol=1e-5, atol=1e-6)


@given(st.lists(WEIGHTS, min_size=1, max_size=8).filter(lambda weights: max(weights) > 0))
def test_a_mix_lies_between_its_parts_whatever_the_weights(weights):
    embeddings = np.random.default_rng(1).normal(size=(len(weights), 4)).astype(np.float32)
    mixed = mix(zip(embeddings, weights, strict=True))
    assert mixed.dtype == np.float32
    assert (mixed <= embeddings.max(0) + 1e-5).all() and (mixed >= embeddings.min(0) - 1e-5).all()


def test_one_part_alone_stays_what_it_is():
    np.testing.assert_array_equal(mix([(B, 0.01)]), B)


@pytest.mark.parametrize("components", [[], [(A, 0.0)], [(A, 0.0), (B, 0.0)]])
def test_nothing_with_weight_is_the_neutral_style(components):
    assert mix(components) is None


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf, -math.inf])
def test_a_weight_that_is_no_share_is_refused(weight):
    with pytest.raises(InvalidOption, match="number from 0 up"):
        mix([(A, 1.0), (B, weight)])
    with pytest.raises(InvalidOption, match="loop"):
        StyleRequest(loop_weight=weight)
    with pytest.raises(InvalidOption, match="mean"):
        StyleRequest(mean=weight)
    with pytest.raises(InvalidOption, match="centroid 2"):
        StyleRequest(centroids=(1.0, weight))
    with pytest.raises(InvalidOption, match='"dub"'):
        StyleRequest(texts=(WeightedText("dub", weight),))


def test_words_loop_audio_mean_and_centroids_mix_together():
    assets = Assets(mean=np.array([0, 0, 8], np.float32), centroids=np.array([[8, 0, 0], [0, 8, 0]], np.float32))
    request = StyleRequest(
        texts=(WeightedText("a", 2.0), WeightedText("b")), loop_weight=1.0, mean=1.0, centroids=(0.0, 1.0, 5.0)
    )
    mixed = style_vector(request, Letters(), loop=4 * C, audio=[(4 * A, 2.0)], assets=assets)
    # 2a + 1b + loop 4c + audio 2 x 4a + mean 8c + second centroid 8b; weights 2 + 1 + 1 + 2 + 1 + 1
    np.testing.assert_allclose(mixed, np.array([10, 9, 12]) / 8, rtol=1e-6)


def test_weights_of_what_is_not_there_are_ignored():
    request = StyleRequest(texts=(WeightedText("a"),), loop_weight=3.0, mean=1.0, centroids=(1.0, 1.0))
    np.testing.assert_array_equal(style_vector(request, Letters()), A)
    np.testing.assert_array_equal(style_vector(request, Letters(), assets=Assets()), A)


def test_words_without_weight_are_not_embedded():
    model = Letters()
    request = StyleRequest(texts=(WeightedText("a", 0.0), WeightedText("b", 1.0)))
    np.testing.assert_array_equal(style_vector(request, model), B)
    assert model.seen == [["b"]]


def test_a_request_for_nothing_is_the_neutral_style():
    assert style_vector(StyleRequest(), Letters()) is None
    assert style_vector(StyleRequest(loop_weight=0.0), Letters(), loop=A) is None


@pytest.mark.parametrize(
    ("written", "text", "weight"),
    [
        ("acid house", "acid house", 1.0),
        ("acid house:1.0", "acid house", 1.0),
        ("acid house:0", "acid house", 0.0),
        (" acid house : .5 ", "acid house", 0.5),
        ("intro: slow, dark:2", "intro: slow, dark", 2.0),
        ("intro: slow", "intro: slow", 1.0),
        ("intro:", "intro:", 1.0),
        ("mood: infinity", "mood: infinity", 1.0),
        ("a:b:1e-1", "a:b", 0.1),
        ("٣:٣", "٣:٣", 1.0),
    ],
)
def test_the_weight_is_a_number_after_the_last_colon(written, text, weight):
    assert parse(written) == (text, weight)


@given(WORDS, WEIGHTS)
def test_words_and_weight_survive_writing_and_reading(text, weight):
    assert parse(f"{text}:{weight!r}") == (text, weight)


@given(WORDS.filter(lambda text: ":" not in text))
def test_words_without_a_colon_count_once(text):
    assert parse(text) == (text, 1.0)


@given(st.text(st.sampled_from(":.0123456789eE+-nainf x"), max_size=12))
def test_whatever_is_written_gives_words_with_a_share_or_one_sentence(written):
    try:
        text, weight = parse(written)
    except InvalidOption as error:
        assert error.message.endswith(".") and error.hint
    else:
        assert text and weight >= 0 and math.isfinite(weight)


@pytest.mark.parametrize("written", ["", "  ", ":0.5", "dub:-1", "dub:nan", "dub:inf", "dub:1e999"])
def test_no_words_or_no_share_is_refused(written):
    with pytest.raises(InvalidOption):
        parse(written)


def test_a_list_leaves_blank_entries_out():
    assert parse_list("a:1, ,b:0.5,,c") == (("a", 1.0), ("b", 0.5), ("c", 1.0))
    assert parse_list("") == ()


def test_blank_words_go_together_with_their_weight():
    assert pair(["a", "", "b"], [1, 0.2, 0.5]) == (("a", 1.0), ("b", 0.5))
    assert pair(["a", "b"], [0.5]) == (("a", 0.5), ("b", 1.0))
    assert pair(["a"], [0.5, 7.0]) == (("a", 0.5),)


def test_the_weight_of_blank_words_may_be_anything():
    assert pair(["", "b"], [math.nan, 1]) == (("b", 1.0),)
