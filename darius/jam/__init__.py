"""One endless stream of music in bars: exact cuts, glide, splice, delivery rules. Knows no sockets and no devices."""

from darius.jam.delivery import Delivery
from darius.jam.jam import Jam
from darius.jam.settings import Chunk, Dials, JamSettings, KeyStroke

__all__ = ["Chunk", "Delivery", "Dials", "Jam", "JamSettings", "KeyStroke"]
