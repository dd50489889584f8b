"""What a clip is called: word sets by aspect, random captions drawn from them, and synonyms.

Knows a clip's record; knows no sound. The words are what the style model learns and what users will type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recipes.tiny.data.genres import GENRES

INSTRUMENT_WORDS: dict[str, tuple[str, ...]] = {
    "acid": ("acid bass", "tb-303", "303"),
    "sub": ("sub bass", "deep bass"),
    "808": ("808 bass", "808", "booming bass"),
    "bass": ("synth bass", "bass synth", "bassline"),
    "fmbass": ("fm bass", "synth bass"),
    "reese": ("reese bass", "growling bass"),
    "upright": ("upright bass", "double bass", "acoustic bass"),
    "finger": ("electric bass", "bass guitar"),
    "slap": ("slap bass", "bass guitar"),
    "stab": ("synth stabs", "stabs"),
    "piano": ("piano", "keys"),
    "organ": ("organ", "keys"),
    "rhodes": ("rhodes", "electric piano", "keys"),
    "pad": ("synth pad", "pads"),
    "super": ("supersaw", "synth chords"),
    "strings": ("strings", "orchestra"),
    "nylon": ("nylon guitar", "acoustic guitar", "guitar"),
    "clean": ("clean guitar", "electric guitar", "guitar"),
    "dist": ("distorted guitar", "electric guitar", "guitar"),
    "clav": ("clavinet", "keys"),
    "chip": ("square wave", "chip synth", "synth"),
    "pluck": ("synth pluck", "plucks", "synth"),
    "bell": ("bells", "bell synth"),
    "lead": ("lead synth", "synth lead", "synth"),
    "vibes": ("vibraphone", "mallets"),
    "marimba": ("marimba", "mallets"),
    "flute": ("flute", "woodwind"),
    "brass": ("brass", "horns"),
    "sax": ("saxophone", "sax"),
    "trumpet": ("trumpet", "horns"),
    "vox": ("choir", "voices"),
}

KIT_WORDS = {
    0: ("acoustic drums", "drum kit", "live drums"),
    1: ("drum machine", "electronic drums"),
    2: ("hard drums", "electronic drums"),
}

DRUM_WORDS = {
    "shaker": "shaker",
    "conga": "congas",
    "clap": "claps",
    "ride": "ride cymbal",
    "rim": "rimshot",
    "tom": "toms",
}

Words = dict[str, list[str]]
"""Phrases that fit a clip, by aspect."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "drum and bass": ("dnb", "drum & bass", "d&b", "drum n bass", "jungle"),
    "hip hop": ("hip-hop", "hiphop", "boom bap", "rap beat"),
    "lofi": ("lo-fi", "lo fi", "lofi hip hop", "chillhop"),
    "uk garage": ("ukg", "garage", "2-step", "two step"),
    "acid house": ("acid", "acid techno"),
    "deep house": ("deephouse",),
    "jazz trio": ("jazz", "swing jazz", "piano trio"),
    "bossa nova": ("bossa", "bossanova", "brazilian jazz"),
    "synthwave": ("retrowave", "outrun", "80s synth"),
    "chiptune": ("8-bit", "8bit", "video game music", "gameboy"),
    "breakbeat": ("breaks", "big beat"),
    "electro": ("electro funk", "old school electro"),
    "afrobeat": ("afro", "afrobeats"),
    "dub": ("reggae", "dub reggae"),
    "rock": ("indie rock", "rock band", "rock music"),
    "techno": ("hard techno", "detroit techno"),
    "trance": ("uplifting trance", "psytrance"),
    "ambient": ("ambient music", "soundscape"),
    "disco": ("nu disco", "70s disco"),
    "funk": ("funky", "funk band"),
    "house": ("house music", "classic house"),
    "trap": ("trap beat", "trap music"),
    "dubstep": ("brostep", "wobble"),
    "chill": ("chilled", "relaxing", "chillout"),
    "relaxed": ("relaxing", "easy", "soft"),
    "calm": ("peaceful", "quiet", "serene", "meditation"),
    "energetic": ("energy", "powerful", "high energy"),
    "dark": ("gloomy", "sinister", "evil"),
    "happy": ("cheerful", "fun", "positive"),
    "uplifting": ("positive", "inspiring"),
    "groovy": ("groove", "grooving"),
    "funky": ("funk", "groovy"),
    "heavy": ("massive", "brutal", "hard"),
    "spacious": ("space", "wide", "airy"),
    "ethereal": ("dreamy", "floating"),
    "fast": ("quick", "up-tempo", "uptempo"),
    "slow": ("downtempo", "slow tempo"),
    "drums only": ("drum loop", "only drums", "just drums", "beat", "drum solo"),
    "no drums": ("without drums", "drumless", "beatless"),
    "drums and bass": ("drum and bass line", "rhythm section", "drums with bass"),
    "full band": ("full mix", "full arrangement"),
    "bright": ("crisp", "brilliant"),
    "muffled": ("dull", "warm", "filtered"),
    "latin": ("south american",),
    "retro": ("vintage", "old school"),
    "80s": ("eighties", "1980s"),
    "70s": ("seventies", "1970s"),
    "strings": ("violins", "string section"),
    "guitar": ("guitars",),
    "synth": ("synthesizer", "synthesiser"),
}


