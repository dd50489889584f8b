"""A page to hear what each style centroid stands for: the clips nearest to it, as sound. Knows no models."""

from __future__ import annotations

import html
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darius.audio import files
from darius.audio.files import atomic
from finetune.clips import Span, normalised
from finetune.manifest import CLUSTERS_PICTURE
from finetune.sources import Source
from finetune.styles import Styles

FOLDER = "style_report"
NEAREST = 3
EXCERPT_SECONDS = 10

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Styles of {task}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}}
figure{{margin:0 0 1rem}}audio{{width:100%}}img{{max-width:100%}}</style>
<h1>Styles of {task}</h1>
<p>Each centroid is a style that a finetune can be steered to; these are the clips nearest to it.</p>
<img src="../{picture}" alt="The clips by style">
{sections}</html>
"""


def write(
    output: Path, places: Sequence[tuple[Source, Span]], embeddings: NDArray[np.float32], styles: Styles, task: str
) -> Path:
    """Writes `style_report/index.html` and its WAV excerpts into a dataset's folder; returns the page.

    Args:
      places: where each clip's sound is, in the order of `embeddings` [clips, dim].

    Raises:
      BadAudio: an audio file has gone since. OutputFailed: the folder cannot be written.
    """
    folder = output / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    sections = []
    for cluster, centroid in enumerate(styles.centroids):
        figures = []
        distances = np.linalg.norm(embeddings - centroid, axis=1)
        for rank, clip in enumerate(np.argsort(distances, kind="stable")[: min(NEAREST, styles.sizes[cluster])]):
            name = f"centroid_{cluster + 1}_{rank + 1}.wav"
            source, span = places[clip]
            _excerpt(folder / name, source, span)
            figures.append(_figure(name, source, span, float(distances[clip])))
        title = f"<h2>Centroid {cluster + 1} ({styles.sizes[cluster]} clips)</h2>"
        sections.append("\n".join([title, *figures]))
    page = _PAGE.format(task=html.escape(task), picture=CLUSTERS_PICTURE, sections="\n".join(sections))
    with atomic(folder / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / "index.html"


def _excerpt(path: Path, source: Source, span: Span) -> None:
    rate = files.header(source.path, max_seconds=float("inf")).rate
    sound = files.load_part(source.path, span.start, min(span.frames, EXCERPT_SECONDS * rate))
    files.save(path, normalised(sound), subtype="PCM_16", overwrite=True)


def _figure(name: str, source: Source, span: Span, distance: float) -> str:
    caption = html.escape(f"{source.name}, clip {span.index + 1}, distance {distance:.3f}")
    return f'<figure><figcaption>{caption}</figcaption><audio controls preload="none" src="{name}"></audio></figure>'
