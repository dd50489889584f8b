"""The text cache: each text reaches the model once, and the cache is a value like any other."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darius.errors import InvalidOption
from darius.style.cache import CachedStyle
from darius.style.interface import StyleModel


class Counting:
    """Embeds a text as its length and first letter, and keeps what it was asked."""

    dim = 2

    def __init__(self):
        self.asked = []

    def embed_text(self, texts):
        self.asked.extend(texts)
        return np.array([[len(text), ord(text[0])] for text in texts], np.float32)

    def embed_audio(self, waveform):
        return np.array([waveform, 0], np.float32)

    def tokenize(self, embedding):
        return np.asarray(embedding, np.int32)


def test_a_text_is_embedded_once():
    model = Counting()
    cached = CachedStyle(model)
    first = cached.embed_text(["dub", "jazz", "dub"])
    second = cached.embed_text(["jazz", "dub"])
    assert model.asked == ["dub", "jazz"]
    np.testing.assert_array_equal(first, first[[0, 1, 0]])
    np.testing.assert_array_equal(second, first[[1, 0]])


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), max_size=8), st.integers(1, 4))
def test_answers_are_the_models_own_whatever_the_capacity(requests, capacity):
    cached = CachedStyle(Counting(), capacity=capacity)
    for texts in requests:
        embeddings = cached.embed_text(texts)
        assert embeddings.shape == (len(texts), 2) and embeddings.dtype == np.float32
        assert [chr(int(row[1])) for row in embeddings] == texts
        assert len(cached) <= capacity


def test_the_least_recently_used_text_goes_first():
    model = Counting()
    cached = CachedStyle(model, capacity=2)
    for texts in (["a"], ["b"], ["a"], ["c"], ["a"], ["b"]):
        cached.embed_text(texts)
    assert model.asked == ["a", "b", "c", "b"]


def test_changing_an_answer_does_not_change_the_cache():
    cached = CachedStyle(Counting())
    cached.embed_text(["dub"])[:] = 0
    assert cached.embed_text(["dub"])[0, 0] == 3


def test_two_caches_share_nothing():
    model = Counting()
    CachedStyle(model).embed_text(["dub"])
    CachedStyle(model).embed_text(["dub"])
    assert model.asked == ["dub", "dub"]


def test_it_is_a_style_model_itself():
    cached = CachedStyle(Counting())
    assert isinstance(cached, StyleModel) and cached.dim == 2
    assert cached.embed_audio(5)[0] == 5
    assert cached.tokenize(np.ones(2)).tolist() == [1, 1]


def test_many_threads_get_the_right_answers():
    cached = CachedStyle(Counting(), capacity=3)
    wrong = []

    def ask(seed):
        for letter in np.random.default_rng(seed).choice(list("abcdef"), 200):
            if chr(int(cached.embed_text([letter])[0, 1])) != letter:
                wrong.append(letter)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(cached) <= 3


def test_a_cache_of_nothing_is_refused():
    with pytest.raises(InvalidOption, match="can hold nothing"):
        CachedStyle(Counting(), capacity=0)
