"""Everything that can be set about the server, and where each value came from: flag, environment, file or default.

Knows names and values; starts nothing.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darius.errors import InvalidOption
from darius.memory import read_limit

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def _setting(default: Any, *env: str, **limits: float) -> Any:
    """A field: its default, environment names (besides DARIUS_<NAME>) that set it, and least and most."""
    return dataclasses.field(default=default, metadata={"env": env, **limits})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How the server runs.

    Attributes:
      host, port: where it listens.
      model: name of the model, as `darius.load` takes it.
      size, repo, step, revision, assets_repo: the same in the parts of the original server's environment; they win
        over `model` where they are set. `step` "latest" or "none" or digits.
      device, dtype, offline: as `darius.load` takes them.
      max_sessions: jams at once; 0 for what the device is measured to carry.
      memory_limit: of the device, such as "6G"; "" for all of it. Larger batches than fit are not made.
      max_queue: one-shots that may wait; further ones are refused.
      max_upload_mb: largest request body, in MiB.
      max_audio_seconds: longest audio that is taken.
      max_music_seconds: longest music that one request may ask for.
      send_timeout: seconds after which a client that takes nothing of what is sent to it is gone.
      api_key: what clients must send; "" for no key.
      cors_origins: origins that browsers may call from, with commas; "*" for all, "" for none.
      model_root: folder that local models may be selected from; "" for none.
      allow_repo: Hugging Face repositories that may be selected, with commas; "" for all.
      template: says "template_mode": a demonstration that plays nothing.
      log_format: "json" for a JSON object a line, "text" for people.
      certfile, keyfile: for TLS.
    """

    host: str = _setting("127.0.0.1")
    port: int = _setting(7860, "PORT", least=0, most=65535)
    model: str = _setting("tiny")
    size: str = _setting("", "MRT_SIZE")
    repo: str = _setting("", "MRT_CKPT_REPO")
    step: str = _setting("", "MRT_CKPT_STEP")
    revision: str = _setting("", "MRT_CKPT_REV")
    assets_repo: str = _setting("", "MRT_ASSETS_REPO")
    device: str = _setting("auto")
    dtype: str = _setting("auto")
    offline: bool = _setting(False)
    max_sessions: int = _setting(0, least=0, most=4096)
    memory_limit: str = _setting("")
    max_queue: int = _setting(64, least=1, most=4096)
    max_upload_mb: int = _setting(64, least=1, most=1024)
    max_audio_seconds: float = _setting(600.0, least=1, most=3600)
    max_music_seconds: float = _setting(600.0, least=1, most=1200)
    send_timeout: float = _setting(30.0, least=1, most=600)
    api_key: str = _setting("")
    cors_origins: str = _setting("*")
    model_root: str = _setting("")
    allow_repo: str = _setting("")
    template: bool = _setting(False)
    log_format: str = _setting("text")
    certfile: str = _setting("")
    keyfile: str = _setting("")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            least, most = field.metadata.get("least"), field.metadata.get("most")
            value = getattr(self, field.name)
            if least is not None and not least <= value <= most:
                raise InvalidOption(f"{field.name} cannot be {value}.", f"Choose a value from {least:g} to {most:g}.")
        if self.memory_limit:
            read_limit(self.memory_limit)
        if self.log_format not in ("text", "json"):
            raise InvalidOption(f"log_format cannot be '{self.log_format}'.", "Choose text or json.")

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit in bytes; None without one."""
        return read_limit(self.memory_limit) if self.memory_limit else None

    @property
    def loopback(self) -> bool:
        """Only this machine can reach the server."""
        return self.host in ("127.0.0.1", "::1", "localhost")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gathered:
    """Settings, and for each the words that say where it came from ("flag", "environment PORT", "file x.toml",
    "default")."""

    settings: Settings
    origins: Mapping[str, str]


def gather(flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None) -> Gathered:
    """Settings from all sources: a flag wins over the environment, that over the file, that over the default.

    Args:
      flags: by field name; None for not given.
      file: TOML with the fields' names as keys.

    Raises:
      InvalidOption: a value is none of its kind or out of range, or the file cannot be used.
    """
    stated = _from_file(file) if file else {}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    kinds = typing.get_type_hints(Settings)
    for field in dataclasses.fields(Settings):
        name, kind = field.name, kinds[field.name]
        variable = next((n for n in (f"DARIUS_{name.upper()}", *field.metadata["env"]) if environ.get(n)), None)
        if flags.get(name) is not None:
            values[name], origins[name] = flags[name], "flag"
        elif variable:
            values[name], origins[name] = _cast(kind, environ[variable], variable), f"environment {variable}"
        elif name in stated:
            values[name], origins[name] = _cast(kind, stated[name], f"{name} in {file}"), f"file {file}"
        else:
            origins[name] = "default"
    return Gathered(settings=Settings(**values), origins=origins)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        stated = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidOption(f"The configuration {file} cannot be read: {error}.", "It has to be a TOML file.") from None
    unknown = stated.keys() - {field.name for field in dataclasses.fields(Settings)}
    if unknown:
        raise InvalidOption(f"{file} sets '{min(unknown)}', which is no setting.", "See: darius serve --help")
    return stated


def _cast(kind: type, value: Any, where: str) -> Any:
    text = str(value).strip()
    if kind is bool and text.lower() in (*TRUE, *FALSE):
        return text.lower() in TRUE
    try:
        if kind is not bool:
            return kind(text)
    except ValueError:
        pass
    raise InvalidOption(f"{where} cannot be '{value}'.", f"It has to be {_KINDS[kind]}.")


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
