"""`dataset.json`: one task name from which every file's name follows, and refusals that name what is missing."""

import dataclasses
import json
from pathlib import Path

import pytest

from darius.errors import BadDataset, InvalidOption
from finetune import manifest
from finetune.manifest import LeftOut, Manifest, SourceFile


def a_manifest(**changes: object) -> Manifest:
    fields = {
        "task": "acid",
        "model": "large",
        "codec_sha256": "c" * 64,
        "style_sha256": "d" * 64,
        "examples": 3,
        "hours": 0.025,
        "cluster_sizes": (2, 1),
        "tempi": {"120": 2},
        "licence": "CC0",
        "files": (SourceFile(path="a/b.wav", sha256="e" * 64, seconds=90.0, clips=3, bpm=120.0),),
        "left_out": (LeftOut(path="c.wav", reason="'c.wav' is silent."),),
    }
    return Manifest(**(fields | changes))  # type: ignore[arg-type]


def a_folder(folder: Path, described: Manifest) -> Path:
    for name in described.file_names():
        (folder / name).write_bytes(b"x")
    described.save(folder)
    return folder


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved = a_manifest(eval_examples=1, eval_hours=0.008)
    a_folder(tmp_path, saved)
    assert manifest.load(tmp_path) == saved
    assert manifest.load(tmp_path, task="acid") == saved


def test_every_name_follows_from_the_task(tmp_path: Path) -> None:
    described = a_manifest(eval_examples=1)
    assert described.eval_task == "acid_eval"
    assert described.examples_file(tmp_path).name == "acid_examples.recordio"
    assert described.eval_file(tmp_path) == tmp_path / "acid_eval_examples.recordio"
    assert a_manifest().eval_file(tmp_path) is None


def test_another_task_name_is_refused_with_the_right_one(tmp_path: Path) -> None:
    a_folder(tmp_path, a_manifest())
    with pytest.raises(InvalidOption, match="is the task 'acid', not 'acid_house'") as caught:
        manifest.load(tmp_path, task="acid_house")
    assert "--task-name acid" in caught.value.hint


def test_a_missing_or_renamed_file_is_named(tmp_path: Path) -> None:
    a_folder(tmp_path, a_manifest())
    (tmp_path / "acid_examples.recordio").rename(tmp_path / "house_examples.recordio")
    with pytest.raises(BadDataset, match=r"lacks acid_examples\.recordio\."):
        manifest.load(tmp_path)


@pytest.mark.parametrize("name", ["", "my music", "a/b", "../x", "acid_eval", "näme", "a-b", "x" * 101])
def test_names_that_cannot_be_tasks_are_refused_with_one_that_can(name: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        manifest.check_task(name)
    assert manifest.check_task(caught.value.hint.split("'")[1])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"task": 3}',
        json.dumps(dataclasses.asdict(a_manifest()) | {"examples": "3"}),
        '{"surprise": 1}',
    ],
)
def test_a_damaged_manifest_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(BadDataset, match=r"dataset\.json"):
        manifest.load(tmp_path)


def test_no_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match="There is no dataset in") as caught:
        manifest.load(tmp_path)
    assert "darius prepare-data" in caught.value.hint
