"""What a musician types while a jam plays, as a change. Pure: knows no jam and no terminal."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from darius.errors import InvalidOption
from darius.style.mix import WeightedText, parse_list

HELP = """\
  acid house, dub:0.5     words to lean towards, with weights
  loop 0.4                how much the loop's own style counts
  temperature 1.3  (t)    how adventurous
  topk 20          (k)    codes to choose among at each step; 0 for all
  guidance 2       (g)    how strictly the style is followed
  reseed [FILE]           go on from the loop again, or from another one
  quit             (q)    end"""

_NUMBERS: dict[str, Literal["loop_weight", "temperature", "top_k", "guidance"]] = {
    "loop": "loop_weight",
    "temperature": "temperature",
    "t": "temperature",
    "topk": "top_k",
    "k": "top_k",
    "guidance": "guidance",
    "g": "guidance",
}
RANGES = {"loop_weight": (0.0, 10.0), "temperature": (0.0, 10.0), "top_k": (0, 1024), "guidance": (0.0, 10.0)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """What is to be different from now on; None stays as it is."""

    styles: tuple[WeightedText, ...] | None = None
    loop_weight: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    guidance: float | None = None


@dataclasses.dataclass(frozen=True)
class Reseed:
    """Go on from a loop: another one, or (None) the one that the jam began with."""

    loop: Path | None = None


Word = Literal["help", "quit"]


def understand(line: str) -> Change | Reseed | Word | None:
    """What one line means; None for an empty one. A line that is no command is a list of styles.

    Raises:
      InvalidOption: a value is missing, none of its kind or out of range, or a weight is.
    """
    words = line.split()
    if not words:
        return None
    first, rest = words[0].lower(), line.strip()[len(words[0]) :].strip()
    if first in ("?", "help", "h") and not rest:
        return "help"
    if first in ("quit", "q", "exit", "stop") and not rest:
        return "quit"
    if first == "reseed":
        return Reseed(Path(rest).expanduser() if rest else None)
    if first in _NUMBERS and (len(words) == 1 or _is_number(rest)):
        return _number(first, rest)
    return Change(styles=parse_list(rest if first == "style" and rest else line))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(command: str, text: str) -> Change:
    name = _NUMBERS[command]
    least, most = RANGES[name]
    value = float(text) if text else float("nan")
    if not least <= value <= most or (name == "top_k" and not value.is_integer()):
        kind = "a whole number" if name == "top_k" else "a number"
        raise InvalidOption(
            f"{command} needs {kind} from {least:g} to {most:g}.", f"For example: {command} {min(most, 1):g}"
        )
    if name == "top_k":
        return Change(top_k=int(value))
    if name == "loop_weight":
        return Change(loop_weight=value)
    return Change(temperature=value) if name == "temperature" else Change(guidance=value)
