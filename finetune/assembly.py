"""The last step of `prepare-data`: from noted clips to the dataset's files. Knows no audio and no devices.

The files come out the same, byte for byte, whoever made the clips and however often the run was interrupted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from darius.audio.files import atomic
from darius.errors import BadAudio
from finetune import manifest, records, style_report, styles
from finetune.clips import CLIP_SECONDS, Span
from finetune.journal import Done, Journal
from finetune.listening import Listener
from finetune.manifest import LeftOut, Manifest, SourceFile

if TYPE_CHECKING:
    from finetune.prepare import Planned, PrepareOptions

REASONS_SHOWN = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """A file's clips that are in the dataset, and which of them are held out."""

    file: Planned
    spans: tuple[Span, ...]
    held_out: tuple[Span, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(self.file.seconds(span) for span in self.spans)

    @property
    def split(self) -> str:
        return "train" if not self.held_out else "eval" if self.held_out == self.spans else "both"

    def training(self) -> tuple[Span, ...]:
        return tuple(span for span in self.spans if span not in self.held_out)


def assemble(
    listener: Listener,
    options: PrepareOptions,
    planned: Sequence[Planned],
    left_out: Sequence[LeftOut],
    journal: Journal,
) -> Manifest:
    """Writes the dataset's files, `dataset.json` last; raises as `prepare.prepare`."""
    kept, more = _choose(planned, journal)
    left_out = sorted((*left_out, *more), key=lambda entry: entry.path)
    if not kept:
        raise _nothing(left_out)
    kept = _hold_out(kept, options.validation_split)
    training = [(entry.file, span) for entry in kept for span in entry.training()]
    held_out = [(entry.file, span) for entry in kept for span in entry.held_out]
    described = Manifest(
        task=options.task,
        model=listener.name,
        codec_sha256=listener.codec_sha256,
        style_sha256=listener.style_sha256,
        model_sha256=listener.model_sha256,
        examples=len(training),
        eval_examples=len(held_out),
        hours=_hours(training),
        eval_hours=_hours(held_out),
        levels=listener.levels,
        frame_rate=listener.codec.sample_rate // listener.codec.frame_samples,
        clip_seconds=CLIP_SECONDS,
        min_clip_seconds=options.min_clip_seconds,
        filter_quiet=options.filter_quiet,
        tempi=_tempi(kept),
        licence=options.licence,
        files=tuple(_source_file(entry) for entry in kept),
        left_out=tuple(left_out),
    )
    output = options.output
    embeddings = _write_examples(described.examples_file(output), training, journal)
    eval_file = described.eval_file(output)
    if eval_file is not None:
        _write_examples(eval_file, held_out, journal)
    found = styles.find_styles(embeddings, options.num_clusters)
    styles.save(output, found)
    styles.draw(output / manifest.CLUSTERS_PICTURE, embeddings, found, f"Styles of {options.task}")
    if options.style_report:
        places = [(file.source, span) for file, span in training]
        style_report.write(output, places, embeddings, found, options.task)
    described = dataclasses.replace(described, cluster_sizes=found.sizes)
    described.save(output)
    return described


def _choose(planned: Sequence[Planned], journal: Journal) -> tuple[list[Kept], list[LeftOut]]:
    """Files with usable clips; and what is left out: damaged files, copies in another format, refused clips."""
    kept: list[Kept] = []
    left_out: list[LeftOut] = []
    known: dict[str, str] = {}
    for file in planned:
        noted = {span: journal.clips[file.key(span)] for span in file.spans}
        sound = hashlib.sha256("".join(str(done.facts["audio"]) for done in noted.values()).encode()).hexdigest()
        usable = tuple(span for span, done in noted.items() if done.size)
        reason = _damage(noted.values()) or (f"The same sound as {known[sound]}." if sound in known else "")
        if not reason and len(usable) < len(noted):
            reason = _refusals([done for done in noted.values() if not done.size], len(noted))
            left_out.append(LeftOut(path=file.source.name, reason=reason))
        elif reason:
            left_out.append(LeftOut(path=file.source.name, reason=reason))
            continue
        known[sound] = file.source.name
        if usable:
            kept.append(Kept(file=file, spans=usable))
    return kept, left_out


def _damage(noted: object) -> str:
    return next((str(done.facts["damaged"]) for done in noted if "damaged" in done.facts), "")  # type: ignore[attr-defined]


def _refusals(refused: Sequence[Done], clips: int) -> str:
    kinds = Counter(str(done.facts.get("refused", "unusable")) for done in refused)
    if len(refused) == clips:
        return f"It is {' and '.join(sorted(kinds))}."
    told = " and ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return f"Of its {clips} clips, {told}."


def _nothing(left_out: Sequence[LeftOut]) -> BadAudio:
    shown = " ".join(f"{entry.path}: {entry.reason}" for entry in left_out[:REASONS_SHOWN])
    more = f" And {len(left_out) - REASONS_SHOWN} more." if len(left_out) > REASONS_SHOWN else ""
    return BadAudio(f"No audio could be used. {shown}{more}", "Give loops or songs of 2 s or more.")


def _hold_out(kept: Sequence[Kept], part: float) -> list[Kept]:
    """Marks about that part of the audio as held out: whole files, chosen by their hash; of a single file, its end."""
    if not part:
        return list(kept)
    if len(kept) == 1:
        spans = kept[0].spans
        count = min(len(spans) - 1, max(1, round(part * len(spans))))
        return [dataclasses.replace(kept[0], held_out=spans[len(spans) - count :])]
    wanted = part * sum(entry.seconds for entry in kept)
    chosen: set[str] = set()
    taken = 0.0
    for entry in sorted(kept, key=lambda entry: entry.file.inspected.sha256)[:-1]:
        if taken >= wanted:
            break
        chosen.add(entry.file.inspected.sha256)
        taken += entry.seconds
    return [
        dataclasses.replace(entry, held_out=entry.spans) if entry.file.inspected.sha256 in chosen else entry
        for entry in kept
    ]


def _write_examples(path: Path, places: Sequence[tuple[Planned, Span]], journal: Journal) -> NDArray[np.float32]:
    """Writes the clips' records into one file; returns each clip's mean style embedding, float32 [clips, dim]."""
    means = []
    with atomic(path) as temporary, temporary.open("wb") as file:
        for planned, span in places:
            framed = journal.record(planned.key(span))
            (data,) = records.read_records(io.BytesIO(framed), journal.folder.name)  # checks it
            embeddings = records.decode(data, planned.source.name).style_embeddings
            assert embeddings is not None  # prepare-data wrote it
            means.append(embeddings.mean(axis=0))
            file.write(framed)
    return np.asarray(means, np.float32)


def _hours(places: Sequence[tuple[Planned, Span]]) -> float:
    return round(sum(file.seconds(span) for file, span in places) / 3600, 6)


def _tempi(kept: Sequence[Kept]) -> dict[str, int]:
    found = Counter(round(entry.file.inspected.bpm) for entry in kept if entry.file.inspected.bpm)
    return {str(bpm): count for bpm, count in sorted(found.items())}


def _source_file(entry: Kept) -> SourceFile:
    inspected = entry.file.inspected
    return SourceFile(
        path=entry.file.source.name,
        sha256=inspected.sha256,
        seconds=round(entry.seconds, 3),
        clips=len(entry.spans),
        split=entry.split,
        bpm=round(inspected.bpm, 3) if inspected.bpm else None,
    )
