"""The original's golden outputs, through our checkpoint reader and engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from darius.depthformer import parity
from darius.depthformer.golden import Run
from darius.errors import BadCheckpoint

GOLDEN = Path(__file__).parents[1] / "golden" / "depthformer_test"


@pytest.fixture(scope="module")
def report() -> parity.Report:
    return parity.check_folder(GOLDEN)


def test_every_array_of_the_golden_folder_is_a_case_and_holds(report):
    failed = [case.to_dict() for case in report.cases if not case.ok]
    assert not failed
    assert report.ok
    with np.load(GOLDEN / "outputs.npz") as outputs:
        assert set(outputs) <= {case.name for case in report.cases}


def test_float32_is_held_to_the_strict_tolerances(report):
    cases = {case.name: case for case in report.cases}
    for name, case in cases.items():
        if name.startswith("f32/"):
            exact = "tokens" in name or "argmax" in name or "top40" in name
            assert case.tolerance == (0 if exact else 1e-4), name
    assert cases["bf16/tf_logits"].tolerance == 0.1


def test_a_report_is_plain_json(report):
    told = json.loads(json.dumps(report.to_dict()))
    assert told["ok"] is True
    assert set(told["cases"][0]) == {"name", "what", "measured", "tolerance", "ok"}


def test_a_deviation_or_an_unknown_array_fails_its_case():
    assert not parity.Case(name="x", what="", measured=2e-4, tolerance=1e-4).ok
    assert not parity.Case(name="x", what="", measured=float("nan"), tolerance=1e-4).ok
    assert not parity.Report(folder="", cases=()).ok
    run = object.__new__(Run)
    run._golden, run._tolerance = {"news": np.zeros(1)}, 1.0
    assert "cannot compare" in run.compare("news").what


def test_an_incomplete_folder_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"no file config\.json"):
        parity.check_folder(tmp_path)
    for name in ("inputs.npz", "outputs.npz"):
        shutil.copy(GOLDEN / name, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadCheckpoint, match="does not say codebook_size"):
        parity.check_folder(tmp_path)
