"""CUDA kernels as libraries for the CPU: their own source, run thread by thread. Knows how to build, and no kernel."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

import darius.depthformer

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


def build(folder: Path, emulator: str, constants: Mapping[str, int | str], *flags: str) -> ctypes.CDLL:
    """The library of one of the emulate_*.cpp here, its constants defined; made in `folder`."""
    here, kernels = Path(__file__).parent, Path(darius.depthformer.__file__).parent
    library = folder / "kernel.so"
    command = ["g++", "-std=c++20", "-O1", "-shared", "-fPIC", "-w", f"-I{here}", f"-I{kernels}", *flags]
    command += [*(f"-D{name}={value}" for name, value in constants.items()), str(here / emulator), "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return ctypes.CDLL(str(library))
