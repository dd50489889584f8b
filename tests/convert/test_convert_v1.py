"""Converting Magenta RealTime v1 as a whole: what lies there afterwards, and what is said on the way."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from v1_original import CODEC

from darius.checkpoints import safetensors_io
from darius.convert import check, layout
from darius.errors import (
    BadCheckpoint,
)


def test_the_folder_holds_everything_and_nothing_else(conversion):
    names = {path.name for path in conversion.folder.iterdir()}
    assert names == {
        "codec.safetensors",
        "manifest.json",
        "music_encoder.tflite",
        "spm.model",
        "style_codebooks.safetensors",
        "text_encoder.tflite",
    }
    assert list(conversion.folder.parent.iterdir()) == [conversion.folder]


def test_the_manifest_says_what_and_how_well(conversion):
    manifest = json.loads((conversion.folder / "manifest.json").read_text())
    assert manifest["codec"]["tensors"] == 97 and manifest["codec"]["levels"] == 6
    for tower in ("text", "music"):
        assert manifest["style"][tower]["format"] == "tflite" and manifest["style"][tower]["error"] <= 1e-5
    checks = manifest["checks"]
    assert checks["codec_tokens_equal"] == checks["style_tokens_equal"] == 1.0
    for figure in ("codec_round_trip_error", "style_text_error", "style_audio_error"):
        assert checks[figure] <= 1e-5
    assert manifest["versions"]["tensorflow"] == tf.__version__
    assert set(manifest["source"]) == set(layout.SAVED_MODELS)
    files = {path.name for path in conversion.folder.iterdir()} - {"manifest.json"}
    assert {name: layout.sha256(conversion.folder / name) for name in files} == manifest["files"]


def test_progress_goes_from_the_codec_to_done(conversion):
    stages = list(dict.fromkeys(stage for stage, _ in conversion.said))
    assert stages == ["codec", "style codebooks", "text", "music", "checks", "manifest", "done"]
    parts = [part for _, part in conversion.said]
    assert parts == sorted(parts) and parts[0] >= 0 and parts[-1] == 1.0


def test_a_wrong_conversion_does_not_pass_the_originals_test_data(source, conversion, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(conversion.folder, broken)
    path = broken / "codec.safetensors"
    tensors = {name: np.array(tensor) for name, tensor in safetensors_io.load(path).items()}
    tensors["decoder/decoder_3/conv2dtranspose_3x4/conv/kernel"] = tensors[
        "decoder/decoder_3/conv2dtranspose_3x4/conv/kernel"
    ][::-1]
    safetensors_io.save(path, tensors, {"config": CODEC.to_dict()}, overwrite=True)
    with pytest.raises(BadCheckpoint, match="codec_round_trip_error"):
        check.check(source, broken)


def test_without_test_data_there_is_nothing_to_check(conversion, tmp_path):
    assert check.check(tmp_path, conversion.folder) == {}
