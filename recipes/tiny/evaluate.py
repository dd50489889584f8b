"""Measures all of `tiny`: `python -m recipes.tiny.evaluate` (or `make eval-tiny`), --parts for some of it.

  codec           round trips of the real loops and of held-out generated clips
  continuations   every real loop continued by eight bars, some seeds each, with the defaults
  style           the same loops led by ten genres' names at loop weight 0.3, told apart by a classifier that never saw
                  the model (recipes.tiny.genre_test)
  knobs           what guidance and temperature change
  jam             ten minutes in one stream

Music is played many rows at a time. Tables, and one JSON file with every number.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from darius import piece, session
from darius.audio import files
from darius.audio.loudness import match
from darius.audio.tempo import find_tempo
from darius.audio.waveform import Waveform
from darius.batching.requests import Advance
from darius.continuation import ContinuationOptions
from darius.style.mix import StyleRequest, WeightedText
from recipes.tiny import genre_test, musical
from recipes.tiny.codec import measures

GENRES = (
    "house", "techno", "drum and bass", "hip hop", "trap", "ambient", "dub", "jazz trio", "chiptune", "rock",
)  # fmt: skip
"""The ten words of the style test: far apart and all known to the generator."""

PARTS = ("codec", "continuations", "style", "knobs", "jam")
Numbers = dict[str, Any]


def play(pieces: Sequence[piece.Piece], rows: int) -> None:
    """Plays pieces to their end, `rows` streams at a time (the last batch is filled up with its first stream)."""
    waiting = list(pieces)
    while waiting:
        batch: list[piece.Piece] = []
        while waiting and sum(len(p.call()[0]) for p in [*batch, waiting[0]]) <= rows:
            batch.append(waiting.pop(0))
        batch = batch or [waiting.pop(0)]
        while open_ones := [p for p in batch if not p.complete]:
            _advance(open_ones, rows)


def _advance(pieces: Sequence[piece.Piece], rows: int) -> None:
    calls = [p.call() for p in pieces]
    counts = [len(streams) for streams, _ in calls]
    streams = session.gather([streams for streams, _ in calls])
    knobs = [knob for (_, knob), count in zip(calls, counts, strict=True) for _ in range(count)]
    missing = max(0, rows - len(knobs))
    filled = session.take(streams, [*range(len(knobs)), *[0] * missing])
    samples, codes, after = session.advance(pieces[0].model, filled, [*knobs, *[knobs[0]] * missing])
    first = 0
    for one, count in zip(pieces, counts, strict=True):
        own = list(range(first, first + count))
        one.feed(Advance(samples[own], codes[own], session.take(after, own)))
        first += count


def codec(model: Any, folders: Sequence[Path], clips: int) -> Numbers:
    """Round trips, a row a sound, and the mean of loops and of clips."""

    def trip(sound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # All are as long as the longest: one compiled program.
        padded = np.pad(sound, ((0, -len(sound) % (12 * measures.RATE)), (0, 0)))
        codes = np.asarray(model.codec.encode(padded[None], model.levels))
        frames = len(sound) // model.codec.frame_samples
        return np.asarray(model.codec.decode(codes))[0, : len(sound)], codes[0, :frames]

    rows: Numbers = {}
    seen = []
    for name, sound in measures.loops(folders):
        decoded, codes = trip(sound)
        rows[name] = measures.compare(sound, decoded)
        seen.append(codes)
    loops = list(rows.values())
    made = []
    for clip in genre_test.held_out(clips):
        sound = clip.samples[: 8 * 48_000]
        decoded, codes = trip(sound)
        made.append(measures.compare(sound, decoded))
        seen.append(codes)
    rows["mean of loops"], rows["mean of clips"] = _mean(loops), _mean(made)
    used = measures.usage(np.concatenate(seen), model.codebook_size)
    _table(rows)
    return {"rows": rows, "perplexity": used.round(3).tolist()}


def continuations(model: Any, folders: Sequence[Path], seeds: int, rows: int, **options: Any) -> Numbers:
    """A row for each loop and seed, and the shares that meet the marks; and the level before it was matched."""
    found = {}
    for (name, loop, bpm), pieces in _pieces(model, folders, seeds, rows, **options):
        for seed, (take, codes) in enumerate(zip(pieces.finish(), pieces.codes(), strict=True)):
            made = take.waveform
            music = Waveform(match(made.samples, made.rate, pieces.plan.loop, "auto"), made.rate)
            row = musical.compare(music, loop, bpm, pieces.options.bars)
            row["unmatched_db"] = row["level_db"] + 20 * float(np.log10(musical.rms(made) / musical.rms(music)))
            found[f"{name} {seed}"] = row | musical.repetition(codes)
    marks = {mark: float(np.mean([test(row) for row in found.values()])) for mark, test in musical.MARKS.items()}
    _table(found)
    print(" ".join(f"{mark}: {share:.2f}" for mark, share in marks.items()), flush=True)
    return {"rows": found, "marks": marks}


def _pieces(model: Any, folders: Sequence[Path], seeds: int, rows: int, **options: Any) -> list[Any]:
    begun = []
    for path in sorted(path for folder in folders for path in folder.glob("*.flac")):
        loop = files.load(path)
        tempo = find_tempo(loop, path=path)
        wanted = ContinuationOptions(loudness="none", **options)
        plan = piece.plan(model, wanted, loop=loop, tempo=tempo)
        style = piece.style_codes(model, plan, wanted)
        begun.append(
            (
                (path.stem, loop, float(plan.bpm)),
                piece.Piece.start(model, plan, wanted, style=style, seeds=range(seeds)),
            )
        )
    play([one for _, one in begun], rows)
    return begun


def style(
    model: Any, folders: Sequence[Path], judge: genre_test.Judge, seeds: int, rows: int, **options: Any
) -> Numbers:
    """Shares of continuations whose genre the classifier names (first, among its first three), and by genre."""
    ranks: dict[str, list[int]] = {genre: [] for genre in GENRES}
    begun = []
    for path in sorted(path for folder in folders for path in folder.glob("*.flac")):
        loop = files.load(path)
        tempo = find_tempo(loop, path=path)
        for genre in GENRES:
            request = StyleRequest(texts=(WeightedText(genre),), loop_weight=options.get("loop_weight", 0.3))
            rest = {name: value for name, value in options.items() if name != "loop_weight"}
            wanted = ContinuationOptions(loudness="none", style=request, **rest)
            plan = piece.plan(model, wanted, loop=loop, tempo=tempo)
            codes = piece.style_codes(model, plan, wanted)
            begun.append((genre, piece.Piece.start(model, plan, wanted, style=codes, seeds=range(seeds))))
    play([one for _, one in begun], rows)
    for genre, one in begun:
        ranks[genre] += [judge.rank(take.waveform, genre) for take in one.finish()]
    every = np.concatenate([np.asarray(r) for r in ranks.values()])
    by_genre = {genre: round(float(np.mean(np.asarray(r) < 1)), 2) for genre, r in ranks.items()}
    numbers = {"named": float(np.mean(every < 1)), "among_three": float(np.mean(every < 3)), "by_genre": by_genre}
    print("style", numbers, "classifier on clean clips", judge.own, flush=True)
    return numbers | {"classifier": judge.own}


def knobs(model: Any, folders: Sequence[Path], judge: genre_test.Judge, rows: int, bars: int) -> Numbers:
    """Style agreement at several guidances; share of coarse codes that two seeds do not share at temperatures."""
    by_guidance = {
        guidance: style(model, folders, judge, 1, rows, bars=bars, guidance=guidance) for guidance in (0.0, 2.0, 5.0)
    }
    diversity = {}
    for name, options in {
        "temperature 0.6": {"temperature": 0.6},
        "temperature 1.1": {"temperature": 1.1},
        "temperature 1.6": {"temperature": 1.6},
        "top-k 1": {"top_k": 1},
        "top-k 40": {"top_k": 40},
        "top-k 400": {"top_k": 400},
    }.items():
        differ = []
        for _, one in _pieces(model, folders, 2, rows, bars=bars, **options):
            first, second = (codes[:, :4] for codes in one.codes())
            differ.append(float(np.mean(first != second)))
        diversity[name] = round(float(np.mean(differ)), 3)
    print("diversity", diversity, flush=True)
    shares = {guidance: (found["named"], found["among_three"]) for guidance, found in by_guidance.items()}
    return {"style_by_guidance": shares, "diversity": diversity}


def jam(model: Any, path: Path, seeds: int, minutes: float) -> Numbers:
    """One stream a seed for some minutes: the last minute against the first after start-up."""
    loop = files.load(path)
    tempo = find_tempo(loop, path=path)
    bars = int(minutes * float(tempo.bpm) / 4)
    wanted = ContinuationOptions(loudness="none", bars=bars, bpm=tempo.bpm)
    plan = piece.plan(model, wanted, loop=loop, tempo=tempo)
    one = piece.Piece.start(model, plan, wanted, style=piece.style_codes(model, plan, wanted), seeds=range(seeds))
    play([one], seeds)
    found = {f"{path.stem} {seed}": musical.drift(take.waveform) for seed, take in enumerate(one.finish())}
    _table(found)
    return found


def _mean(rows: Sequence[Numbers]) -> Numbers:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} if rows else {}


def _table(rows: Numbers) -> None:
    rows = {name: row for name, row in rows.items() if row}
    keys = list(next(iter(rows.values())))
    print(f"{'':22}" + "".join(f"{key:>17}" for key in keys))
    for name, row in rows.items():
        print(f"{name:22}" + "".join(f"{row[key]:17.3f}" for key in keys), flush=True)


def main() -> None:
    args = _arguments()
    import darius

    model = darius.load(args.model, dtype="float32" if args.float32 else "auto")
    loops = args.loops
    knobs_set = {"guidance": args.guidance, "temperature": args.temperature, "top_k": args.topk}
    result: Numbers = {"model": args.model, "step": model.step} | knobs_set
    judge = genre_test.Judge.of(GENRES, args.judged, args.judge) if {"style", "knobs"} & set(args.parts) else None
    parts: dict[str, Callable[[], Any]] = {
        "codec": lambda: codec(model, loops, args.clips),
        "continuations": lambda: continuations(model, loops, args.seeds, args.rows, bars=args.bars, **knobs_set),
        "style": lambda: style(model, loops, judge, args.style_seeds, args.rows, bars=args.bars, **knobs_set),
        "knobs": lambda: knobs(model, loops, judge, args.rows, args.bars),
        "jam": lambda: jam(model, sorted(loops[0].glob("*.flac"))[0], args.jam_seeds, args.minutes),
    }
    for part in args.parts:
        print(f"== {part}", flush=True)
        result[part] = parts[part]()
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(result, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", help="name or package folder")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--loops", type=Path, nargs="*", default=[Path("examples/loops"), Path("tests/loops")])
    parser.add_argument("--clips", type=int, default=12, help="held-out clips for the codec")
    parser.add_argument("--judged", type=int, default=60, help="clips a genre for the classifier")
    parser.add_argument("--judge", type=Path, help="where the classifier is kept, once it is trained")
    parser.add_argument("--bars", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5, help="of each loop")
    parser.add_argument("--style-seeds", type=int, default=1, help="of each loop and genre")
    parser.add_argument("--jam-seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the jam")
    parser.add_argument("--rows", type=int, default=30, help="streams at a time")
    parser.add_argument("--guidance", type=float, help="the model's own by default")
    parser.add_argument("--temperature", type=float, default=1.1)
    parser.add_argument("--topk", type=int, default=40)
    parser.add_argument("--float32", action="store_true", help="on a GPU too")
    parser.add_argument("--json", type=Path, help="where every number goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
