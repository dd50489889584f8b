"""From a folder of loops to playing: prepare-data, train, package-ckpt, generate and a real server, all on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from known_loops import LOOPS
from serving import heard, loop_bytes, running_server
from typer.testing import CliRunner

import darius
from darius.checkpoints import convert
from darius.depthformer import network
from darius.depthformer.config import DepthformerConfig
from darius.style import steering
from darius.tokens import TokenLayout
from darius_cli.main import app
from finetune import manifest, origin, records, windows

LAYOUT = TokenLayout()
STEPS, RATE = 24, 5e-3
"""Few steps on little music: the original's rate, 1.5e-2 at tiny's step, would learn these clips by heart."""


def run(*arguments: str) -> dict[str, Any]:
    """A command's JSON."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return told


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory, own_cache: Path) -> Path:
    """A dataset's folder after training: made of the first halves of three real loops, the second halves held out."""
    place = tmp_path_factory.mktemp("finetuned")
    for name in ("loop_garzul", "loop_mika", "loop_tabla"):
        loop, rate = soundfile.read(LOOPS[name])
        for half, part in zip(("heard", "held_out"), np.array_split(loop, 2), strict=True):
            (place / half).mkdir(exist_ok=True)
            soundfile.write(place / half / f"{name}.flac", np.resize(part, (13 * rate, 2)), rate)
    common = ("--model", "tiny", "--device", "cpu", "--num-clusters", "2")
    run("prepare-data", str(place / "heard"), "--output-dir", str(place / "out"), "--task-name", "loops", *common)
    run("prepare-data", str(place / "held_out"), "--output-dir", str(place / "other"), "--task-name", "loops", *common)
    train = ("train", "--output-dir", str(place / "out"), "--model", "tiny", "--device", "cpu", "--batch-size", "3")
    run(
        *train,
        "--steps",
        str(STEPS),
        "--learning-rate",
        str(RATE),
        "--save-every",
        "0",
        "--sample-every",
        "0",
        "--eval-every",
        "0",
    )
    run("package-ckpt", str(place / "out"))
    return place / "out"


def mean_loss(params: dict[str, Any], dataset: Path) -> float:
    """Cross-entropy in nats a code, each level among its own codes, at the ends of a dataset's clips."""
    config = DepthformerConfig.tiny()
    examples = records.read_examples(manifest.load(dataset).examples_file(dataset))
    cut = [windows.last_window(example, LAYOUT) for example in examples]
    inputs, targets = (np.stack(part) for part in zip(*cut, strict=True))
    before = np.pad(targets[:, :-1], ((0, 0), (1, 0)))
    found = network.logits(config, params, inputs, before, dtype=jnp.float32, legal_only=True)
    codes = LAYOUT.codes_from_ids(targets.reshape(len(targets), -1, LAYOUT.codec_levels)).reshape(targets.shape)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(found, axis=-1), codes[..., None], axis=-1)
    return -float(chosen.mean())


def test_loss_falls_by_a_third_and_unheard_music_of_the_same_style_grows_likelier(finetuned: Path) -> None:
    base = origin.load("tiny").params
    (archive,) = finetuned.glob("runs/*/archives/*.tgz")
    tuned = convert.load(archive, cache_dir=finetuned / "cache").params
    heard_before, heard_after = (mean_loss(params, finetuned) for params in (base, tuned))
    other_before, other_after = (mean_loss(params, finetuned.parent / "other") for params in (base, tuned))
    assert heard_after < heard_before * 2 / 3
    assert other_after < other_before


def test_every_artefact_plays_at_once_with_its_styles_beside_it(finetuned: Path, loop: Path, tmp_path: Path) -> None:
    (folder,) = finetuned.glob("runs/*")
    (checkpoint,) = folder.glob("checkpoint_*")
    (archive,) = folder.glob("archives/*.tgz")
    own = steering.load(finetuned)
    for place in (finetuned, folder, checkpoint, archive):
        model = darius.load(str(place), device="cpu")
        assert model.step == int(checkpoint.name.partition("_")[2])
        assert model.assets.mean is not None and own.mean is not None
        np.testing.assert_array_equal(model.assets.mean, own.mean)
        assert model.assets.centroid_count == 2
    target = tmp_path / "continued.wav"
    told = run(
        *("generate", str(loop), "--bars", "1", "--seed", "3", "--out", str(target), "--device", "cpu"),
        *("--model", str(archive), "--mean", "0.5", "--centroid", "1.0"),
    )
    assert soundfile.info(target).frames == told["samples"] == 2 * 44_100  # one bar at 120 bpm


def test_the_server_plays_the_run(finetuned: Path, tmp_path: Path) -> None:
    (folder,) = finetuned.glob("runs/*")
    settings = {"DARIUS_MODEL": str(folder)}
    with running_server(output=tmp_path / "log.txt", env=settings) as server:
        fields = {"bpm": "240", "bars": "1", "loudness_mode": "none", "mean": "1.0", "centroid_weights": "0.5,0.5"}
        reply = server.post("/generate", data=fields, files={"loop_audio": ("a.wav", loop_bytes(), "audio/wav")})
        assert reply.status_code == 200, reply.text[:500]
        assert len(heard(reply.json()["audio_base64"])) == 44_100
