"""What the README and the guides show works as it stands there: each block is run by a shell or by Python.

What a block may expect is what its page says: a `loop.wav` (or `my_loops`) of one's own, Darius installed,
and, where it says `server`, one that listens on port 7860 (here on another port, which is put into the text).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import guides
import httpx
import numpy as np
import pytest
from known_loops import LOOPS
from serving import ROOT, START_SECONDS, Server, free_port, loop_bytes, running_server

if TYPE_CHECKING:
    from darius.model import Model

LOUDSPEAKER = """#!/bin/sh
for last; do :; done
if [ -f "$last" ]; then exec cat "$last" >heard; else exec cat >heard; fi
"""
"""Stands in for a sound card, which test machines lack: plays a file, or what comes in."""
RATE, FRAME_BYTES = 44_100, 8
"""Of what a loudspeaker gets: the loop's rate; two float32."""
PORT = re.compile(r"(localhost|127\.0\.0\.1|studio):7860")


def of_need(need: str, kind: str = "sh") -> list[Any]:
    """Blocks of one need. CI runs the README's program and quick commands; the rest takes minutes: -m acceptance."""
    return [
        pytest.param(block, id=str(block), marks=() if is_quick(block) else pytest.mark.acceptance)
        for block in guides.BLOCKS
        if (block.need, block.kind) == (need, kind)
    ]


def is_quick(block: guides.Block) -> bool:
    """Of the README, and without music to be made in a shell."""
    return block.page.name == "README.md" and not re.search(r"darius (generate|jam|serve)", block.text)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A musician's folder: `loop.wav`, 4 bars at 120 bpm, `my_loops`, and a loudspeaker, which writes what it hears."""
    (tmp_path / "loop.wav").write_bytes(loop_bytes())
    (tmp_path / "my_loops").mkdir()
    for name in ("arovane_beat_c", "loop_compus", "loop_garzul", "loop_mika"):
        shutil.copy(LOOPS[name], tmp_path / "my_loops")
    for player in ("aplay", "ffplay"):  # the first that `jam` and `generate --play` look for
        (tmp_path / player).write_text(LOUDSPEAKER)
        (tmp_path / player).chmod(0o755)
    return tmp_path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(output=tmp_path_factory.mktemp("server") / "log.txt") as running:
        yield running


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This one, with `darius` and the folder's loudspeaker as the shell's first choices."""
    return os.environ | {"PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"} | more


def shell(text: str, folder: Path) -> str:
    """What a block prints; it has to end well."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("block", of_need(""))
def test_a_block_for_any_machine_runs(block: guides.Block, desk: Path) -> None:
    shell(block.text, desk)
    if "generate loop.wav --bars 8" in block.text:
        assert (desk / "loop_darius_8bars_120bpm.wav").exists(), "the name that the page promises"


@pytest.mark.slow
@pytest.mark.parametrize("block", of_need("", "python"))
def test_a_program_runs(block: guides.Block, desk: Path) -> None:
    subprocess.run([sys.executable, "-c", block.text], cwd=desk, env=environment(desk), check=True, timeout=300)
    if "save" in block.text:
        assert (desk / "more.wav").stat().st_size > 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("block", of_need("server"))
def test_a_block_that_talks_to_a_server_runs(block: guides.Block, desk: Path, server: Server) -> None:
    for line in PORT.sub(f"127.0.0.1:{server.port}", block.text).splitlines():
        if "jam" in line and "--bars" not in line:
            play_a_little(line, desk)
        else:
            shell(line, desk)


def play_a_little(line: str, folder: Path) -> None:
    """An endless jam, ended from its keyboard once two seconds have been heard."""
    with subprocess.Popen(
        ["bash", "-c", line], cwd=folder, env=environment(folder),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        until, heard = time.monotonic() + START_SECONDS, folder / "heard"
        while process.poll() is None and time.monotonic() < until:
            if heard.exists() and heard.stat().st_size > 2 * RATE * FRAME_BYTES:
                break
            time.sleep(0.5)
        said = process.communicate("q\n", timeout=60)[0]
    assert process.returncode == 0, said
    samples = np.fromfile(heard, np.float32)
    assert samples.size > 2 * RATE * 2
    assert 0.01 < np.sqrt(np.mean(samples**2)) < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("block", of_need("server", "python"))
def test_a_program_that_talks_to_a_server_runs(block: guides.Block, desk: Path, server: Server) -> None:
    text = PORT.sub(f"127.0.0.1:{server.port}", block.text)
    with subprocess.Popen([sys.executable, "-c", text], cwd=desk, env=environment(desk)) as process:
        until = time.monotonic() + 120
        while not (desk / "001.wav").exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.2)
        process.kill()
    assert (desk / "000.wav").stat().st_size > 100_000
    assert (desk / "001.wav").exists()


@pytest.mark.slow
@pytest.mark.parametrize("block", of_need("serve"))
def test_a_server_starts_as_the_page_says(block: guides.Block, desk: Path) -> None:
    """`darius serve` in one window; the lines after it in another, while it listens."""
    first, *others = block.text.splitlines()
    port = free_port()
    with (desk / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {first}"], cwd=desk, env=environment(desk, DARIUS_PORT=str(port)),
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        wait_until_warm(port)
        for line in others:
            play_a_little(line.split("  #")[0], desk)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (desk / "log.txt").read_text()


def wait_until_warm(port: int) -> None:
    """Until a server on that port can play at once."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health").json().get("warmed"):
                return
        time.sleep(0.5)
    raise AssertionError(f"no server was ready on {port}")


@pytest.mark.acceptance  # the parity cases have tests of their own
@pytest.mark.parametrize("block", of_need("dev"))
def test_a_block_for_the_source_tree_runs(block: guides.Block) -> None:
    """Its `darius` lines; make, pytest and the linters are what runs this test."""
    for line in block.text.splitlines():
        if line.startswith("darius"):
            assert "hold" in shell(line, ROOT)


@pytest.mark.acceptance
@pytest.mark.parametrize("page", dict.fromkeys(block.page for block in guides.BLOCKS if block.need == "finetune"))
def test_the_walk_of_finetuning_runs(page: Path, desk: Path, tiny: Model) -> None:
    """A page's blocks one after the other, with `tiny` for `large` and two steps for 6,000; no server, no hub."""
    for block in guides.blocks(page):
        if block.need != "finetune":
            continue
        text = block.text.replace("--model large", "--model tiny --steps 2 --batch-size 2").replace("_large", "_tiny")
        text = re.sub(r"(darius prepare-data .*)", r"\1 --model tiny", text).replace("1863000", str(tiny.step + 2))
        shell("\n".join(line for line in text.splitlines() if not line.startswith(("pip ", "darius serve"))), desk)
    assert list((desk / "acid").rglob("checkpoint_*.tgz"))
