"""The journal of a dataset in the making: every line that is there is true, whatever ended the run."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darius.errors import BadDataset, InvalidOption, OutputExists
from finetune.journal import FOLDER, Journal

SETTINGS = {"min_clip_seconds": 2.0, "codec": "abc"}


def begun(output: Path, clips: int = 3) -> list[bytes]:
    """A journal of so many clips, and their framed records."""
    with Journal(output, SETTINGS, resume=False) as journal:
        journal.add_file("a.wav:10:5", {"sha256": "f" * 64})
        for i in range(clips):
            journal.add_clips({f"ff:{i}": ({"audio": str(i)}, b"example %d" % i)})
        journal.add_clips({"ff:silent": ({"refused": "silent"}, b"")})
        return [journal.record(f"ff:{i}") for i in range(clips)]


def test_a_run_goes_on_where_another_ended(tmp_path: Path) -> None:
    written = begun(tmp_path)
    with Journal(tmp_path, SETTINGS, resume=True) as journal:
        assert journal.files == {"a.wav:10:5": {"sha256": "f" * 64}}
        assert list(journal.clips) == ["ff:0", "ff:1", "ff:2", "ff:silent"]
        assert journal.clips["ff:silent"].size == 0
        journal.add_clips({"ff:3": ({}, b"one more")})
        assert [journal.record(f"ff:{i}") for i in range(3)] == written
    with Journal(tmp_path, SETTINGS, resume=True) as journal:
        assert b"one more" in journal.record("ff:3")


@settings(deadline=None)  # writes to a disk that others use too
@given(st.integers(0, 400), st.binary(max_size=30))
def test_a_run_killed_while_writing_loses_only_what_was_not_noted(
    tmp_path_factory: pytest.TempPathFactory, cut: int, torn: bytes
) -> None:
    output = tmp_path_factory.mktemp("journal")
    written = begun(output)
    lines, examples = (output / FOLDER / name for name in ("journal.jsonl", "examples.records"))
    data = lines.read_bytes()
    lines.write_bytes(data[: len(data) - cut % (len(data) + 1)])
    with examples.open("ab") as file:
        file.write(torn)
    with Journal(output, SETTINGS, resume=True) as journal:
        kept = [key for key in journal.clips if journal.clips[key].size]
        assert kept == [f"ff:{i}" for i in range(len(kept))]
        assert [journal.record(key) for key in kept] == written[: len(kept)]
        journal.add_clips({"new": ({}, b"more")})
        assert b"more" in journal.record("new")
        assert [journal.record(key) for key in kept] == written[: len(kept)]


def test_half_a_dataset_is_neither_thrown_away_nor_continued_unasked(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(OutputExists) as caught:
        Journal(tmp_path, SETTINGS, resume=False)
    assert "--resume" in caught.value.hint and "--force" in caught.value.hint
    with Journal(tmp_path, SETTINGS, resume=False, restart=True) as journal:
        assert not journal.clips


def test_other_settings_are_named_and_refused(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(InvalidOption, match=r"other settings: min_clip_seconds was 2\.0\."):
        Journal(tmp_path, SETTINGS | {"min_clip_seconds": 5.0}, resume=True)


@pytest.mark.parametrize("damage", ["lines", "records"])
def test_a_damaged_work_folder_is_told(tmp_path: Path, damage: str) -> None:
    begun(tmp_path)
    if damage == "lines":
        (tmp_path / FOLDER / "journal.jsonl").write_text("{not json}\n")
    else:
        (tmp_path / FOLDER / "examples.records").write_bytes(b"short")
    with pytest.raises(BadDataset, match="is damaged") as caught:
        Journal(tmp_path, SETTINGS, resume=True)
    assert "--force" in caught.value.hint


def test_the_work_folder_goes_when_the_dataset_is_there(tmp_path: Path) -> None:
    with Journal(tmp_path, SETTINGS, resume=False) as journal:
        journal.remove()
    assert list(tmp_path.iterdir()) == []
