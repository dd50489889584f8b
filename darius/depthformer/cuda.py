"""CUDA C++ inside a JAX program: compiled by NVRTC when it is first needed, launched by XLA. Knows no network.

NVRTC comes with JAX's CUDA packages. Whoever calls this asks `available` first and has another way.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from darius.errors import DariusError

_TARGET = "__gpu$xla.gpu.ptx"


class CompileFailed(DariusError):
    """NVRTC is missing, or refuses a kernel."""


@functools.cache
def ptx(source: str, options: tuple[str, ...]) -> str:
    """PTX of CUDA C++ source.

    Args:
      options: NVRTC's, such as "--gpu-architecture=compute_90".

    Raises:
      CompileFailed: there is no NVRTC, or it does not take the source.
    """
    library = _nvrtc()
    program = ctypes.c_void_p()
    _check(library, library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None))
    try:
        flags = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        if library.nvrtcCompileProgram(program, len(options), flags):
            raise CompileFailed(f"A CUDA kernel does not compile: {_text(library, program, 'ProgramLog')[:2000]}")
        return _text(library, program, "PTX")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def call(
    kernel: str,
    code: str,
    operands: Sequence[Any],
    results: Sequence[jax.ShapeDtypeStruct],
    *,
    grid: int,
    block: int,
    shared_bytes: int = 0,
    aliases: dict[int, int] | None = None,
) -> list[jax.Array]:
    """Launches a kernel within a traced function; it gets the operands' and then the results' addresses.

    Args:
      kernel: its name in the PTX.
      aliases: operand -> result that is the same memory.
    """
    launch = jax.ffi.ffi_call(_TARGET, tuple(results), input_output_aliases=aliases)
    size = {"grid_x": grid, "grid_y": 1, "grid_z": 1, "block_x": block, "block_y": 1, "block_z": 1}
    attributes = {name: np.int32(value) for name, value in {**size, "shared_mem_bytes": shared_bytes}.items()}
    return list(launch(*operands, name=kernel, kernel_type="ptx", kernel_data=code, **attributes))


def architecture(device: jax.Device) -> str | None:
    """The compute capability of a CUDA device as NVRTC calls it, such as "90"; None for other devices."""
    capability = getattr(device, "compute_capability", None)
    if device.platform != "gpu" or capability is None or "NVIDIA" not in str(device.device_kind):
        return None
    return str(capability).replace(".", "")


@functools.cache
def available() -> bool:
    """NVRTC can be loaded."""
    try:
        _nvrtc()
    except CompileFailed:
        return False
    return True


_TRIAL = 'extern "C" __global__ void trial(int* out) { *out = 7; }'


@functools.cache
def works(device: jax.Device) -> bool:
    """A kernel can be compiled here and runs on the device, whose driver may be too old for it."""
    capability = architecture(device)
    if capability is None:
        return False
    result = [jax.ShapeDtypeStruct((1,), np.int32)]
    try:
        code = ptx(_TRIAL, (f"--gpu-architecture=compute_{capability}",))
        with jax.default_device(device):
            made = jax.jit(lambda: call("trial", code, [], result, grid=1, block=1)[0])()
            return int(made[0]) == 7
    except (CompileFailed, jax.errors.JaxRuntimeError):
        return False


@functools.cache
def _nvrtc() -> Any:
    for path in _candidates():
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise CompileFailed("NVRTC is not installed.", "It comes with: pip install 'darius[cuda]'")


def _candidates() -> list[str]:
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    packaged = [str(file) for folder in folders for file in sorted(folder.glob("*/lib/libnvrtc.so.*"), reverse=True)]
    named = ctypes.util.find_library("nvrtc")
    return [*packaged, *([named] if named else []), "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]


def _text(library: Any, program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, f"nvrtcGet{what}")(program, text))
    return text.value.decode(errors="replace")


def _check(library: Any, status: int) -> None:
    if status:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise CompileFailed(f"NVRTC failed: {library.nvrtcGetErrorString(status).decode()}.")
