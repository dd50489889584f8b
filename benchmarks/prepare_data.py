"""Speed and memory of the real `darius prepare-data` on generated music, watched from outside while it runs.

python -m benchmarks.prepare_data --hours 1 --model random:base [--device auto] [--limit 60]
Past the limit it is stopped, and what it had done by then is told. Reads /proc, so it needs Linux.
"""

# ruff: noqa: T201 (a script that prints)

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE, SONG_SECONDS = 44_100, 300
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
MOMENTS = 8
"""At so many moments memory is shown."""


def song(path: Path, seed: int, seconds: int) -> None:
    """A bar of tones and noise bursts again and again, under a little noise; stereo FLAC."""
    rng = np.random.default_rng(seed)
    beat = int(RATE * 60 / rng.integers(80, 170))
    bar = np.zeros((16 * beat, 2), np.float32)
    for start in range(0, len(bar), beat):
        time_ = np.arange(len(bar) - start) / RATE
        tone = np.sin(2 * np.pi * 55 * 2 ** (rng.integers(0, 36) / 12) * time_)
        sound = (tone + 0.3 * rng.standard_normal(len(time_))) * np.exp(-8 * time_)
        pan = rng.random()
        bar[start:] += np.stack([sound * pan, sound * (1 - pan)], 1)
    bar *= 0.3 / np.abs(bar).max()
    whole = np.resize(bar, (seconds * RATE, 2)) + 0.01 * rng.standard_normal((seconds * RATE, 2), np.float32)
    soundfile.write(path, whole, RATE)


def generate(folder: Path, hours: float) -> float:
    """Songs of that many hours; the seconds that it took."""
    began = time.perf_counter()
    folder.mkdir(parents=True)
    count = max(1, round(hours * 3600 / SONG_SECONDS))
    seconds = round(hours * 3600 / count)
    with ProcessPoolExecutor() as pool:
        for made in [pool.submit(song, folder / f"{i}.flac", i, seconds) for i in range(count)]:
            made.result()
    return time.perf_counter() - began


def processes(root: int) -> Iterator[tuple[int, float, float]]:
    """A process and those it began: (id, resident MiB, CPU seconds)."""
    parents: dict[int, list[int]] = {}
    facts: dict[int, tuple[float, float]] = {}
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            number = int(place.name)
            parents.setdefault(int(fields[1]), []).append(number)
            facts[number] = (int(fields[21]) * PAGE / 2**20, (int(fields[11]) + int(fields[12])) / TICKS)
    waiting = [root]
    while waiting:
        number = waiting.pop()
        if number in facts:
            yield number, *facts[number]
        waiting += parents.get(number, [])


def device_memory() -> float:
    """MiB in use on the first visible NVIDIA card; 0 where there is none."""
    which = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    if not which or not shutil.which("nvidia-smi"):
        return 0.0
    asked = ("nvidia-smi", f"--id={which}", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return float(told) if told.replace(".", "").isdigit() else 0.0


def noted(journal: Path, at: int) -> tuple[list[float], int]:
    """The seconds of the clips that were noted behind that place of the journal; the new place."""
    try:
        data = journal.read_bytes()[at:]
    except OSError:  # not there yet, or not any more
        return [], at
    whole = data[: data.rfind(b"\n") + 1]
    lines = (json.loads(line) for line in whole.splitlines())
    return [float(line["facts"]["seconds"]) for line in lines if "clip" in line], at + len(whole)


def watch(process: subprocess.Popen[str], journal: Path, limit: float) -> dict[str, Any]:
    """What a run does until it ends or its time is over."""
    began, place, heard = time.perf_counter(), 0, 0.0
    steps: list[tuple[float, float]] = []
    memory: list[tuple[float, int, int, int]] = []
    cpu: dict[int, float] = {}
    while process.poll() is None and time.perf_counter() - began < limit:
        time.sleep(0.1)
        now = time.perf_counter() - began
        new, place = noted(journal, place)
        if new:
            heard += sum(new)
            steps.append((now, heard))
        if not memory or now - memory[-1][0] > 1:
            tree = {number: (size, used) for number, size, used in processes(process.pid)}
            cpu |= {number: used for number, (_, used) in tree.items()}
            own = tree.get(process.pid, (0.0, 0.0))[0]
            children = sum(size for size, _ in tree.values()) - own
            memory.append((round(now, 1), round(own), round(children), round(device_memory())))
    took = time.perf_counter() - began
    finished = process.poll() is not None
    facts: dict[str, Any] = {"finished": finished, "took_s": round(took, 1), "audio_h": round(heard / 3600, 3)}
    if len(steps) > 1:
        (first, before), (last, all_of_it) = steps[0], steps[-1]
        speed = (all_of_it - before) / (last - first)
        facts |= {
            "first_batch_s": round(first, 1),
            "warm_real_time": round(speed),
            "warm_hours_per_minute": round(speed / 60, 2),
            "whole_real_time": round(all_of_it / took),
        }
    main = cpu.pop(process.pid, 0.0)
    facts["cpu_s"] = {"main": round(main, 1), "workers": round(sum(cpu.values()), 1)}
    shown = memory[:: max(1, len(memory) // MOMENTS)]
    facts["memory_MiB"] = {"columns": ["second", "main", "workers", "device"], "rows": shown}
    return facts


def main() -> None:
    args = arguments()
    folder = Path(args.folder or tempfile.mkdtemp(prefix="prepare-data-"))
    audio, output = folder / f"audio-{args.hours:g}h", folder / "dataset"
    made = 0.0 if audio.exists() else generate(audio, args.hours)
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "darius_cli", "prepare-data", str(audio), "--output-dir", str(output)]
    command += ["--task-name", "bench", "--model", args.model, "--device", args.device, "--json"]
    command += ["--workers", str(args.workers)] if args.workers else []
    command += ["--batch-size", str(args.batch_size)] if args.batch_size else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    facts = watch(process, output / ".prepare" / "journal.jsonl", args.limit)
    if not facts["finished"]:
        process.send_signal(signal.SIGKILL)
    told, errors = process.communicate()
    if process.returncode:
        facts["stderr"] = errors[-1500:]
    else:
        facts["examples"] = json.loads(told)["examples"]
    print(json.dumps(vars(args) | {"cores": os.cpu_count(), "generate_s": round(made, 1)} | facts))
    if not args.folder:
        shutil.rmtree(folder)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--model", default="random:base")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=0, help="0 for prepare-data's own choice")
    parser.add_argument("--batch-size", type=int, default=0, help="0 for prepare-data's own choice")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which it is stopped")
    parser.add_argument("--folder", default="", help="keep audio and dataset here, and use audio that is here again")
    return parser.parse_args()


if __name__ == "__main__":
    main()
