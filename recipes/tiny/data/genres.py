"""The table of genres: tempo, drum grammar, patches, harmony, effects and words.

A drum or note pattern is a bar of 16 steps: `x` sure, `o` likely, `-` a ghost, `.` a rest. Where several patterns
are given, each clip draws one.
"""

# ruff: noqa: E501 - a drum kit reads best on one line
from __future__ import annotations

import dataclasses

from recipes.tiny.data.drums import ANALOGUE, HARD, SOFT

STEP_CHANCE = {"x": 1.0, "o": 0.55, "-": 0.3, ".": 0.0}

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Genre:
    """What makes a genre. Patch names are families of `patches` or instruments of the note bank."""

    bpm: tuple[int, int]
    kit: int
    drums: dict[str, tuple[str, ...]]
    bass: str
    bass_patterns: tuple[str, ...]
    chords: str
    chord_patterns: tuple[str, ...]
    lead: str = ""
    progressions: tuple[str, ...]  # scale degrees, one a bar of a 4-bar loop
    words: str  # moods and textures, comma separated
    scale: str = "minor"
    swing: float = 0.0  # delay of every second step, in steps
    reverb: float = 0.15
    echo: float = 0.1
    ducking: float = 0.0
    tape: float = 0.0
    octave_jumps: bool = False
    walking_bass: bool = False
    arpeggio: float = 0.0  # chance that chords are broken into single notes
    hat_rolls: float = 0.0  # chance a bar of a quick roll on the hat
    rumble: float = 0.0  # low reverb of the kick


_FOUR = "x...x...x...x..."
_BACK = "....x.......x..."
_OFF = "..x...x...x...x."
_EIGHTHS = "x.x.x.x.x.x.x.x."
_ALL = "xxxxxxxxxxxxxxxx"
_SHAKE = "xoxoxoxoxoxoxoxo"
_ONCE = "x..............."
_FUNK_SNARE = "....x..-.-..x..-"

