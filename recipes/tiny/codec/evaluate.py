"""Measures the codec: `python -m recipes.tiny.codec.evaluate --loops examples/loops tests/loops`.

Round trips of loops (and, with --clips, of held-out generated clips) through the shipped codec or --params; a table,
a JSON line, and with --plot a picture for each sound, original above decoded.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darius.audio import files
from darius.audio.mel import log_mel
from darius.audio.resample import resample
from darius.codec.codec import BLOCK_FRAMES, Codec
from darius.codec.config import CodecConfig
from darius.codec.network import Params
from recipes.tiny.codec import measures
from recipes.tiny.codec.ship import ASSET, load_any

Sound = NDArray[np.float32]
Numbers = dict[str, float]
RoundTrip = Callable[[Sound, int], tuple[NDArray[np.int32], Sound]]


def main() -> None:
    args = _arguments()
    config, params = load_any(args.params)
    trip = round_trip(config, params)
    sounds = dict(loops(args.loops))
    if args.clips:
        sounds |= dict(_held_out(args.clips, args.count))
    rows = {name: _measure(trip, name, sound, args) for name, sound in sounds.items()}
    for kind in ("loop", "clip"):
        chosen = [row for name, row in rows.items() if name.startswith("clip") == (kind == "clip")]
        if chosen:
            rows[f"mean {kind}"] = {key: float(np.mean([row[key] for row in chosen])) for key in chosen[0]}
    _print(rows)
    if args.tokens:
        tokens = np.concatenate([np.load(path) for path in sorted(args.tokens.glob("tokens-*.npy"))[:: args.every]])
        shares = measures.usage(tokens.reshape(-1, tokens.shape[-1]), config.codebook_size)
        print(f"codebook use (perplexity / {config.codebook_size}):", " ".join(f"{share:.2f}" for share in shares))
        rows["usage"] = {str(level): float(share) for level, share in enumerate(shares)}
    print(json.dumps(rows))


def round_trip(config: CodecConfig, params: Params) -> RoundTrip:
    """A function (samples [n, 2], levels) -> (codes [frames, levels], decoded [n, 2])."""

    codec = Codec(config, params)

    least = BLOCK_FRAMES * codec.frame_samples

    def trip(samples: Sound, levels: int) -> tuple[NDArray[np.int32], Sound]:
        # Silence up to whole blocks, so that one length is compiled.
        padded = np.pad(samples, ((0, max(0, least - len(samples))), (0, 0)))
        codes = np.asarray(codec.encode(padded[None], levels))
        return codes[0], np.asarray(codec.decode(codes))[0, : len(samples)]

    return trip


def _measure(trip: RoundTrip, name: str, sound: Sound, args: argparse.Namespace) -> Numbers:
    _, decoded = trip(sound, args.levels)
    found = measures.compare(sound, decoded)
    if args.quiet_db:
        gain = np.float32(10 ** (-args.quiet_db / 20))
        found["quiet_loudness_lu"] = measures.compare(sound * gain, trip(sound * gain, args.levels)[1])["loudness_lu"]
    if args.plot:
        args.plot.mkdir(parents=True, exist_ok=True)
        plot(args.plot / f"{name}.png", sound, decoded)
    if args.save:
        import soundfile

        args.save.mkdir(parents=True, exist_ok=True)
        soundfile.write(args.save / f"{name}.wav", decoded, measures.RATE)
    return found


def plot(path: Path, original: Sound, decoded: Sound, seconds: float = 5.0) -> None:
    """Log-mel pictures of the first seconds, original above decoded."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 1, figsize=(11, 7), sharex=True)
    for axis, sound, title in zip(axes, (original, decoded), ("original", "decoded"), strict=True):
        mels = log_mel(sound[: int(seconds * measures.RATE)], measures.RATE, window=1024, hop=256, floor_db=-80)
        axis.imshow(mels.T, origin="lower", aspect="auto", vmin=-80, vmax=-10, cmap="magma")
        axis.set_title(f"{path.stem}: {title}")
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    pyplot.close(figure)


def loops(folders: list[Path]) -> list[tuple[str, Sound]]:
    """The loops in some folders, at 48 kHz stereo."""
    found = []
    for folder in folders:
        for path in sorted(folder.glob("*.flac")):
            sound = files.load(path).stereo()
            found.append((path.stem, np.asarray(resample(sound.samples, sound.rate, measures.RATE), np.float32)))
    return found


def _held_out(folder: Path, count: int) -> list[tuple[str, Sound]]:
    from recipes.tiny.data.shards import ClipSet

    clips = ClipSet.open(folder, split="validation")
    chosen = np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)
    return [(f"clip {clips.records[i]['genre']} {i}", clips.window(i, 0, 8 * measures.RATE)) for i in chosen]


def _print(rows: dict[str, Numbers]) -> None:
    keys = list(next(iter(rows.values())))
    print(f"{'':28}" + "".join(f"{key:>19}" for key in keys))
    for name, row in rows.items():
        print(f"{name:28}" + "".join(f"{row[key]:19.2f}" for key in keys))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loops", type=Path, nargs="*", default=[Path("examples/loops"), Path("tests/loops")])
    parser.add_argument("--clips", type=Path, help="folder of generated clips; held-out ones are measured")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--params", type=Path, default=ASSET, help=".npz of a run or .safetensors")
    parser.add_argument("--levels", type=int, default=16)
    parser.add_argument("--quiet-db", type=float, default=20.0, help="also measure the level of a copy this much lower")
    parser.add_argument("--tokens", type=Path, help="folder of token shards whose use of the codebooks is measured")
    parser.add_argument("--every", type=int, default=4, help="of the token shards, take every so manieth")
    parser.add_argument("--plot", type=Path, help="folder for pictures")
    parser.add_argument("--save", type=Path, help="folder for decoded sounds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
