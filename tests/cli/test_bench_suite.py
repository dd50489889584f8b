"""`darius bench --suite`: every measurement as soon as it is there, all of them in the last line."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from darius import suite
from darius_cli.main import app

SMALL = suite.Suite(model="random:tiny", counts=(2,), chunks=2, others=1, crowd=(2, 2.0), budget=60.0)


def run(*options: str) -> list[dict]:
    result = CliRunner().invoke(app, ["bench", "--suite", "cpu", "--json", *options])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.acceptance
def test_streams_and_a_crowd_are_told_as_they_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(suite.SUITES, "cpu", SMALL)
    *told, whole = run("--stages", "streams,crowd")
    speeds = [line for line in told if "p50" in line and line["stage"] == "streams"]
    assert [speed["batch"] for speed in speeds] == [2]
    assert all(0 < speed["p50"] <= speed["p95"] and speed["derived_bytes"] > 0 for speed in speeds)
    crowd = [line for line in told if "late" in line][-1]
    assert crowd["streams"] == 2 and crowd["chunks"] >= 2 and 0 < crowd["p50"] <= crowd["p99"]
    assert whole["suite"] == "cpu" and whole["model"] == "random:tiny"
    without_stage = [{key: value for key, value in line.items() if key != "stage"} for line in told]
    assert [line for stage in ("load", "streams", "crowd") for line in whole[stage]] == without_stage


def test_a_count_for_which_no_time_is_left_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(suite.SUITES, "cpu", dataclasses.replace(SMALL, counts=(2, 2)))
    told = run("--stages", "streams", "--budget", "0.001")[-1]["streams"]
    assert told[0]["chunks"] == 1 and told[1] == {"batch": 2, "skipped": "no time left"}


@pytest.mark.acceptance
def test_cold_start_is_slower_without_compiled_programs() -> None:
    empty, warm = (line for line in run("--stages", "cold", "--budget", "300") if "cache" in line)
    assert (empty["cache"], warm["cache"]) == ("empty", "warm")
    for steps in (empty, warm):
        assert 0 < steps["python"] < steps["device"] < steps["checkpoint"] < steps["loaded"] < steps["first_chunk"]
    assert warm["first_chunk"] < empty["first_chunk"]


@pytest.mark.parametrize("options", [["--suite", "abacus"], ["--suite", "cpu", "--stages", "warp"]])
def test_what_there_is_not_is_refused(options: list[str]) -> None:
    refused = CliRunner().invoke(app, ["bench", *options])
    assert refused.exit_code == 2 and "There is no" in refused.output
