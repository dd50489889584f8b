"""From a folder of audio to a dataset: find, inspect, listen in batches, note each clip, put the files together.

Knows the order of work and how it survives interruption; what a clip is, and how it sounds to a model, others know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from darius.audio.files import Header
from darius.errors import BadAudio, Busy, InvalidOption, OutputExists, OutputFailed
from finetune import assembly, clips, manifest, pool, records, sources, styles
from finetune.clips import Cutting, Span
from finetune.journal import Journal
from finetune.listening import BLOCK_SECONDS, Encoding, Listener
from finetune.manifest import LeftOut, Manifest
from finetune.pool import Heard, Pool
from finetune.records import Example
from finetune.sources import Inspected, Source

Progress = Callable[[str, float, float], None]
"""Told of a stage ("inspecting" in files, "listening" in seconds of audio), how much is done, of how much."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """What to prepare, and how.

    Attributes:
      audio: the folder of audio files; output: the dataset's folder.
      task: the task's name.
      extensions: of the files that are taken.
      min_clip_seconds, filter_quiet: see `clips.Cutting`.
      num_clusters: style clusters.
      validation_split: part of the audio that is held out, from 0 to 0.5; whole files, where there are several.
      licence: of the audio, in words.
      workers: processes; None chooses.
      resume: continue an interrupted run; force: replace what is there.
      style_report: write sound excerpts of each style cluster.
    """

    audio: Path
    output: Path
    task: str
    extensions: Sequence[str] = sources.EXTENSIONS
    min_clip_seconds: float = clips.SHORTEST_SECONDS
    filter_quiet: bool = False
    num_clusters: int = 5
    validation_split: float = 0.0
    licence: str = ""
    workers: int | None = None
    resume: bool = False
    force: bool = False
    style_report: bool = False

    def check(self) -> None:
        """Raises InvalidOption."""
        manifest.check_task(self.task)
        Cutting(min_clip_seconds=self.min_clip_seconds).check()
        if not 1 <= self.num_clusters <= 100:
            raise InvalidOption(f"{self.num_clusters} style clusters are not possible.", "Give 1 to 100.")
        if not 0 <= self.validation_split <= 0.5:
            raise InvalidOption(f"A validation split of {self.validation_split:g} is not possible.", "Give 0 to 0.5.")
        if self.workers is not None and self.workers < 1:
            raise InvalidOption(f"{self.workers} workers cannot work.", "Give 1 or more.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
    """A file that is to become clips."""

    source: Source
    inspected: Inspected
    spans: tuple[Span, ...]

    def key(self, span: Span) -> str:
        """The journal's name of a clip."""
        return f"{self.inspected.sha256}:{span.index}"

    def seconds(self, span: Span) -> float:
        return span.frames / self.inspected.header.rate


def prepare(listener: Listener, options: PrepareOptions, progress: Progress | None = None) -> Manifest:
    """Makes a dataset; an interrupted one is continued where it was.

    Raises:
      InvalidOption: an option is out of range, or there is no audio.
      BadAudio: no clip could be used; the sentence gives the first reasons.
      OutputExists: there is a dataset, or half of one, and neither resume nor force was asked for.
      Busy: another run is at work in this folder.
      OutputFailed, OutOfMemory, MissingDependency.
    """
    from filelock import FileLock, Timeout

    options.check()
    styles.check_installed()
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        with FileLock(options.output / ".prepare.lock", timeout=0):
            return _prepare(listener, options, progress or _silent)
    except Timeout:
        raise Busy(f"Another prepare-data is at work in {options.output}.", "Wait until it is done.") from None
    except OSError as error:
        message = f"The folder {options.output} cannot be written: {error.strerror or error}."
        raise OutputFailed(message, "Free some space, or choose another --output-dir.") from None


def _prepare(listener: Listener, options: PrepareOptions, progress: Progress) -> Manifest:
    described = options.output / manifest.FILE_NAME
    if described.is_file():
        if options.resume:  # nothing was interrupted
            return manifest.load(options.output, task=options.task)
        if not options.force:
            raise OutputExists(f"There is a dataset in {options.output}.", "Choose another folder, or use --force.")
        described.unlink()
    found = sources.find(options.audio, options.extensions, outside=options.output)
    cutting = Cutting(
        min_clip_seconds=options.min_clip_seconds,
        filter_quiet=options.filter_quiet,
        style_rate=listener.style_rate,
        codec_rate=listener.codec.sample_rate,
    )
    settings = dataclasses.asdict(cutting) | {"codec": listener.codec_sha256, "style": listener.style_sha256}
    count = options.workers or pool.default_workers(len(found))
    with Journal(options.output, settings, resume=options.resume, restart=options.force) as journal:
        with pool.workers(count) as workers:
            inspected = _inspect(found, journal, workers, progress)
            planned, left_out = plan(inspected, cutting)
            _listen(listener, planned, cutting, journal, workers, progress)
        made = assembly.assemble(listener, options, planned, left_out, journal)
        journal.remove()
    return made


