"""The grammar of model names. A pure function: nothing is looked up, on disk or on the network.

tiny                                the model inside the package
base | large                        the stock Magenta RealTime v1 models
mrt2-small | mrt2-base              the stock Magenta RealTime 2 models
./checkpoint_1863001[#step]         a folder (of a checkpoint, or of several), an archive or a .safetensors file
[hf:]user/repo[@revision][#step]    a Hugging Face repository
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from darius.errors import InvalidOption
from darius.hub import mrt2

Kind = Literal["embedded", "stock", "mrt2", "path", "hub"]

EMBEDDED = "tiny"
STOCK = ("base", "large")
FILE_SUFFIXES = (".tgz", ".tar.gz", ".tar", ".safetensors")

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB = re.compile(
    rf"(?P<repo>(?![^@#]*(?:--|\.\.)){_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]*))?(?:#(?P<step>[0-9]{{1,12}}))?"
)
_PATH_STEP = re.compile(r"(?P<path>.+)#(?P<step>[0-9]{1,12})", re.DOTALL)
_GRAMMAR = (
    "A model is tiny, base, large, mrt2-small, mrt2-base, a folder, an archive, "
    "or hf:user/repo with @revision or #step if you like."
)


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A model's name taken apart.

    Attributes:
      kind: where to look. A "hub" name without "hf:" may also be a path that is there: `explicit` is False then.
      text: what the user wrote.
      repo, revision: of a "hub" name; the revision None means the repository's main branch.
      path: of a "path" name, as written.
      step: the training step asked for; None means the newest.
    """

    kind: Kind
    text: str
    repo: str | None = None
    revision: str | None = None
    path: Path | None = None
    step: int | None = None
    explicit: bool = True

    def __str__(self) -> str:
        step = f"#{self.step}" if self.step is not None else ""
        if self.kind == "hub":
            revision = f"@{self.revision}" if self.revision else ""
            return f"hf:{self.repo}{revision}{step}"
        return f"{self.path}{step}" if self.kind == "path" else self.text


def parse(name: str) -> ModelRef:
    """Takes a model's name apart.

    Raises:
      InvalidOption: empty, or "hf:" with something behind it that cannot be a repository.
    """
    text = name.strip()
    if not text or "\0" in text:
        raise InvalidOption("The model's name is empty or not text.", _GRAMMAR)
    if text == EMBEDDED:
        return ModelRef(kind="embedded", text=text)
    if text in STOCK:
        return ModelRef(kind="stock", text=text)
    if text in mrt2.NAMES:
        return ModelRef(kind="mrt2", text=text)
    if text.startswith("hf:"):
        match = _HUB.fullmatch(text.removeprefix("hf:"))
        if match is None:
            raise InvalidOption(f"{name!r} is not the name of a Hugging Face repository.", _GRAMMAR)
        return _hub_ref(text, match, explicit=True)
    match = None if _looks_like_path(text) else _HUB.fullmatch(text)
    return _hub_ref(text, match, explicit=False) if match else _path_ref(text)


def _looks_like_path(text: str) -> bool:
    plain = text.partition("#")[0].lower()
    return text.startswith((".", "~", "/")) or "\\" in text or plain.endswith(("/", *FILE_SUFFIXES))


def _hub_ref(text: str, match: re.Match[str], *, explicit: bool) -> ModelRef:
    step = match["step"]
    return ModelRef(
        kind="hub",
        text=text,
        repo=match["repo"],
        revision=match["revision"],
        step=int(step) if step else None,
        explicit=explicit,
    )


def _path_ref(text: str) -> ModelRef:
    match = _PATH_STEP.fullmatch(text)
    path, step = (match["path"], int(match["step"])) if match else (text, None)
    return ModelRef(kind="path", text=text, path=Path(path), step=step)
