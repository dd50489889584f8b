"""The real loops that tests play, and what their own pages say of them."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
LOOP_FOLDERS = (ROOT / "examples" / "loops", ROOT / "tests" / "loops")
LOOPS = {path.stem: path for folder in LOOP_FOLDERS for path in folder.glob("*.flac")}
TEMPI = {
    "arovane_beat_c": 130.0,
    "loop_compus": 148.0,
    "loop_electric": 97.0,
    "loop_garzul": 120.0,
    "loop_mika": 120.0,
    "loop_tabla": 90.0,
}
"""As the loops' own page states them (examples/loops/README.md, tests/loops/README.md)."""