def _inspect(
    found: Sequence[Source], journal: Journal, workers: Pool, progress: Progress
) -> list[tuple[Source, Inspected | str]]:
    """What each file is, or what is wrong with it."""
    keys = {source.name: _file_key(source) for source in found}
    new = [source for source in found if keys[source.name] not in journal.files]
    done = len(found) - len(new)
    progress("inspecting", done, len(found))
    for source, result in zip(new, workers.map(pool.inspect, ((source.path,) for source in new)), strict=True):
        facts = {"problem": result} if isinstance(result, str) else dataclasses.asdict(result)
        journal.add_file(keys[source.name], facts)
        done += 1
        progress("inspecting", done, len(found))
    return [(source, _inspected(journal.files[keys[source.name]])) for source in found]


def _file_key(source: Source) -> str:
    try:
        stat = source.path.stat()
    except OSError:  # it is gone, or its folder is shut: inspecting it will say so
        return f"{source.name}:?"
    return f"{source.name}:{stat.st_size}:{stat.st_mtime_ns}"


def _inspected(facts: dict[str, Any]) -> Inspected | str:
    if "problem" in facts:
        return str(facts["problem"])
    return Inspected(sha256=facts["sha256"], header=Header(**facts["header"]), bpm=facts["bpm"])


def plan(inspected: Sequence[tuple[Source, Inspected | str]], cutting: Cutting) -> tuple[list[Planned], list[LeftOut]]:
    """Files with their clips, and files that are left out with the reason: damaged, too short, or there already."""
    planned: list[Planned] = []
    left_out: list[LeftOut] = []
    known: dict[str, str] = {}
    for source, facts in inspected:
        if isinstance(facts, str):
            left_out.append(LeftOut(path=source.name, reason=facts))
        elif facts.sha256 in known:
            left_out.append(LeftOut(path=source.name, reason=f"The same file as {known[facts.sha256]}."))
        else:
            try:
                spans = tuple(clips.spans(facts.header, source.path.name, cutting))
            except BadAudio as error:
                left_out.append(LeftOut(path=source.name, reason=error.message))
                continue
            known[facts.sha256] = source.name
            planned.append(Planned(source=source, inspected=facts, spans=spans))
    return planned, left_out


def _listen(
    listener: Listener,
    planned: Sequence[Planned],
    cutting: Cutting,
    journal: Journal,
    workers: Pool,
    progress: Progress,
) -> None:
    """Notes every clip that is not noted yet."""
    todo = [(file, span) for file in planned for span in file.spans if file.key(span) not in journal.clips]
    total = sum(file.seconds(span) for file in planned for span in file.spans)
    done = total - sum(file.seconds(span) for file, span in todo)
    progress("listening", done, total)
    heard = workers.map(pool.hear, ((file.source.path, span, cutting, listener.style) for file, span in todo))
    started = _encodings(listener, _batches(zip(todo, heard, strict=True), listener))
    for batch, encoding in _one_ahead(started):
        journal.add_clips(_features(batch, encoding))
        done += sum(file.seconds(span) for (file, span), _ in batch)
        progress("listening", done, total)


_Item = tuple[tuple[Planned, Span], Heard]
Started = TypeVar("Started")


def _batches(items: Iterator[_Item], listener: Listener) -> Iterator[list[_Item]]:
    """Clips that fill a batch of about the same length; those without sound at once."""
    waiting: dict[int, list[_Item]] = {}
    for item in items:
        codec = item[1].codec
        if codec is None:
            yield [item]
            continue
        blocks = -(-len(codec) // (BLOCK_SECONDS * listener.codec.sample_rate))
        batch = waiting.setdefault(blocks, [])
        batch.append(item)
        if len(batch) == listener.batch:
            yield waiting.pop(blocks)
    yield from waiting.values()


def _encodings(listener: Listener, batches: Iterator[list[_Item]]) -> Iterator[tuple[list[_Item], Encoding | None]]:
    """Batches on their way through the codec: either all of one has sound, or nothing has."""
    for batch in batches:
        sounds = [heard.codec for _, heard in batch if heard.codec is not None]
        yield batch, listener.encode(sounds) if sounds else None


def _one_ahead(items: Iterator[Started]) -> Iterator[Started]:
    """The same items, each when the next is there: so the device encodes a batch while the one before is noted."""
    before: list[Started] = []
    for item in items:
        yield from before
        before = [item]
    yield from before


def _features(batch: Sequence[_Item], encoding: Encoding | None) -> dict[str, tuple[dict[str, Any], bytes]]:
    """The journal's entries of a batch."""
    codes = iter(encoding.result() if encoding else ())
    entries = {}
    for (file, span), heard in batch:
        facts = {"audio": heard.audio_sha256, "seconds": heard.seconds}
        facts |= {name: value for name in ("refused", "damaged") if (value := getattr(heard, name))}
        data = b""
        if heard.codec is not None and heard.style_tokens is not None:
            example = Example(
                acoustic_tokens=next(codes), style_tokens=heard.style_tokens, style_embeddings=heard.embeddings
            )
            data = records.encode(example)
        entries[file.key(span)] = (facts, data)
    return entries


def _silent(stage: str, done: float, total: float) -> None:
    pass
