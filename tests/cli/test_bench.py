"""`darius bench`: a table for people, one JSON line last."""

import json

from typer.testing import CliRunner

from darius_cli.main import app


def test_the_last_line_is_json_and_adds_up() -> None:
    result = CliRunner().invoke(app, ["bench", "--model", "tiny", "--random", "--batch", "1,2", "--chunks", "2"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output.splitlines()[-1])
    assert [row["batch"] for row in told["results"]] == [1, 2]
    for row in told["results"]:
        assert 0 < row["p50"] <= row["p95"]
        assert abs(row["real_time_factor"] - row["batch"] * 2.0 / row["p50"]) < 1e-6


def test_a_wrong_batch_is_refused() -> None:
    assert CliRunner().invoke(app, ["bench", "--batch", "one"]).exit_code == 2
