"""`darius doctor`: the truth about this machine, and parity with the original."""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import pytest
from known_loops import ROOT
from typer.testing import CliRunner

from darius.devices import find_device, memory_errors
from darius.errors import NoDevice, OutOfMemory
from darius_cli.main import app


def test_it_names_devices_models_and_a_verdict() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert report["devices"] and report["verdict"]
    verdicts = {model["name"]: model for model in report["models"]}
    assert verdicts["tiny"]["verdict"] == "ready"
    assert verdicts["tiny"]["needs"] < verdicts["base"]["needs"] < verdicts["large"]["needs"]
    assert verdicts["mrt2-small"]["needs"] < verdicts["mrt2-base"]["needs"]
    assert "darius models pull mrt2-small" in verdicts["mrt2-small"]["verdict"]


def test_people_read_the_same() -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "tiny" in result.output and "ready" in result.output


def test_every_golden_case_holds() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json", "--parity", str(ROOT / "tests/golden/depthformer_test")])
    report = json.loads(result.stdout)
    assert result.exit_code == 0, report
    assert report["ok"] and len(report["cases"]) >= 10
    assert all(case["ok"] for case in report["cases"])


def test_a_folder_without_golden_data_is_a_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--parity", str(tmp_path)])
    assert result.exit_code not in (0, None)
    assert "Traceback" not in result.output and result.output.strip()


def test_memory_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(OutOfMemory, match="dreaming"), memory_errors("dreaming"):
        jnp.zeros((1 << 45,)).block_until_ready()


def test_a_device_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(NoDevice, match="GPU"):
        find_device("gpu:99")
