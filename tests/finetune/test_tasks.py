"""The original's task under seqio: names from the manifest, ids worked out by hand, windows as our own trainer's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darius.errors import BadDataset
from darius.tokens import MASK_ID, TokenLayout
from finetune import manifest, records, tasks, windows
from finetune.manifest import Manifest
from finetune.records import Example
from finetune.windows import Place

seqio = pytest.importorskip("seqio", reason="seqio is not installed")
LAYOUT = TokenLayout()


def a_clip(seconds: int, *, levels: int = 64) -> Example:
    """Codes that tell their place: frame f of level q has (f + 3 q) mod 1024; style row r of level q has 100 r + q."""
    rows = np.arange(-(-seconds // 10))[:, None]
    frames = np.arange(25 * seconds + 7)[:, None]  # a part of a second at the end is never used
    return Example(
        acoustic_tokens=np.asarray((frames + 3 * np.arange(levels)) % 1024, np.int32),
        style_tokens=np.asarray(100 * rows + np.arange(12), np.int32),
    )


def a_dataset(folder: Path, task: str, clips: list[Example], held_out: list[Example] | None = None) -> Manifest:
    folder.mkdir(exist_ok=True)
    described = Manifest(
        task=task,
        model="large",
        codec_sha256="c",
        style_sha256="s",
        examples=len(clips),
        eval_examples=len(held_out or ()),
        hours=1.0,
        levels=clips[0].acoustic_tokens.shape[1],
    )
    for name in described.file_names():
        (folder / name).touch()
    records.write_examples(described.examples_file(folder), clips)
    if eval_file := described.eval_file(folder):
        records.write_examples(eval_file, held_out or ())
    described.save(folder)
    return described


def rows(task: str, *, seed: int = 0, split: str = "train", epochs: int = 1) -> list[dict[str, Any]]:
    found = seqio.get_mixture_or_task(task).get_dataset(
        sequence_length=None, split=split, shuffle=False, seed=seed, num_epochs=epochs
    )
    return list(found.as_numpy_iterator())


@pytest.fixture(autouse=True)
def registry_as_it_was() -> Iterator[None]:
    before = set(seqio.TaskRegistry.names())
    yield
    for name in set(seqio.TaskRegistry.names()) - before:
        seqio.TaskRegistry.remove(name)


def test_names_and_features_are_the_originals(tmp_path: Path) -> None:
    a_dataset(tmp_path, "acid", [a_clip(30)])
    assert tasks.register(tmp_path) == "acid"
    for name in ("acid", "acid_eval"):
        task = seqio.get_mixture_or_task(name)
        assert set(task.output_features) == {"inputs", "targets"}
        for feature in task.output_features.values():
            assert isinstance(feature.vocabulary, seqio.PassThroughVocabulary)
            assert feature.vocabulary.vocab_size == 29698
            assert not feature.add_eos
            assert feature.dtype == "int32"
        assert set(task.splits) == {"train", "validation"}


def test_a_clip_of_2_s_has_one_window_and_seqio_agrees_with_the_hand(tmp_path: Path) -> None:
    a_dataset(tmp_path, "two", [a_clip(2)])
    tasks.register(tmp_path)
    targets = [2 + 1024 * q + (f + 3 * q) % 1024 for f in range(50) for q in range(16)]
    style = [17410 + 1024 * q + q for q in range(6)]
    task = seqio.get_mixture_or_task("two_eval")
    found = task.get_dataset(sequence_length={"inputs": 1006, "targets": 800}, split="train", shuffle=False, seed=1)
    seqio.test_utils.assert_dataset(found, {"inputs": [1] * 1000 + style, "targets": targets, "full_targets": targets})
    (row,) = rows("two")
    assert row["targets"].tolist() == targets
    assert row["inputs"].tolist() in ([1] * 1000 + style, [1] * 1006)


def test_every_window_is_one_that_our_own_trainer_could_cut(tmp_path: Path) -> None:
    clip = a_clip(30)
    a_dataset(tmp_path, "thirty", [clip] * 300)
    tasks.register(tmp_path)
    contexts, masked = [], []
    for row in rows("thirty", seed=4):
        assert (row["inputs"].dtype, row["inputs"].shape) == (np.int32, (1006,))
        assert (row["targets"].dtype, row["targets"].shape) == (np.int32, (800,))
        context = int(np.sum(row["inputs"][:1000] != MASK_ID)) // 100
        end = int(row["targets"][0] - 2) // 25  # the first level's code is the frame
        masked.append(bool(row["inputs"][1000] == MASK_ID))
        place = Place(start=end - context, context=context)
        inputs, targets = windows.window_at(clip, LAYOUT, place, styled=not masked[-1])
        np.testing.assert_array_equal(row["inputs"], inputs)
        np.testing.assert_array_equal(row["targets"], targets)
        contexts.append(context)
    assert np.mean(np.array(contexts) == 10) == pytest.approx(0.75, abs=0.08)
    assert set(contexts) == set(range(11))
    assert np.mean(masked) == pytest.approx(0.1, abs=0.06)


def test_each_epoch_draws_new_windows(tmp_path: Path) -> None:
    a_dataset(tmp_path, "epochs", [a_clip(30)] * 20)
    tasks.register(tmp_path)
    both = [row["targets"].tobytes() for row in rows("epochs", epochs=2)]
    assert sum(a == b for a, b in zip(both[:20], both[20:], strict=True)) < 10


def test_the_same_seed_draws_the_same_windows(tmp_path: Path) -> None:
    a_dataset(tmp_path, "seeds", [a_clip(30)] * 10)
    tasks.register(tmp_path)
    a, b, c = ([row["inputs"].tobytes() for row in rows("seeds", seed=seed)] for seed in (1, 1, 2))
    assert a == b != c


def test_evaluation_has_targets_of_10_s_where_there_is_room_and_never_masks_the_style(tmp_path: Path) -> None:
    described = a_dataset(tmp_path, "long", [a_clip(30)], [a_clip(30), a_clip(12), a_clip(7)])
    tasks.register(tmp_path)
    found = rows(described.eval_task, split="validation")
    assert [len(row["targets"]) for row in found] == [4000, 4000, 2400]
    for row in found:
        np.testing.assert_array_equal(row["full_targets"], row["targets"])
        assert (row["inputs"][1000:] != MASK_ID).all()
    assert len(rows("long", split="validation")) == 3


def test_a_dataset_can_be_registered_again_after_it_was_made_anew(tmp_path: Path) -> None:
    a_dataset(tmp_path, "again", [a_clip(30)])
    tasks.register(tmp_path)
    a_dataset(tmp_path, "again", [a_clip(30)] * 3)
    tasks.register(tmp_path)
    assert len(rows("again")) == 3


def test_a_dataset_that_is_not_whole_is_not_registered(tmp_path: Path) -> None:
    a_dataset(tmp_path, "part", [a_clip(30)])
    (tmp_path / "part_examples.recordio").unlink()
    with pytest.raises(BadDataset, match=r"lacks part_examples\.recordio"):
        tasks.register(tmp_path)


def test_a_real_dataset_of_tiny_plays_through_seqio(dataset: Path) -> None:
    tasks.register(dataset)
    made = manifest.load(dataset)
    found = rows(made.task)
    assert len(found) == made.examples
    for row in found:
        levels = (row["targets"].reshape(50, 16) - 2) // 1024
        assert (levels == np.arange(16)).all()