GENRES: dict[str, Genre] = {
    "house": Genre(
        bpm=(118, 128), swing=0.1, kit=ANALOGUE, ducking=0.4,
        drums={"kick": (_FOUR,), "clap": (_BACK,), "hat": ("x-x-x-x-x-x-x-x-", _OFF), "open_hat": (_OFF,), "shaker": (_SHAKE,)},
        bass="bass fmbass", bass_patterns=("..x...x...x..xx.", "x..x..x...x.x...", "..xx..x...xx..x."),
        chords="stab piano organ", chord_patterns=("x..x..x...x..x..", "..x..x...x..x..."), lead="pluck",
        progressions=("1 6 4 5", "1 1 4 4", "6 4 1 5"),
        words="four on the floor, groovy, club, upbeat, dance",
    ),
    "deep house": Genre(
        bpm=(115, 124), swing=0.12, kit=ANALOGUE, scale="dorian", reverb=0.3, echo=0.2, ducking=0.4,
        drums={"kick": (_FOUR,), "rim": ("...x..x....x..x.",), "hat": (_OFF,), "shaker": ("oxoxoxoxoxoxoxox",)},
        bass="sub bass", bass_patterns=("x..x..x..x..x...", "x.....x...x....."),
        chords="rhodes pad", chord_patterns=("x.....x.........", "x..x......x....."), lead="bell rhodes",
        progressions=("2 2 1 1", "1 4 1 4"),
        words="warm, deep, late night, smooth, club",
    ),
    "techno": Genre(
        bpm=(126, 140), kit=HARD, scale="phrygian", reverb=0.25, echo=0.25, ducking=0.5, rumble=0.6,
        drums={"kick": (_FOUR,), "hat": (_OFF, _ALL), "rim": ("o..o..o...o..o..",), "open_hat": ("..o...o...o...o.",), "tom": ("......o.......oo",)},
        bass="sub bass", bass_patterns=(_OFF, ".xxx.xxx.xxx.xxx"),
        chords="stab", chord_patterns=("...x..x.........", "x.....x.....x..."), lead="pluck",
        progressions=("1 1 1 1",),
        words="driving, dark, hypnotic, warehouse, industrial",
    ),
    "acid house": Genre(
        bpm=(118, 130), swing=0.04, kit=ANALOGUE, echo=0.2, ducking=0.3, octave_jumps=True,
        drums={"kick": (_FOUR,), "clap": (_BACK,), "hat": (_EIGHTHS,), "open_hat": (_OFF,)},
        bass="acid", bass_patterns=("xoxxoxxoxoxxoxxo", "x.xxo.xx.oxx.xox"),
        chords="stab", chord_patterns=("................", _ONCE),
        progressions=("1 1 1 1", "1 1 3 1"),
        words="acid, squelchy, 303, rave, hypnotic",
    ),
    "drum and bass": Genre(
        bpm=(168, 178), kit=HARD, reverb=0.2, echo=0.2,
        drums={"kick": ("x.........x.....", "x..o......x....."), "snare": (_BACK, "....x..-.-..x..-"), "hat": (_EIGHTHS, _SHAKE), "ride": (_FOUR,)},
        bass="reese sub", bass_patterns=("x.....x...x.....", "x.............x."),
        chords="pad rhodes", chord_patterns=(_ONCE,), lead="pluck bell",
        progressions=("1 1 6 7", "1 4 1 4"),
        words="breakbeat, rolling, energetic, jungle, intense",
    ),
    "breakbeat": Genre(
        bpm=(124, 140), swing=0.06, kit=SOFT, scale="dorian",
        drums={"kick": ("x.x.......xx....", "x.....x...x....."), "snare": (_FUNK_SNARE, "....x..o....x..."), "hat": (_EIGHTHS,), "open_hat": ("..............x.",)},
        bass="bass acid", bass_patterns=("x..x....x.x.....", "x.x...x...x..x.."),
        chords="stab organ", chord_patterns=("x.....x.........",), lead="lead",
        progressions=("1 1 7 4", "1 3 4 1"),
        words="breaks, energetic, chopped, funky, big beat",
    ),
    "hip hop": Genre(
        bpm=(82, 96), swing=0.22, kit=SOFT, scale="dorian", reverb=0.12, tape=0.3,
        drums={"kick": ("x......x..x.....", "x..o......xo...."), "snare": (_BACK,), "hat": (_EIGHTHS, "x.xxx.x.x.x.x.xx")},
        bass="sub upright bass", bass_patterns=("x......x..x.....", "x..x......x....."),
        chords="rhodes piano strings", chord_patterns=(_ONCE, "x.........x....."), lead="vibes flute",
        progressions=("1 4 1 4", "2 5 1 6"),
        words="boom bap, head nod, dusty, laid back, street",
    ),
    "lofi": Genre(
        bpm=(68, 88), swing=0.28, kit=SOFT, scale="major", reverb=0.2, echo=0.15, tape=1.0,
        drums={"kick": ("x......x..x.....", "x.........x..o.."), "snare": (_BACK,), "hat": (_EIGHTHS,), "rim": (".......-......-.",)},
        bass="upright sub", bass_patterns=("x.....x...x.....", "x..........x...."),
        chords="rhodes piano nylon", chord_patterns=("x.......x.......", "x..x....x......."), lead="vibes rhodes",
        progressions=("2 5 1 6", "4 3 2 1", "1 6 2 5"),
        words="chill, mellow, tape, jazzy, study, relaxed",
    ),
    "trap": Genre(
        bpm=(132, 150), kit=ANALOGUE, scale="harmonic minor", reverb=0.25, echo=0.2, hat_rolls=0.9,
        drums={"kick": ("x.....x...x.....", "x..x......x...x."), "clap": ("........x.......",), "hat": (_EIGHTHS, "x.xxx.x.xxxxx.x.")},
        bass="808", bass_patterns=("x.....x...x.....", "x.........x....."),
        chords="bell pad", chord_patterns=(_ONCE,), lead="bell flute pluck",
        progressions=("1 6 1 7", "1 1 6 5"),
        words="half time, dark, hat rolls, menacing, booming",
    ),
    "ambient": Genre(
        bpm=(60, 90), kit=SOFT, scale="major", reverb=0.6, echo=0.35,
        drums={"shaker": ("x...-...o...-...",)},
        bass="sub", bass_patterns=(_ONCE,),
        chords="pad strings", chord_patterns=(_ONCE,), lead="bell piano vox",
        progressions=("1 6 4 5", "1 4 1 5", "1 3 4 1"),
        words="calm, spacious, drone, ethereal, atmospheric, relaxed",
    ),
    "synthwave": Genre(
        bpm=(84, 118), kit=ANALOGUE, reverb=0.3, echo=0.25, ducking=0.25, octave_jumps=True,
        drums={"kick": (_FOUR, "x.......x......."), "snare": (_BACK,), "hat": (_EIGHTHS,), "tom": ("..............oo",)},
        bass="bass", bass_patterns=(_EIGHTHS, _ALL),
        chords="super pad", chord_patterns=(_ONCE,), lead="lead pluck",
        progressions=("6 4 1 5", "1 7 6 7", "1 6 3 7"),
        words="retro, 80s, neon, nostalgic, cinematic",
    ),
    "trance": Genre(
        bpm=(132, 142), kit=HARD, reverb=0.35, echo=0.3, ducking=0.5, octave_jumps=True, arpeggio=0.4,
        drums={"kick": (_FOUR,), "clap": (_BACK,), "open_hat": (_OFF,), "hat": (_ALL,)},
        bass="bass", bass_patterns=(".xxx.xxx.xxx.xxx", _OFF),
        chords="super", chord_patterns=("x..x..x..x..x.x.", _ONCE), lead="pluck super",
        progressions=("6 4 1 5", "1 6 3 7"),
        words="uplifting, euphoric, rave, energetic, epic",
    ),
    "funk": Genre(
        bpm=(96, 114), swing=0.08, kit=SOFT, scale="dorian", reverb=0.08, echo=0.05, octave_jumps=True,
        drums={"kick": ("x..x......x..o..", "x.x...x...x....."), "snare": (_FUNK_SNARE,), "hat": (_ALL, _EIGHTHS), "open_hat": ("......x.......x.",)},
        bass="finger slap", bass_patterns=("x..xo.x...x.xo..", "x.x..x.x..x..x.."),
        chords="clean organ clav", chord_patterns=("..x...x.x..x..x.", "x..x..x...x.x..."), lead="brass sax",
        progressions=("1 1 4 1", "2 5 2 5"),
        words="tight, syncopated, groovy, funky, playful",
    ),
    "disco": Genre(
        bpm=(112, 124), swing=0.04, kit=SOFT, scale="major", reverb=0.12, echo=0.08, octave_jumps=True,
        drums={"kick": (_FOUR,), "snare": (_BACK,), "open_hat": (_OFF,), "hat": (_EIGHTHS,), "conga": ("x..o..o.x..o..o.",)},
        bass="finger slap", bass_patterns=(_EIGHTHS, "x..x..x.x..x..x."),
        chords="clean strings piano", chord_patterns=("..xx..xx..xx..xx", "x.....x........."), lead="strings brass",
        progressions=("2 5 1 6", "1 6 2 5", "6 4 1 5"),
        words="dancefloor, 70s, happy, groovy, upbeat, dance",
    ),
    "dub": Genre(
        bpm=(66, 80), swing=0.1, kit=SOFT, reverb=0.35, echo=0.5,
        drums={"kick": ("........x.......",), "snare": ("........x.......",), "rim": ("....-.......x...",), "hat": (_OFF, "x.xxx.xxx.xxx.xx")},
        bass="sub finger", bass_patterns=("x..x....x.x.....", "..x.x...x..x...."),
        chords="organ clean", chord_patterns=("....x.......x...", "....xx......xx.."), lead="brass lead",
        progressions=("1 1 4 4", "1 7 1 7"),
        words="reggae, one drop, echo, deep, laid back",
    ),
    "dubstep": Genre(
        bpm=(138, 142), kit=HARD, scale="phrygian", reverb=0.25, echo=0.2,
        drums={"kick": ("x.........x.....", "x...........x..."), "snare": ("........x.......",), "hat": (_EIGHTHS, "..x...x...x..xx.")},
        bass="reese sub", bass_patterns=("x...x.x.x...x...", "x.......x..x...."),
        chords="pad stab", chord_patterns=(_ONCE,), lead="bell",
        progressions=("1 1 6 7",),
        words="half time, wobble, heavy, dark, menacing",
    ),
    "jazz trio": Genre(
        bpm=(100, 180), swing=0.33, kit=SOFT, scale="major", reverb=0.18, echo=0.0, walking_bass=True,
        drums={"ride": ("x...x.x.x...x.x.",), "hat": ("....x.......x...",), "snare": ("-.....-...-....-",), "kick": ("-...............",)},
        bass="upright", bass_patterns=(_FOUR, _FOUR),
        chords="piano", chord_patterns=("...x..x...x.....", "x.....x.......x.", "......x....x...."), lead="piano sax vibes",
        progressions=("2 5 1 6", "1 6 2 5", "3 6 2 5"),
        words="swing, walking bass, acoustic, brushes, jazzy",
    ),
    "bossa nova": Genre(
        bpm=(118, 144), kit=SOFT, scale="major", echo=0.0,
        drums={"kick": ("x..xx..xx..xx..x",), "rim": ("x..x..x...x..x..",), "shaker": (_ALL,)},
        bass="upright", bass_patterns=("x..xx..xx..xx..x", "x.....x.x.....x."),
        chords="nylon", chord_patterns=("x..x..x...x..x..", "x.x..x..x.x..x.."), lead="flute sax piano",
        progressions=("1 2 5 1", "2 5 1 6"),
        words="latin, gentle, acoustic, warm, brazilian",
    ),
    "afrobeat": Genre(
        bpm=(98, 122), swing=0.05, kit=SOFT, scale="dorian", reverb=0.1, echo=0.08, octave_jumps=True,
        drums={"kick": ("x.....x...x.....",), "rim": ("x..x...x..x.x...",), "conga": ("..x.x..x..x.x.xx",), "hat": (_EIGHTHS,), "shaker": (_SHAKE,)},
        bass="finger bass", bass_patterns=("x..x..x.x...x...", "x.x...x..x.x...."),
        chords="clean clav", chord_patterns=("..x.x..x..x.x..x",), lead="brass marimba",
        progressions=("1 1 4 4", "1 7 1 7"),
        words="polyrhythmic, percussive, african, groovy, joyful",
    ),
    "electro": Genre(
        bpm=(118, 132), kit=ANALOGUE, reverb=0.12, echo=0.15, octave_jumps=True,
        drums={"kick": ("x.....x...x..x..", "x..x..x........."), "snare": (_BACK,), "hat": (_ALL,), "rim": ("..o..o....o..o..",)},
        bass="bass fmbass", bass_patterns=("x.xx..x.x.xx..x.", "x..x..x..x..x.x."),
        chords="stab", chord_patterns=("x..........x....",), lead="chip lead",
        progressions=("1 1 3 7",),
        words="robotic, futuristic, cold, machine funk, old school",
    ),
    "chiptune": Genre(
        bpm=(120, 160), kit=ANALOGUE, scale="major", reverb=0.0, arpeggio=1.0,
        drums={"kick": (_FOUR,), "snare": (_BACK,), "hat": (_EIGHTHS,)},
        bass="chip", bass_patterns=(_EIGHTHS,),
        chords="chip", chord_patterns=(_ALL,), lead="chip",
        progressions=("6 4 1 5", "1 5 6 4"),
        words="8-bit, video game, retro, happy, playful",
    ),
    "uk garage": Genre(
        bpm=(128, 136), swing=0.2, kit=ANALOGUE, reverb=0.2, echo=0.2, ducking=0.2,
        drums={"kick": ("x.........x.....", "x.........x..o.."), "clap": (_BACK,), "hat": ("..x..xx...x..xx.", "x.xx..x.x.xx..x."), "rim": (".......o..o....o",)},
        bass="sub bass", bass_patterns=("x..x......x..x..", "x.....x..x......"),
        chords="organ stab rhodes", chord_patterns=("..x..x......x...",), lead="pluck vox",
        progressions=("1 6 4 7", "2 1 6 1"),
        words="two step, shuffled, skippy, smooth, club",
    ),
    "rock": Genre(
        bpm=(90, 150), kit=SOFT, scale="major", reverb=0.1, echo=0.05,
        drums={"kick": ("x.......x.x.....", "x..x....x......."), "snare": (_BACK,), "hat": (_EIGHTHS,), "tom": ("............oooo",)},
        bass="finger", bass_patterns=(_EIGHTHS, "x..x..x.x.x.x.x."),
        chords="dist clean", chord_patterns=(_EIGHTHS, "x.....x.x......."), lead="dist",
        progressions=("1 5 6 4", "1 4 5 4", "1 7 4 1"),
        words="band, live drums, loud, energetic, raw",
    ),
}  # fmt: skip
