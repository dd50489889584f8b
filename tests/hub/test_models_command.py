"""`darius models` as a person runs it: a process of its own, a hub on loopback through HF_ENDPOINT."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from local_hub import LocalHub, Repo, serve

from darius.checkpoints import safetensors_io, t5x
from darius.checkpoints.t5x import Checkpoint

REPO = "musician/acid-finetune"
STEP = 1863001


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    params = {"encoder/encoder_norm/scale": np.random.default_rng(2).standard_normal(3000, np.float32)}
    return t5x.write(tmp_path / f"checkpoint_{STEP}", Checkpoint(step=STEP, params=params))


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[LocalHub]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(checkpoint, arcname=checkpoint.name)
    files = {f"checkpoint_{STEP}.tgz": buffer.getvalue(), "README.md": b"hello"}
    with serve(LocalHub(repos={REPO: Repo({"main": files})})) as running:
        yield running


def darius(
    tmp_path: Path, *arguments: str, hub: LocalHub | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DARIUS_CACHE": str(tmp_path / "cache"), **more}
    if hub is not None:
        environment["HF_ENDPOINT"] = hub.url
    command = [sys.executable, "-m", "darius_cli", "models", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_repository_is_pulled_through_a_broken_transfer_listed_and_removed(hub: LocalHub, tmp_path: Path) -> None:
    hub.cuts[f"checkpoint_{STEP}.tgz"] = [1000]
    pulled = darius(tmp_path, "pull", f"hf:{REPO}", hub=hub)
    assert pulled.returncode == 0, pulled.stderr
    assert f"step {STEP}" in pulled.stdout
    assert pulled.stderr == ""  # no progress bars where no person looks
    listed = json.loads(darius(tmp_path, "list", "--json").stdout)["models"]
    assert [(model["name"], model["here"]) for model in listed if model["kind"] == "hub"] == [(f"hf:{REPO}", True)]
    offline = darius(tmp_path, "pull", REPO, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0
    assert "Offline: using what was downloaded before." in offline.stderr
    assert darius(tmp_path, "rm", REPO).returncode == 0
    assert darius(tmp_path, "rm", REPO).returncode == 3


def test_show_tells_steps_without_fetching(hub: LocalHub, tmp_path: Path) -> None:
    shown = darius(tmp_path, "show", REPO, "--json", hub=hub)
    entry = json.loads(shown.stdout)
    assert (entry["steps"], entry["here"]) == ([STEP], False)
    assert hub.transfers(f"checkpoint_{STEP}.tgz") == []


def test_what_is_not_there_is_one_sentence_and_exit_code_3(hub: LocalHub, tmp_path: Path) -> None:
    missing = darius(tmp_path, "pull", "nobody/nothing", hub=hub)
    assert missing.returncode == 3
    assert "There is no repository nobody/nothing on the hub" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_the_list_for_a_pipe_is_plain_lines(tmp_path: Path) -> None:
    lines = darius(tmp_path, "list").stdout.splitlines()
    assert lines[0].split("\t")[:2] == ["model", "kind"]
    assert [line.split("\t")[0] for line in lines[1:4]] == ["tiny", "base", "large"]


def test_convert_goes_both_ways_bit_for_bit(checkpoint: Path, tmp_path: Path) -> None:
    file, back = tmp_path / "x.safetensors", tmp_path / "back"
    assert darius(tmp_path, "convert", str(checkpoint), str(file)).returncode == 0
    assert darius(tmp_path, "convert", str(checkpoint), str(file)).returncode == 2  # it is there already
    assert darius(tmp_path, "convert", str(file), str(back)).returncode == 0
    assert safetensors_io.metadata(file)["step"] == STEP
    before, after = t5x.read(checkpoint), t5x.read(back)
    assert {name: array.tobytes() for name, array in before.items()} == {n: a.tobytes() for n, a in after.items()}
