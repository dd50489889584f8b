"""TFRecord files without TensorFlow: it reads what we write, we read what it writes, and the bytes are equal."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darius.errors import BadDataset
from finetune import records
from finetune.records import Example


def an_example(frames: int = 60, levels: int = 64, clips: int = 1, seed: int = 0) -> Example:
    rng = np.random.default_rng(seed)
    return Example(
        acoustic_tokens=rng.integers(0, 1024, (frames, levels), np.int32),
        style_tokens=rng.integers(0, 1024, (clips, 12), np.int32),
        style_embeddings=rng.standard_normal((clips, 768), np.float32),
    )


def assert_equal(a: Example, b: Example) -> None:
    for name in (records.ACOUSTIC, records.STYLE, records.EMBEDDINGS):
        ours, theirs = getattr(a, name), getattr(b, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "x.recordio"
    written = [an_example(seed=seed, frames=50 + seed, clips=1 + seed) for seed in range(3)]
    assert records.write_examples(path, written) == 3
    read = records.read_examples(path)
    assert len(read) == 3
    for a, b in zip(written, read, strict=True):
        assert_equal(a, b)
    read[0].acoustic_tokens[0, 0] = 5  # the arrays are the reader's own


def test_tensorflow_reads_our_file(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    path, example = tmp_path / "x.recordio", an_example(clips=3)
    records.write_examples(path, [example])
    (data,) = [item.numpy() for item in tf.data.TFRecordDataset(str(path))]
    proto = tf.train.Example.FromString(data)
    feature = proto.features.feature
    assert set(feature) == {"acoustic_tokens", "style_tokens", "style_embeddings"}
    for name, kind in (("acoustic_tokens", tf.int32), ("style_tokens", tf.int32), ("style_embeddings", tf.float32)):
        tensor = tf.io.parse_tensor(feature[name].bytes_list.value[0], kind)
        np.testing.assert_array_equal(tensor.numpy(), getattr(example, name))


def test_we_read_tensorflows_file_and_write_the_same_bytes(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    example = an_example(clips=2)
    proto = tf.train.Example()
    for name in (records.ACOUSTIC, records.EMBEDDINGS, records.STYLE):
        tensor = tf.io.serialize_tensor(getattr(example, name)).numpy()
        assert tensor == records.serialise_tensor(getattr(example, name))
        proto.features.feature[name].bytes_list.value.append(tensor)
    theirs, ours = tmp_path / "theirs.recordio", tmp_path / "ours.recordio"
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        writer.write(proto.SerializeToString(deterministic=True))
    records.write_examples(ours, [example])
    assert_equal(records.read_examples(theirs)[0], example)
    assert theirs.read_bytes() == ours.read_bytes()


def test_features_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    example = an_example()
    proto = tf.train.Example.FromString(records.encode(example))
    proto.features.feature["label"].int64_list.value.append(7)
    proto.features.feature["gain"].float_list.value.append(0.5)
    assert_equal(records.decode(proto.SerializeToString(), "it"), example)


def test_embeddings_may_be_left_out() -> None:
    full = an_example()
    bare = Example(acoustic_tokens=full.acoustic_tokens, style_tokens=full.style_tokens)
    assert_equal(records.decode(records.encode(bare), "it"), bare)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match=r"none\.recordio cannot be read \(No such file"):
        records.read_examples(tmp_path / "none.recordio")


@pytest.mark.parametrize("keep", [5, 12, 13, -1, -4])
def test_a_file_cut_short_is_told(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x.recordio"
    records.write_examples(path, [an_example()])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadDataset, match=r"cut short|damaged"):
        records.read_examples(path)


@given(st.integers(0, 2000), st.integers(1, 255))
def test_any_changed_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, change: int) -> None:
    path = tmp_path_factory.mktemp("records") / "x.recordio"
    records.write_examples(path, [an_example(frames=2, levels=4)])
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= change
    path.write_bytes(data)
    with pytest.raises(BadDataset):
        records.read_examples(path)


def test_a_hostile_length_is_refused(tmp_path: Path) -> None:
    head = struct.pack("<Q", 1 << 60)
    path = tmp_path / "x.recordio"
    path.write_bytes(head + struct.pack("<I", records._masked_crc(head)))
    with pytest.raises(BadDataset, match="which no clip has"):
        records.read_examples(path)


@given(st.binary(max_size=200))
def test_other_bytes_in_a_record_are_refused_in_one_sentence(data: bytes) -> None:
    with pytest.raises(BadDataset, match=r"it is not an example|it has no usable feature"):
        records.decode(data, "it")


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def broken():
        yield an_example()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.write_examples(tmp_path / "x.recordio", broken())
    assert list(tmp_path.iterdir()) == []
