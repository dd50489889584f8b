"""v1's variables become our tree, whatever stands in front of their names, and every flaw is named."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from small_codec import small_config

from darius.codec import v1_names, weights
from darius.codec.config import CodecConfig
from darius.errors import BadCheckpoint

SMALL = small_config(num_features=4, num_levels=3, codebook_size=8)


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(np.asarray, weights.initialise(SMALL, jax.random.key(0)))


def test_there_and_back_is_the_same(params):
    again = weights.flatten(v1_names.from_v1(v1_names.to_v1(params), SMALL))
    for name, value in weights.flatten(params).items():
        np.testing.assert_array_equal(again[name], value)


def test_the_full_model_has_the_96_documented_tensors_and_64_codebooks():
    names = [v1_names.v1_names(n)[0] for n in weights.shapes(CodecConfig.spectrostream()) if n != weights.EMBEDDING]
    assert len(set(names)) == 96
    for expected in (
        "encoder/base_conv_first/weight_norm/rescaled/kernel",
        "encoder/encoder_2/conv2d_3x6_a/weight_norm/rescaled/kernel",
        "encoder/encoder_6/conv2d_4x3_a/weight_norm/bias",
        "encoder/encoder_0/shortcut/conv1x1/weight_norm/rescaled/kernel",
        "encoder/bottleneck/conv2d_3x3_a/weight_norm/bias",
        "encoder/bottleneck/conv1x1_last/conv1x1/weight_norm/bias",
        "encoder/bottleneck/conv1x1_last/conv1x1_b/weight_norm/bias",
        "decoder/input_layer/conv1x1_first/conv1x1_a/weight_norm/rescaled/kernel",
        "decoder/input_layer/conv2d_3x3_a/weight_norm/rescaled/kernel",
        "decoder/decoder_1/conv2dtranspose_4x4/weight_norm/rescaled/kernel",
        "decoder/decoder_0/shortcut/conv1x1/weight_norm/rescaled/kernel",
    ):
        assert expected in names
    last = v1_names.v1_names("decoder/output_layer/base_conv_last/conv/kernel")
    assert "decoder/input_layer/base_conv_last/conv/kernel" in last


def test_a_transposed_kernel_is_flipped_in_time_and_frequency_with_in_and_out_swapped(params):
    theirs = v1_names.to_v1(params)["decoder/decoder_1/conv2dtranspose_4x4/weight_norm/rescaled/kernel"]
    ours = params["decoder"]["decoder_1"]["conv2dtranspose_4x4"]["conv"]["kernel"]
    np.testing.assert_array_equal(theirs[0, 3, 1, 2], ours[3, 0, 2, 1])


def test_prefixes_suffixes_and_raw_kernels_do_not_disturb(params):
    variables = {}
    for name, value in v1_names.to_v1(params).items():
        part, _, rest = name.partition("/")
        variables[name if part == "quantizer" else f"{part}/some_model/{rest}:0"] = value
        if "rescaled" in name:
            variables[f"{part}/some_model/{rest.replace('rescaled/', '')}:0"] = value * 2
    again = v1_names.from_v1(variables, SMALL)
    np.testing.assert_array_equal(
        again["encoder"]["encoder_3"]["conv2d_3x3"]["conv"]["kernel"],
        params["encoder"]["encoder_3"]["conv2d_3x3"]["conv"]["kernel"],
    )


def test_a_missing_variable_is_named(params):
    variables = v1_names.to_v1(params)
    del variables["quantizer/1/embeddings"]
    with pytest.raises(BadCheckpoint, match="quantizer/1/embeddings"):
        v1_names.from_v1(variables, SMALL)


def test_a_variable_that_is_there_twice_is_named(params):
    variables = v1_names.to_v1(params)
    name = "encoder/base_conv_first/weight_norm/bias"
    variables[name.replace("encoder/", "encoder/copy/")] = variables[name]
    with pytest.raises(BadCheckpoint, match="more than one variable encoder/base_conv_first"):
        v1_names.from_v1(variables, SMALL)


def test_a_misshapen_variable_is_named(params):
    variables = v1_names.to_v1(params)
    variables["decoder/input_layer/base_conv_last/conv/bias"] = np.zeros(7, np.float32)
    with pytest.raises(BadCheckpoint, match=r"decoder/output_layer/base_conv_last/conv/bias is \(7,\), not \(2,\)"):
        v1_names.from_v1(variables, SMALL)
