"""Pictures of the model card: `python -m recipes.tiny.pictures --out docs/images`.

Log-mel spectrograms, a sound above what became of it: loops through the codec, and loops continued.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darius.audio import files
from darius.audio.mel import log_mel
from darius.audio.resample import to_rate
from recipes.tiny.codec import measures

Sound = NDArray[np.float32]


def draw(path: Path, rows: list[tuple[str, Sound]], seconds: float) -> None:
    """The first seconds of each sound (48 kHz), one above the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(rows), 1, figsize=(10, 2.6 * len(rows)), sharex=True, squeeze=False)
    for axis, (title, sound) in zip(axes[:, 0], rows, strict=True):
        mels = log_mel(sound[: int(seconds * measures.RATE)], measures.RATE, window=2048, hop=512, floor_db=-80)
        extent = (0, len(mels) * 512 / measures.RATE, 0, mels.shape[1])
        axis.imshow(mels.T, origin="lower", aspect="auto", vmin=-80, vmax=-10, cmap="magma", extent=extent)
        axis.set_title(title, fontsize=9)
        axis.set_yticks([])
    axes[-1, 0].set_xlabel("seconds")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=64)
    pyplot.close(figure)


def main() -> None:
    args = _arguments()
    import darius

    model = darius.load(args.model)
    for name, sound in measures.loops(args.loops):
        if name in args.codec:
            decoded = np.asarray(model.codec.decode(model.codec.encode(sound[None])))[0, : len(sound)]
            draw(args.out / f"tiny-codec-{name}.png", [(name, sound), (f"{name} through the codec", decoded)], 5.0)
    for path in (path for folder in args.loops for path in sorted(folder.glob("*.flac"))):
        if path.stem in args.continued:
            played = model.continue_loop(path, seed=args.seed, style=args.style, bars=8)
            loop, music = files.load(path).stereo(), played.waveforms[0]
            rows = [
                (path.stem, np.tile(to_rate(loop, measures.RATE).samples, (8, 1))),
                (f"{path.stem} continued by eight bars", to_rate(music, measures.RATE).samples),
            ]
            draw(args.out / f"tiny-continued-{path.stem}.png", rows, 16.0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--loops", type=Path, nargs="*", default=[Path("examples/loops"), Path("tests/loops")])
    parser.add_argument("--codec", nargs="*", default=["loop_garzul", "loop_electric"], help="loops to show coded")
    parser.add_argument("--continued", nargs="*", default=["loop_garzul", "arovane_beat_c"], help="loops to continue")
    parser.add_argument("--style", nargs="*", default=None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
