"""Names, shapes, checks and initial values of the parameters."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from darius.depthformer import memory, weights
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.decode import DecodePlan
from darius.depthformer.packing import relative_buckets
from darius.errors import BadCheckpoint, InvalidOption


@pytest.mark.parametrize(
    ("config", "parameters", "tensors"),
    [(DepthformerConfig.base(), 347_873_472, 430), (DepthformerConfig.large(), 761_651_456, 538)],
)
def test_published_sizes_have_the_published_parameter_counts(config, parameters, tensors):
    assert weights.count(config) == parameters
    assert len(weights.shapes(config)) == tensors


def test_initialise_gives_float32_of_every_shape_without_being_run_for_large():
    config = DepthformerConfig.large()
    drawn = jax.eval_shape(lambda key: weights.initialise(config, key), jax.random.key(0))
    assert {name: value.shape for name, value in drawn.items()} == weights.shapes(config)
    assert {value.dtype for value in drawn.values()} == {np.dtype(np.float32)}


def test_initial_values_have_the_spread_of_the_originals(config):
    config = dataclasses.replace(config, embed_dim=64, head_dim=16, num_temporal_layers=1, num_depth_layers=1)
    draw = jax.jit(lambda key: weights.initialise(config, key))
    drawn = draw(jax.random.key(0, impl="rbg"))  # a generator that compiles quickly
    layer = weights.temporal_layer(0)
    spread = {
        weights.EMBEDDING: 1.0,
        weights.LOGITS: 1 / 8,
        f"{layer}/self_attention/query/kernel": 1 / 8 / 4,
        f"{layer}/self_attention/key/kernel": 1 / 8,
        f"{layer}/mlp/wi_0/kernel": 1 / 8,
    }
    for name, deviation in spread.items():
        assert float(drawn[name].std()) == pytest.approx(deviation, rel=0.1), name


def test_a_configuration_survives_json_and_refuses_unknown_fields(config):
    assert DepthformerConfig.from_dict(config.to_dict()) == config
    with pytest.raises(InvalidOption, match="num_wheels"):
        DepthformerConfig.from_dict({**config.to_dict(), "num_wheels": 4})


def test_sizes_are_found_again_from_the_shapes(config):
    assert weights.infer(weights.shapes(config), config.layout) == config
    assert weights.infer(weights.shapes(DepthformerConfig.base())) == DepthformerConfig.base()
    with pytest.raises(BadCheckpoint, match="rel_embedding is missing"):
        weights.infer({"encoder/encoder_norm/scale": (4,)})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({weights.ENCODER_NORM: None}, "encoder/encoder_norm/scale is missing"),
        ({weights.ENCODER_NORM: np.ones(3, np.float32)}, r"encoder/encoder_norm/scale has shape \[3\].*needs \[16\]"),
        ({weights.ENCODER_NORM: np.ones(16, np.int32)}, "encoder/encoder_norm/scale holds int32"),
        ({"decoder/extra": np.ones(1, np.float32)}, "decoder/extra is not part"),
    ],
)
def test_a_wrong_checkpoint_is_refused_in_a_sentence_that_names_the_tensor(config, params, change, sentence):
    wrong = {name: value for name, value in {**params, **change}.items() if value is not None}
    with pytest.raises(BadCheckpoint, match=sentence) as caught:
        weights.check(config, wrong)
    assert caught.value.hint


def test_v1_relative_buckets_are_plain_distances():
    np.testing.assert_array_equal(relative_buckets(np.arange(50), 128), np.arange(50))
    np.testing.assert_array_equal(relative_buckets(np.arange(16), 16), np.arange(16))
    assert relative_buckets(np.array([500]), 128)[0] == 127


def test_what_many_streams_take_grows_with_them_and_the_weights_do_not():
    large, plan = DepthformerConfig.large(), DecodePlan(dtype="bfloat16")
    one, two = (memory.account(large, batch, plan) for batch in (1, 2))
    assert two.weights == one.weights
    assert two.context == 2 * one.context
    assert memory.account(large, 1, plan, guided=False).context == one.context // 2


def test_hearing_the_encoders_output_itself_takes_a_fraction_of_keys_and_values():
    large = DepthformerConfig.large()
    kept, whole = (memory.account(large, 256, DecodePlan(dtype="bfloat16", whole_rows=n)) for n in (None, 64))
    assert whole.context < kept.context / 30