def tempo_word(bpm: float) -> str:
    return "slow" if bpm < 90 else "mid-tempo" if bpm < 125 else "fast"


def stems_word(stems: list[str]) -> str:
    """One phrase for which parts are there."""
    if stems == ["drums"]:
        return "drums only"
    if "drums" not in stems:
        return "no drums"
    return "drums and bass" if set(stems) == {"drums", "bass"} else "full band"


def words_of(record: dict[str, Any], drum_roles: list[str]) -> Words:
    """Every word that fits a clip, by aspect: genre, moods, instruments, tempo, stems, sound."""
    table = GENRES[record["genre"]]
    instruments = [w for kind in record["instruments"].values() for w in INSTRUMENT_WORDS[kind]]
    if "drums" in record["stems"]:
        instruments += KIT_WORDS[table.kit]
        instruments += [DRUM_WORDS[role] for role in drum_roles if role in DRUM_WORDS]
    sound: list[str] = []
    if record["tilt_db"] > 2.5:
        sound.append("bright")
    if record["tilt_db"] < -2.5:
        sound.append("muffled")
    if record["tape"] > 0.2:
        sound.append("tape")
    return {
        "genre": [record["genre"]],
        "moods": [w.strip() for w in table.words.split(",")],
        "instruments": list(dict.fromkeys(instruments)),
        "tempo": [tempo_word(record["bpm"]), f"{round(record['bpm'])} bpm"],
        "stems": [stems_word(record["stems"])],
        "sound": sound,
    }


def draw_phrases(words: Words, rng: np.random.Generator, *, most: int = 6) -> list[str]:
    """One to `most` phrases that fit a clip, in any order; the genre is among them in two of three."""
    phrases = list(words["genre"]) if rng.random() < 0.67 else []
    others = words["moods"] + _some(words["instruments"], 3, rng) + words["tempo"] + words["sound"]
    stems = words["stems"]
    if rng.random() < (0.4 if stems[0] in ("drums only", "no drums") else 0.15):
        phrases += stems
    phrases += _some(others, int(rng.integers(0 if phrases else 1, most + 1 - len(phrases))), rng)
    rng.shuffle(phrases)
    return phrases


def spoken(phrases: list[str], rng: np.random.Generator) -> str:
    """Phrases as somebody may type them: with commas or without, at times in other words."""
    return (", " if rng.random() < 0.5 else " ").join(_vary(phrase, rng) for phrase in phrases)


def draw_caption(words: Words, rng: np.random.Generator, *, most: int = 6) -> str:
    """A random caption of a clip."""
    return spoken(draw_phrases(words, rng, most=most), rng)


def full_caption(words: Words) -> str:
    """One fixed caption with a word or two of each aspect."""
    parts = words["genre"] + words["moods"][:3] + words["instruments"][:3] + words["tempo"][:1] + words["stems"]
    return ", ".join(parts + words["sound"])


def _some(items: list[str], count: int, rng: np.random.Generator) -> list[str]:
    return [items[int(i)] for i in rng.permutation(len(items))[:count]]


def _vary(phrase: str, rng: np.random.Generator) -> str:
    synonyms = SYNONYMS.get(phrase, ())
    return str(rng.choice(synonyms)) if synonyms and rng.random() < 0.4 else phrase
