"""Measures the language model: `python -m recipes.tiny.lm.evaluate --loops examples/loops tests/loops`.

1. Held-out clips: cross-entropy and share of right codes per level, with the engine's whole attention; the same on
   clips that repeat strictly, where everything can be copied.
2. Real loops (never trained on), continued as `darius generate` does: is the strongest period of the onsets the
   loop's tempo or a simple ratio of it, how far is the level, how much of the continuation is an exact copy?
3. Style: how much other words change what is played.
A table, and one JSON line at the end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.audio import files
from darius.audio.mel import log_mel
from darius.audio.onsets import onset_strength, tempo_peaks
from darius.audio.waveform import Waveform
from darius.depthformer.config import DepthformerConfig

RATIOS = (0.25, 1 / 3, 0.5, 2 / 3, 0.75, 1.0, 4 / 3, 1.5, 2.0, 3.0, 4.0)
"""Strongest period to beat: what counts as the tempo's simple ratios."""


def tempo_error(waveform: Waveform, bpm: float) -> float:
    """How far the strongest onset period is from the nearest simple ratio of the tempo, as a share of it."""
    peaks = tempo_peaks(*onset_strength(waveform.samples, waveform.rate))
    if not peaks:
        return 1.0
    return float(min(abs(peaks[0].bpm / (bpm * ratio) - 1.0) for ratio in RATIOS))


def level_difference(waveform: Waveform, loop: Waveform) -> float:
    """RMS of the continuation over RMS of the loop, in dB."""
    ours, theirs = (float(np.sqrt(np.mean(np.square(w.samples)))) for w in (waveform, loop))
    return 20 * float(np.log10(max(ours, 1e-9) / max(theirs, 1e-9)))


def repeats(codes: NDArray[np.int32], most: int = 260) -> tuple[int, float]:
    """The period in frames at which most coarse codes come again, and how many do."""
    shares = [np.mean(codes[lag:, :4] == codes[:-lag, :4]) for lag in range(8, min(most, len(codes) // 2))]
    return int(np.argmax(shares)) + 8, float(max(shares))


def held_out(config: DepthformerConfig, params: dict[str, Any], clips: Sequence[Any], batches: int) -> dict[str, Any]:
    """Means over `batches` batches of four examples, per level, with the whole attention."""
    import jax

    from recipes.tiny.lm.batches import draw
    from recipes.tiny.lm.forward import level_losses

    measure = jax.jit(lambda params, batch: tuple(x.mean((0, 1)) for x in level_losses(config, params, batch)))
    rng = np.random.default_rng(7)
    found = [measure(params, draw(config.layout, list(clips), rng, batch=4, chosen=16)) for _ in range(batches)]
    losses, right = (np.mean([np.asarray(pair[n]) for pair in found], axis=0) for n in (0, 1))
    return {"loss": losses.round(3).tolist(), "right": right.round(3).tolist()}


def continuations(model: Any, loops: Sequence[Path], seeds: Sequence[int], **options: Any) -> dict[str, Any]:
    """Tempo error, level and repetition of each loop's continuation."""
    rows = {}
    for path in loops:
        loop = files.load(path)
        for seed in seeds:
            played = model.continue_loop(path, seed=seed, loudness="none", **options)
            music = played.waveforms[0]
            period, share = repeats(played.codes[0])
            row = {
                "bpm": float(played.bpm),
                "tempo_error": tempo_error(music, float(played.bpm)),
                "level_db": level_difference(music, loop),
                "period_frames": period,
                "repeats": share,
                "seconds": sum(played.seconds.values()),
            }
            rows[f"{path.stem} {seed}"] = row
            print(f"{path.stem:20} {seed}", {key: round(value, 4) for key, value in row.items()}, flush=True)
    return rows


def style_changes(model: Any, loop: Path, words: Sequence[str], **options: Any) -> float:
    """Mean distance in dB between the mean log-mel spectra of continuations of one loop in different styles."""
    from darius.style.mix import StyleRequest, parse

    spectra = []
    for word in words:
        style = StyleRequest(texts=(parse(word),), loop_weight=0.3)
        music = model.continue_loop(loop, style=style, seed=1, bars=4, **options).waveforms[0]
        spectra.append(log_mel(music.samples, music.rate).mean(axis=0))
    pairs = [(a, b) for n, a in enumerate(spectra) for b in spectra[n + 1 :]]
    return float(np.mean([np.abs(a - b).mean() for a, b in pairs]))


def main() -> None:
    args = _arguments()
    import darius
    from darius.checkpoints import compact, safetensors_io
    from recipes.tiny.lm import dataset
    from recipes.tiny.lm.package import ASSET

    result: dict[str, Any] = {}
    if args.clips:
        config = DepthformerConfig.tiny()
        params = compact.unpack(config, safetensors_io.load(ASSET))
        clips = dataset.load(args.clips, "validation")
        result["held_out"] = held_out(config, params, clips, args.batches)
        strict = [clip for clip in clips if 0 < clip.loop_frames <= 200]
        result["strict"] = held_out(config, params, strict, args.batches)
        print("held out", result["held_out"], "\nstrict  ", result["strict"], flush=True)
    if args.loops:
        loops = sorted(path for folder in args.loops for path in folder.glob("*.flac"))
        model = darius.load(args.model)
        options = {"temperature": args.temperature, "guidance": args.guidance, "top_k": args.topk}
        rows = continuations(model, loops, range(args.seeds), bars=args.bars, **options)
        inside = [row["tempo_error"] < 0.01 for row in rows.values()]
        level = [abs(row["level_db"]) < 3.0 for row in rows.values()]
        result |= {"loops": rows, "in_time": float(np.mean(inside)), "level_within_3_db": float(np.mean(level))}
        print(f"in time {sum(inside)} of {len(inside)}, level within 3 dB {sum(level)} of {len(level)}", flush=True)
        if args.styles:
            result["style_db"] = style_changes(model, loops[0], args.styles, **options)
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, default=None, help="token shards: measures held-out clips")
    parser.add_argument("--loops", type=Path, nargs="*", default=[], help="folders of loops to continue")
    parser.add_argument("--model", default="tiny", help="name or package folder")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--bars", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=1.1)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--topk", type=int, default=40)
    parser.add_argument("--styles", nargs="*", default=[], help="words to compare")
    return parser.parse_args()


if __name__ == "__main__":
    main()
