"""What `prepare-data` has done so far, on disk: one file of records, one of lines that say where they are.

An example's bytes are written before the line that names it, so whatever kills the run, each line that is there is
true, and what follows the last line is forgotten. Knows bytes and facts; knows no audio.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from darius.errors import BadDataset, InvalidOption, OutputExists, OutputFailed
from finetune import records

FOLDER = ".prepare"
_SETTINGS, _LINES, _RECORDS = "settings.json", "journal.jsonl", "examples.records"


@dataclass(frozen=True, kw_only=True)
class Done:
    """A clip that is through: its facts, and where its record lies (size 0: it was refused)."""

    facts: Mapping[str, Any]
    offset: int = 0
    size: int = 0


class Journal:
    """The journal of one dataset in the making; closed by leaving its `with` block.

    Args:
      output: the dataset's folder.
      settings: what the examples depend on; a journal of other settings cannot be continued.
      resume: continue one that is there.
      restart: throw away one that is there.

    Raises:
      OutputExists: there is one, and neither was asked for.
      InvalidOption: it is of other settings.
      OutputFailed: the folder cannot be written.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any], *, resume: bool, restart: bool = False) -> None:
        self.folder = output / FOLDER
        self.clips: dict[str, Done] = {}
        self.files: dict[str, dict[str, Any]] = {}
        try:
            if restart:
                shutil.rmtree(self.folder, ignore_errors=True)
            if (self.folder / _SETTINGS).is_file():
                self._check(settings, output, resume)
            else:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True)
                (self.folder / ".new").write_text(json.dumps(dict(settings)), encoding="utf-8")
                (self.folder / ".new").replace(self.folder / _SETTINGS)
            end = self._read()
            self._records: BinaryIO = (self.folder / _RECORDS).open("r+b" if end else "w+b")
            self._records.truncate(end)
            self._records.seek(end)
            self._lines = (self.folder / _LINES).open("a", encoding="utf-8")
        except OSError as error:
            raise _failed(self.folder, error) from None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        self._records.close()

    def add_file(self, key: str, facts: Mapping[str, Any]) -> None:
        """Notes what was found out about a file."""
        self.files[key] = dict(facts)
        self._write({"file": key, "facts": facts})

    def add_clips(self, clips: Mapping[str, tuple[Mapping[str, Any], bytes]]) -> None:
        """Notes clips: key -> (facts, serialised example; b"" of a clip that was refused)."""
        try:
            for key, (facts, data) in clips.items():
                offset = self._records.tell()
                if data:
                    records.write_record(self._records, data)
                self.clips[key] = Done(facts=facts, offset=offset, size=self._records.tell() - offset)
            self._records.flush()
            os.fsync(self._records.fileno())
        except OSError as error:
            raise _failed(self.folder, error) from None
        for key in clips:
            done = self.clips[key]
            self._write({"clip": key, "facts": done.facts, "offset": done.offset, "size": done.size})

    def record(self, key: str) -> bytes:
        """A clip's record with its framing, checked. Raises BadDataset when the disk has lost it."""
        done = self.clips[key]
        place = self._records.tell()
        self._records.seek(done.offset)
        data = self._records.read(done.size)
        self._records.seek(place)
        if len(data) != done.size:
            raise self._damaged()
        return data

    def remove(self) -> None:
        """Throws the work folder away: the dataset is there."""
        self.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check(self, settings: Mapping[str, Any], output: Path, resume: bool) -> None:
        if not resume:
            raise OutputExists(
                f"A run of prepare-data was interrupted in {output}.",
                "Continue it with --resume, or start again with --force.",
            )
        known = json.loads((self.folder / _SETTINGS).read_text(encoding="utf-8"))
        other = sorted(name for name in {*known, *settings} if known.get(name) != settings.get(name))
        if other:
            told = ", ".join(f"{name} was {known.get(name)}" for name in other)
            raise InvalidOption(
                f"The interrupted run in {output} had other settings: {told}.",
                "Give the same settings, or start again with --force.",
            )

    def _read(self) -> int:
        """Reads the lines; the end of the records that they name. A half line at the end is cut off."""
        path = self.folder / _LINES
        data = path.read_bytes() if path.is_file() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) != len(data):
            path.write_bytes(whole)
        end = 0
        try:
            for line in whole.splitlines():
                entry = json.loads(line)
                if "file" in entry:
                    self.files[entry["file"]] = entry["facts"]
                else:
                    done = Done(facts=entry["facts"], offset=entry["offset"], size=entry["size"])
                    self.clips[entry["clip"]] = done
                    end = max(end, done.offset + done.size)
        except (ValueError, KeyError, TypeError):
            raise self._damaged() from None
        records_file = self.folder / _RECORDS
        if end and (not records_file.is_file() or records_file.stat().st_size < end):
            raise self._damaged()
        return end

    def _damaged(self) -> BadDataset:
        return BadDataset(f"The work folder {self.folder} is damaged.", "Start again with --force.")

    def _write(self, entry: Mapping[str, Any]) -> None:
        try:
            self._lines.write(json.dumps(entry) + "\n")
            self._lines.flush()
        except OSError as error:
            raise _failed(self.folder, error) from None


def _failed(folder: Path, error: OSError) -> OutputFailed:
    return OutputFailed(f"{folder} cannot be written: {error.strerror}.", "Free some space, or choose another folder.")
