"""Which device computes, in which number type, and where compiled programs are kept.

Knows JAX's devices; knows no model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from darius.errors import InvalidOption, NoDevice, OutOfMemory

DEVICE_NAMES = ("auto", "cpu", "gpu", "tpu")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceReport:
    """One device as people see it: its kind, name, and memory in bytes (None when it does not say)."""

    kind: str
    index: int
    name: str
    memory: int | None


def find_device(name: str = "auto") -> Any:
    """The JAX device for "auto" (the best there is), "cpu", "gpu", "tpu", or one of several: "gpu:1".

    Raises:
      InvalidOption: the name is none of these.
      NoDevice: this machine, or this installation of JAX, has no such device.
    """
    kind, _, index_text = name.lower().partition(":")
    kind = "gpu" if kind == "cuda" else kind
    if kind not in DEVICE_NAMES or (index_text and not index_text.isdigit()):
        raise InvalidOption(f"There is no device called '{name}'.", "Use auto, cpu, gpu, tpu, or gpu:1 for the second.")
    import jax

    logging.getLogger(_PLUGINS).addFilter(_one_line)
    try:
        devices = jax.devices() if kind == "auto" else jax.devices(kind)
    except RuntimeError as error:
        raise NoDevice(
            f"No {kind.upper()} can be used here.",
            "Use --device cpu, or install JAX for NVIDIA cards: pip install 'darius[cuda]'. See: darius doctor",
        ) from error
    index = int(index_text or 0)
    if index >= len(devices):
        raise NoDevice(f"There is no {kind}:{index}; this machine has {len(devices)}.", "See: darius doctor")
    return devices[index]


_PLUGINS = "jax._src.xla_bridge"
"""Who in JAX says that its part for some accelerator cannot begin, as where there is no such card."""


def _one_line(record: logging.LogRecord) -> bool:
    """Its reason in the same line, instead of the stack of an error that nobody made."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg = f"{record.getMessage()}: {' '.join(str(record.exc_info[1]).split())}"
        record.args = record.exc_info = record.exc_text = None
    return True


def list_devices() -> list[DeviceReport]:
    """Every device that JAX can use here."""
    import jax

    logging.getLogger(_PLUGINS).addFilter(_one_line)
    reports = []
    for device in jax.devices():
        reports.append(
            DeviceReport(
                kind=device.platform,
                index=device.id,
                name=cpu_name() if device.platform == "cpu" else device.device_kind,
                memory=_device_memory(device),
            )
        )
    return reports


def cpu_name() -> str:
    """The processor's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {usable_cores()} cores"


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def host_memory() -> int | None:
    """Memory of this machine in bytes, None where the system does not tell."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _device_memory(device: Any) -> int | None:
    if device.platform == "cpu":
        return host_memory()
    stats = device.memory_stats() or {}
    limit = stats.get("bytes_limit")
    return int(limit) if limit is not None else None


def keep_compiled_programs(directory: Path) -> None:
    """Lets JAX keep compiled programs on disk, so that the second start is quick.

    A process-wide setting of JAX's own; a directory that the user has set for JAX already is left alone.
    """
    import jax

    if jax.config.values.get("jax_compilation_cache_dir") is None:
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@contextlib.contextmanager
def memory_errors(
    doing: str, hint: str = "Use a smaller model, fewer variations, or --device cpu. What fits here: darius doctor"
) -> Iterator[None]:
    """Turns a device's out-of-memory failure while `doing` something into a sentence with a way out."""
    import jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "out of memory" not in str(error).lower():
            raise
        raise OutOfMemory(
            f"The device ran out of memory while {doing}.",
            hint,
        ) from error
    except MemoryError as error:
        raise OutOfMemory(
            f"This machine ran out of memory while {doing}.", "Use a smaller model or fewer variations."
        ) from error
