"""Settings from four places, the nearest first, each told with its origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from darius.errors import InvalidOption
from serve.settings import Settings, gather


def test_a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "darius.toml"
    file.write_text('port = 1000\nhost = "0.0.0.0"\nmax_sessions = 3\ndevice = "cpu"\n')
    environ = {"PORT": "2000", "DARIUS_HOST": "::1", "MRT_SIZE": "base", "DARIUS_TEMPLATE": "yes", "DARIUS_API_KEY": ""}
    found = gather({"port": 3000, "model": None}, environ, file)
    settings = found.settings
    assert (settings.port, settings.host, settings.max_sessions, settings.size) == (3000, "::1", 3, "base")
    assert settings.template is True and settings.model == "tiny"
    wanted = {"port": "flag", "host": "environment DARIUS_HOST", "size": "environment MRT_SIZE", "model": "default"}
    assert wanted.items() <= found.origins.items() and found.origins["max_sessions"] == f"file {file}"


@pytest.mark.parametrize(
    ("environ", "named"),
    [({"PORT": "many"}, "PORT"), ({"DARIUS_TEMPLATE": "perhaps"}, "DARIUS_TEMPLATE"), ({"PORT": "70000"}, "port")],
)
def test_a_wrong_value_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidOption, match=named):
        gather({}, environ)


@pytest.mark.parametrize(("text", "named"), [("prot = 1", "prot"), ("port = [", "TOML"), ('port = "x"', "port")])
def test_a_wrong_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "darius.toml"
    file.write_text(text)
    with pytest.raises(InvalidOption, match=named):
        gather({}, {}, file)


def test_only_loopback_is_loopback() -> None:
    assert Settings(host="127.0.0.1").loopback and not Settings(host="0.0.0.0").loopback
