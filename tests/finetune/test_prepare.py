"""prepare-data whole: the right features in the right files, bad input listed, the same bytes after a kill."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from known_loops import LOOPS
from loop_folders import loop_folder
from typer.testing import CliRunner

from darius.audio import files
from darius.audio.resample import to_rate
from darius.errors import BadAudio, BadDataset, Busy, InvalidOption, OutputExists
from darius.style import steering
from darius_cli.main import app
from finetune import manifest, records
from finetune.clips import normalised
from finetune.journal import FOLDER
from finetune.listening import Listener
from finetune.prepare import PrepareOptions, prepare


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def test_the_files_of_a_dataset_are_there_and_no_work_is_left(dataset: Path) -> None:
    assert set(contents(dataset)) == {
        "loops_examples.recordio",
        "loops_eval_examples.recordio",
        "dataset.json",
        "mean_style_embed.npy",
        "cluster_centroids.npy",
        "style_clusters.png",
    }
    assert not (dataset / FOLDER).exists()


def test_the_manifest_tells_what_is_in_it(dataset: Path, listener: Listener) -> None:
    made = manifest.load(dataset)
    assert (made.task, made.licence, made.model) == ("loops", "CC BY 4.0", "tiny")
    assert (made.examples, made.eval_examples) == (5, 1)
    assert made.hours + made.eval_hours == pytest.approx(sum(file.seconds for file in made.files) / 3600, abs=1e-5)
    assert sum(made.cluster_sizes) == made.examples
    assert made.tempi == {"90": 1, "97": 1, "120": 2, "130": 1, "148": 1}
    assert (made.codec_sha256, made.style_sha256) == (listener.codec_sha256, listener.style_sha256)
    assert [file.path for file in made.files] == sorted(f"{name}.flac" for name in LOOPS)
    assert [file.split for file in made.files].count("eval") == 1


def test_each_example_has_the_codes_of_its_audio_at_minus_1_dbfs(dataset: Path, listener: Listener) -> None:
    made = manifest.load(dataset)
    training = [file.path for file in made.files if file.split == "train"]
    examples = records.read_examples(made.examples_file(dataset))
    assert len(examples) == len(training)
    for path, example in list(zip(training, examples, strict=True))[::4]:  # each length is a program to compile
        loop = files.load(LOOPS[Path(path).stem])
        heard = normalised(to_rate(loop.stereo(), 48_000))
        codes = np.asarray(listener.codec.encode(heard.samples[None], levels=16))[0]
        assert example.acoustic_tokens.shape == (-(-len(heard) // 1920), 16)
        assert (example.acoustic_tokens == codes).mean() > 0.999  # another block length rounds differently
        style = listener.style.load()
        first = style.embed_audio(heard.cut(0, 480_000))
        assert example.style_embeddings is not None
        np.testing.assert_allclose(example.style_embeddings[0], first, atol=1e-5)
        np.testing.assert_array_equal(example.style_tokens, style.tokenize(example.style_embeddings))
        assert len(example.style_tokens) == -(-len(heard) // 480_000)


def test_the_steering_files_are_of_the_training_clips(dataset: Path) -> None:
    assets = steering.load(dataset)
    examples = records.read_examples(manifest.load(dataset).examples_file(dataset))
    means = np.stack([example.style_embeddings.mean(axis=0) for example in examples])  # type: ignore[union-attr]
    assert assets.mean is not None and assets.centroid_count == 3
    np.testing.assert_allclose(assets.mean, means.mean(axis=0), atol=1e-6)


def test_bad_files_and_copies_are_left_out_with_their_reasons(tmp_path: Path, listener: Listener) -> None:
    audio = loop_folder(tmp_path / "audio", ["loop_electric"])
    loop, rate = soundfile.read(LOOPS["loop_electric"], dtype="int16")
    (audio / "text.wav").write_text("not audio")
    shutil.copy(LOOPS["loop_electric"], audio / "renamed.flac")
    soundfile.write(audio / "same_sound.wav", loop, rate)
    soundfile.write(audio / "short.wav", loop[:rate], rate)
    soundfile.write(audio / "silence.wav", np.zeros((3 * rate, 2), np.int16), rate)
    soundfile.write(audio / "long.flac", np.tile(loop, (15, 1)), rate)
    whole = (audio / "long.flac").read_bytes()
    (audio / "long.flac").write_bytes(whole[: len(whole) * 3 // 4])
    made = prepare(listener, PrepareOptions(audio=audio, output=tmp_path / "out", task="x"))
    assert [file.path for file in made.files] == ["loop_electric.flac"]
    assert {entry.path: entry.reason.split(":")[0] for entry in made.left_out} == {
        "long.flac": "'long.flac' is not an audio file that Darius can read, or it is damaged.",
        "renamed.flac": "The same file as loop_electric.flac.",
        "same_sound.wav": "The same sound as loop_electric.flac.",
        "short.wav": "'short.wav' is only 1 s long, and clips have at least 2 s.",
        "silence.wav": "It is silent.",
        "text.wav": "'text.wav' is not an audio file that Darius can read, or it is damaged.",
    }


def test_a_long_file_becomes_clips_of_30_s_and_its_end_can_be_held_out(tmp_path: Path, listener: Listener) -> None:
    loop, rate = soundfile.read(LOOPS["loop_garzul"], dtype="int16")
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "set.flac", np.tile(loop, (10, 1)), rate)  # 80 s
    options = PrepareOptions(
        audio=tmp_path / "audio", output=tmp_path / "out", task="x", validation_split=0.3, style_report=True
    )
    made = prepare(listener, options)
    (file,) = made.files
    assert (file.clips, file.split, file.seconds) == (3, "both", 80.0)
    assert (made.examples, made.eval_examples) == (2, 1)
    frames = [len(example.acoustic_tokens) for example in records.read_examples(made.examples_file(tmp_path / "out"))]
    assert frames == [750, 750]
    page = (tmp_path / "out" / "style_report" / "index.html").read_text()
    sounds = sorted(path.name for path in (tmp_path / "out" / "style_report").glob("*.wav"))
    assert sounds and all(name in page for name in sounds)
    assert files.load(tmp_path / "out" / "style_report" / sounds[0]).duration == 10


def test_nothing_usable_says_why(tmp_path: Path, listener: Listener) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "a.wav").write_text("x")
    with pytest.raises(BadAudio, match=r"No audio could be used\. a\.wav: 'a\.wav' is not an audio file"):
        prepare(listener, PrepareOptions(audio=tmp_path / "audio", output=tmp_path / "out", task="x"))


def test_killed_at_any_moment_it_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, dataset: Path, listener: Listener
) -> None:
    audio, out = loop_folder(tmp_path / "audio"), tmp_path / "out"
    command = [sys.executable, "-m", "darius_cli", "prepare-data", str(audio), "--output-dir", str(out)]
    command += ["--task-name", "loops", "--model", "tiny", "--device", "cpu", "--batch-size", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = out / FOLDER / "journal.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if journal.is_file() and journal.read_bytes().count(b'"clip"') >= 2:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was done before it could be killed"
    options = PrepareOptions(
        audio=audio, output=out, task="loops", num_clusters=3, validation_split=0.05, licence="CC BY 4.0"
    )
    with pytest.raises(BadDataset, match="There is no dataset in"):
        manifest.load(out)
    with pytest.raises(OutputExists, match="was interrupted"):
        prepare(listener, options)
    told = []
    prepare(listener, replace(options, resume=True), lambda *progress: told.append(progress))
    first = next(done for stage, done, total in told if stage == "listening")
    assert first > 0, "clips that were done were done again"
    assert contents(out) == contents(dataset)


def test_several_workers_give_the_same_bytes_as_one(tmp_path: Path, dataset: Path, listener: Listener) -> None:
    options = PrepareOptions(
        audio=loop_folder(tmp_path / "audio"),
        output=tmp_path / "out",
        task="loops",
        num_clusters=3,
        validation_split=0.05,
        licence="CC BY 4.0",
        workers=2,
    )
    prepare(listener, options)
    assert contents(tmp_path / "out") == contents(dataset)


def test_a_dataset_is_not_replaced_unasked(tmp_path: Path, dataset: Path, listener: Listener) -> None:
    shutil.copytree(dataset, tmp_path / "out")
    options = PrepareOptions(audio=dataset.parent / "audio", output=tmp_path / "out", task="loops")
    with pytest.raises(OutputExists, match="There is a dataset in"):
        prepare(listener, options)
    assert prepare(listener, replace(options, resume=True)) == manifest.load(dataset)
    with pytest.raises(InvalidOption, match="is the task 'loops', not 'other'"):
        prepare(listener, replace(options, task="other", resume=True))


def test_two_runs_in_one_folder_do_not_meet(tmp_path: Path, listener: Listener) -> None:
    from filelock import FileLock

    audio = loop_folder(tmp_path / "audio", ["loop_electric"])
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".prepare.lock"), pytest.raises(Busy, match="Another prepare-data is at work"):
        prepare(listener, PrepareOptions(audio=audio, output=tmp_path / "out", task="x"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "my music"}, "cannot be a task's name"),
        ({"num_clusters": 0}, "0 style clusters"),
        ({"validation_split": 0.9}, "split of 0.9"),
        ({"workers": 0}, "0 workers"),
        ({"min_clip_seconds": 1.0}, "at least 1 s"),
    ],
)
def test_options_out_of_range_are_sentences(tmp_path: Path, change: dict[str, object], words: str) -> None:
    options = {"audio": tmp_path, "output": tmp_path, "task": "x"} | change
    with pytest.raises(InvalidOption, match=words):
        PrepareOptions(**options).check()  # type: ignore[arg-type]


def test_the_command_tells_and_prints_json(tmp_path: Path) -> None:
    audio = loop_folder(tmp_path / "audio", ["loop_electric"])
    (audio / "bad.wav").write_text("x")
    command = ["prepare-data", str(audio), "--output-dir", str(tmp_path / "out"), "--task-name", "acid"]
    command += ["--model", "tiny", "--device", "cpu", "--batch-size", "2"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "1 files, 1 clips" in result.output
    assert "bad.wav: 'bad.wav' is not an audio file" in result.output
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 2 and "There is a dataset in" in again.stderr
    told = json.loads(CliRunner().invoke(app, [*command, "--resume", "--json"]).stdout)
    assert (told["task"], told["examples"], told["left_out"][0]["path"]) == ("acid", 1, "bad.wav")
