"""What a Magenta RealTime 2 needs of a device, without the package that has its networks. An estimate, told as one.

Parameters are those of the package's sizes (codec: `darius.codec.weights.shapes`); a stream's state and the room for
computing were read off an H100 and a CPU, rounded up.
"""

from __future__ import annotations

from darius.errors import InvalidOption

LANGUAGE_MODEL = {"mrt2-small": 229_700_000, "mrt2-base": 2_406_700_000}
CODEC = 61_700_000
STATE = 16 << 20
"""Bytes of a stream: keys and values of the past, the codec's own past."""
ROOM = 512 << 20
GPU_ROWS = 16
"""Rows that a GPU always plays (see `FrameDecoder`)."""


def needed(name: str, platform: str) -> int:
    """Bytes of memory for one stream of mrt2-small or mrt2-base; on a CPU, those for reading the file are among them.

    Raises:
      InvalidOption: another name.
    """
    if name not in LANGUAGE_MODEL:
        raise InvalidOption(f"There is no Magenta RealTime 2 of the size '{name}'.", "Choose mrt2-small or mrt2-base.")
    if platform == "cpu":
        return (2 * LANGUAGE_MODEL[name] + CODEC) * 4 + STATE + ROOM  # float32, read and then packed
    return (LANGUAGE_MODEL[name] + CODEC) * 2 + GPU_ROWS * STATE + ROOM
