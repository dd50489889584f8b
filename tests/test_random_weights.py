"""`random:SIZE`: a whole model without a download, for everything but the music."""

import dataclasses

import numpy as np
import pytest

import darius
from darius import parts, random_weights, session
from darius.codec.config import CodecConfig
from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from darius.errors import InvalidOption

SMALL = dataclasses.replace(DepthformerConfig.tiny(), num_temporal_layers=1, num_encoder_layers=1)


def test_a_random_model_plays() -> None:
    model = darius.load("random:tiny", keep_programs=False)
    stream = session.start(model, model.nothing(), 7)
    samples, codes, _ = session.advance(model, stream, [session.Knobs()], frames=2)
    assert samples.shape == (1, 2 * model.codec.frame_samples, 2)
    assert np.isfinite(samples).all() and len(np.unique(codes)) > 8
    assert model.name == "random:tiny" and model.style.embed_text(["dub"]).shape == (1, 768)


def test_its_weights_have_the_right_shapes_and_spreads() -> None:
    drawn = random_weights.language_model(SMALL)
    weights.check(SMALL, drawn)
    inputs = SMALL.embed_dim
    assert np.std(drawn["encoder/layers_0/mlp/wi_0/kernel"]) == pytest.approx(inputs**-0.5, rel=0.02)
    query = np.std(drawn["encoder/layers_0/attention/query/kernel"])
    assert query == pytest.approx((inputs * SMALL.head_dim) ** -0.5, rel=0.02)
    assert np.std(drawn[weights.EMBEDDING]) == pytest.approx(1.0, rel=0.02)


def test_they_are_the_same_every_time() -> None:
    one, other = (random_weights.language_model(SMALL) for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_base_and_large_speak_through_the_full_size_codec() -> None:
    assert parts.of_model("random:large").codec == CodecConfig.spectrostream()
    assert parts.of_model("random:tiny").codec == CodecConfig.tiny()


@pytest.mark.parametrize("load", [darius.load, parts.of_model])
def test_another_size_is_refused(load) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidOption, match="no size 'huge'"):
        load("random:huge")
