"""What the clients' tests share: `tiny` with a folder of models to select from, and a server that is only a template.

`studio` is asked from its first moment on: a plugin connects to it while its model still loads, and presses Generate.
"""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from known_loops import LOOPS
from serving import Server, running_server

from clients.plugin import Plugin, Result
from darius.checkpoints import compact, safetensors_io, t5x
from darius.depthformer.config import DepthformerConfig
from darius.hub.resolving import embedded_folder

FINETUNE = "thepatch/magenta-ft"
"""As plugin and app call theirs; here it is a folder."""
STEPS = (1861001, 1863001)
FRESH_TEMPO = 300.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Early:
    """What a plugin met that came before the model."""

    label: str
    result: Result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Studio:
    """A server with `tiny`, two places, and models to select."""

    server: Server
    early: Early

    @property
    def url(self) -> str:
        return self.server.url


@pytest.fixture(scope="session")
def studio(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """Leave no jam behind, and the stock model in force."""
    root = tmp_path_factory.mktemp("studio")
    write_finetune(root / "models" / FINETUNE)
    flags = ("--max-sessions", "2", "--model-root", str(root / "models"))
    unreachable = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    with running_server(*flags, output=root / "log.txt", env=unreachable, ready=None) as server:
        plugin, met = Plugin(server.url, tempo=FRESH_TEMPO), []

        def come_early() -> None:
            plugin.check_connection()
            label = plugin.label
            met.append(Early(label=label, result=plugin.generate(*recording(), bars=4)))

        guest = threading.Thread(target=come_early)
        guest.start()
        server.wait_for("/health", "warmed", True)
        guest.join()
        yield Studio(server=server, early=met[0])


@pytest.fixture(scope="session")
def template(own_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that plays nothing and says so."""
    output = tmp_path_factory.mktemp("template") / "log.txt"
    with running_server("--template", output=output, ready=None) as server:
        yield server


def write_finetune(folder: Path) -> None:
    """A finetune as people publish them: two steps of `tiny` itself, a mean and seven centroids; and a damaged one."""
    params = compact.unpack(
        DepthformerConfig.tiny(), safetensors_io.load(embedded_folder() / "depthformer.safetensors")
    )
    first, second = (folder / f"checkpoint_{step}" for step in STEPS)
    t5x.write(first, t5x.Checkpoint(step=STEPS[0], params=params))
    shutil.copytree(first, second)
    broken = folder.parent / "damaged" / "checkpoint_5"
    shutil.copytree(first, broken)
    for array in list(broken.rglob("0.0"))[:3]:
        array.write_bytes(array.read_bytes()[: array.stat().st_size // 2])
    rng = np.random.default_rng(1)
    np.save(folder / "mean_style_embed.npy", rng.normal(size=768).astype(np.float32))
    np.save(folder / "cluster_centroids.npy", rng.normal(size=(7, 768)).astype(np.float32))


def recording(name: str = "loop_garzul", seconds: float = 9.0) -> tuple[np.ndarray, int]:
    """A real loop that went round for so long: samples float32 [n, 2], rate."""
    samples, rate = soundfile.read(LOOPS[name], dtype="float32", always_2d=True)
    return np.take(samples, np.arange(round(seconds * rate)), axis=0, mode="wrap"), rate
