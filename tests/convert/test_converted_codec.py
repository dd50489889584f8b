"""The converted codec: the same tokens and audio as TensorFlow gives, all tensors under their names."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from v1_original import (
    CODEC,
    audio_of,
    relative,
    tokens_of,
)

from darius.checkpoints import safetensors_io
from darius.codec import weights
from darius.codec.config import CodecConfig
from darius.convert import check, codec
from darius.convert.variables import SavedVariables
from darius.errors import (
    BadCheckpoint,
)


@pytest.fixture(scope="module")
def converted_codec(conversion):
    return check.load_codec(conversion.folder)


def test_the_codec_gives_tensorflows_tokens(v1, converted_codec):
    audio = np.stack([v1.audio, v1.audio[::-1]])
    np.testing.assert_array_equal(converted_codec.encode(audio, levels=6), tokens_of(v1, audio))


def test_the_codec_gives_tensorflows_audio(v1, converted_codec):
    tokens = np.random.default_rng(3).integers(0, 32, (2, 9, 6)).astype(np.int32)
    expected = audio_of(v1, tokens)
    decoded = converted_codec.decode(tokens)
    assert decoded.shape == expected.shape == (2, 9 * 1920, 2)
    assert relative(decoded, expected) <= 1e-5


def test_the_codec_file_holds_all_tensors_and_its_configuration(conversion):
    path = conversion.folder / "codec.safetensors"
    tensors = safetensors_io.load(path)
    assert {name: tensor.shape for name, tensor in tensors.items()} == weights.shapes(CODEC)
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float32)}
    # 48 tensors of the encoder, 48 of the decoder and the codebooks, as in the full-size model
    assert len(tensors) == 97
    assert CodecConfig.from_dict(safetensors_io.metadata(path)["config"]) == CODEC


def test_fewer_levels_can_be_kept(source, tmp_path, conversion):
    fewer = dataclasses.replace(CODEC, num_levels=2)
    codec.convert_codec(source, tmp_path, fewer, on_progress=lambda part: None)
    kept = safetensors_io.load(tmp_path / "codec.safetensors")["quantizer/embedding"]
    whole = safetensors_io.load(conversion.folder / "codec.safetensors")["quantizer/embedding"]
    np.testing.assert_array_equal(kept, whole[:2])


def test_names_may_carry_a_prefix_and_the_quantiser_is_read_by_its_objects(v1, tmp_path):
    class Outer(tf.Module):
        def __init__(self):
            super().__init__()
            self.inner = [tf.Variable(tf.ones([2]), name="spectrostream/encoder/base_conv_first/weight_norm/bias")]

    tf.saved_model.save(Outer(), str(tmp_path / "outer"))
    saved = SavedVariables(tmp_path / "outer", tf)
    assert list(saved) == ["spectrostream/encoder/base_conv_first/weight_norm/bias"]
    assert saved.shape(next(iter(saved))) == (2,)

    tf.saved_model.save(v1.quantizer, str(tmp_path / "quantizer"))
    quantizer = SavedVariables(tmp_path / "quantizer", tf)
    assert len(quantizer) == CODEC.num_levels
    for level in range(CODEC.num_levels):
        expected = v1.quantizer._quantizers[level].embeddings.numpy()
        np.testing.assert_array_equal(quantizer.at(f"_quantizers/{level}/embeddings"), expected)
    with pytest.raises(BadCheckpoint, match="_quantizers/6/embeddings"):
        quantizer.at("_quantizers/6/embeddings")
    with pytest.raises(BadCheckpoint, match="_quantizers/0"):
        quantizer.at("_quantizers/0")
