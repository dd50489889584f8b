"""Training examples in TFRecord files of `tf.train.Example`, written and read without TensorFlow.

Knows bytes and arrays; knows no audio, no models and no vocabulary. What it writes, TensorFlow reads, and the other way
round: a record is its length, a masked CRC-32C of that, the bytes, and a masked CRC-32C of them.

Source: TensorFlow's `tf.io.TFRecordWriter`, `tf.train.Example`, `tf.io.serialize_tensor`; the features are those of
Magenta RealTime v1's finetuning: `acoustic_tokens`, `style_tokens` and `style_embeddings`.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from darius.audio.files import atomic
from darius.errors import BadDataset, MissingDependency

ACOUSTIC, STYLE, EMBEDDINGS = "acoustic_tokens", "style_tokens", "style_embeddings"
STYLE_CLIP_SECONDS = 10
"""Seconds that one row of the style features covers; the last row may cover less."""

_MOST_BYTES = 1 << 28  # no clip comes near; a damaged length must not make us allocate it
_AGAIN = "Run `darius prepare-data` again; with --resume it keeps what is done."
_DTYPES = {1: np.dtype("<f4"), 3: np.dtype("<i4")}  # TensorFlow's DT_FLOAT and DT_INT32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One clip of audio as features.

    Attributes:
      acoustic_tokens: RVQ codes of the codec, int32 [frames, levels].
      style_tokens: RVQ codes of the style, int32 [style clips, style levels], one row every `STYLE_CLIP_SECONDS`.
      style_embeddings: what they are codes of, float32 [style clips, dim]; None in files that leave them out.
    """

    acoustic_tokens: NDArray[np.int32]
    style_tokens: NDArray[np.int32]
    style_embeddings: NDArray[np.float32] | None = None


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Writes examples into one file that appears whole or not at all; returns how many.

    Raises:
      OutputFailed: the system refused.
    """
    count = 0
    with atomic(path) as temporary, temporary.open("wb") as file:
        for example in examples:
            write_record(file, encode(example))
            count += 1
    return count


def read_examples(path: Path) -> list[Example]:
    """All examples of a file, in order.

    Raises:
      BadDataset: the file is missing, cut short or damaged, or holds something else.
    """
    return list(iterate_examples(path))


def iterate_examples(path: Path) -> Iterator[Example]:
    """As `read_examples`, one at a time."""
    try:
        with path.open("rb") as file:
            for number, data in enumerate(read_records(file, path.name)):
                yield decode(data, f"Example {number} of {path.name}")
    except OSError as error:
        raise BadDataset(f"{path} cannot be read ({error.strerror}).", _AGAIN) from None


def write_record(file: BinaryIO, data: bytes) -> None:
    """Appends one record."""
    head = struct.pack("<Q", len(data))
    file.write(head + struct.pack("<I", _masked_crc(head)) + data + struct.pack("<I", _masked_crc(data)))


def read_records(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The records of an open file; `name` is what errors call it. Raises BadDataset as `read_examples`."""
    while head := file.read(12):
        if len(head) < 12 or _masked_crc(head[:8]) != int.from_bytes(head[8:], "little"):
            raise BadDataset(f"{name} is damaged or not a TFRecord file.", _AGAIN)
        size = int.from_bytes(head[:8], "little")
        if size > _MOST_BYTES:
            raise BadDataset(f"{name} has a record of {size} bytes, which no clip has.", _AGAIN)
        body = file.read(size + 4)
        if len(body) < size + 4:
            raise BadDataset(f"{name} is cut short.", _AGAIN)
        if _masked_crc(body[:size]) != int.from_bytes(body[size:], "little"):
            raise BadDataset(f"{name} is damaged: a checksum does not match.", _AGAIN)
        yield body[:size]


def encode(example: Example) -> bytes:
    """A serialised `tf.train.Example`; the same example gives the same bytes."""
    arrays: dict[str, NDArray[Any]] = {
        ACOUSTIC: np.asarray(example.acoustic_tokens, np.int32),
        STYLE: np.asarray(example.style_tokens, np.int32),
    }
    if example.style_embeddings is not None:
        arrays[EMBEDDINGS] = np.asarray(example.style_embeddings, np.float32)
    features = b""
    for name, array in sorted(arrays.items()):
        feature = _field(1, _field(1, serialise_tensor(array)))  # Feature.bytes_list.value
        features += _field(1, _field(1, name.encode()) + _field(2, feature))  # an entry of Features.feature
    return _field(1, features)


def decode(data: bytes, name: str) -> Example:
    """The inverse of `encode`; other features are ignored. `name` is what errors call the record.

    Raises:
      BadDataset: a feature is missing or is not such an array.
    """
    try:
        arrays = {
            key: parse_tensor(_single(_single(feature, 1), 1))
            for key, feature in _features(data)
            if key in (ACOUSTIC, STYLE, EMBEDDINGS)
        }
    except (ValueError, IndexError, KeyError, TypeError, AttributeError):
        raise BadDataset(f"{name} is not an example of this kind.", _AGAIN) from None
    for key, kind in ((ACOUSTIC, "i"), (STYLE, "i"), (EMBEDDINGS, "f")):
        array = arrays.get(key)
        if (array is None and key != EMBEDDINGS) or (array is not None and (array.ndim, array.dtype.kind) != (2, kind)):
            raise BadDataset(f"{name} has no usable feature '{key}'.", _AGAIN)
    return Example(
        acoustic_tokens=arrays[ACOUSTIC], style_tokens=arrays[STYLE], style_embeddings=arrays.get(EMBEDDINGS)
    )


def serialise_tensor(array: NDArray[Any]) -> bytes:
    """The bytes of `tf.io.serialize_tensor` for an int32 or float32 array: a TensorProto."""
    code = next(code for code, dtype in _DTYPES.items() if dtype == array.dtype)
    shape = b"".join(_field(2, _varint_field(1, size)) for size in array.shape)
    return _varint_field(1, code) + _field(2, shape) + _field(4, np.ascontiguousarray(array, _DTYPES[code]).tobytes())


def parse_tensor(data: bytes) -> NDArray[Any]:
    """The inverse of `serialise_tensor`; a copy, writable.

    Raises:
      ValueError, KeyError, IndexError, TypeError: it is not such a tensor.
    """
    fields = dict(_fields(data))
    shape = [dict(_fields(size)).get(1, 0) for number, size in _fields(fields.get(2, b"")) if number == 2]
    return np.frombuffer(fields.get(4, b""), _DTYPES[fields[1]]).reshape(shape).copy()


def _features(data: bytes) -> Iterator[tuple[str, bytes]]:
    for number, entry in _fields(_single(data, 1)):
        if number == 1:
            fields = dict(_fields(entry))
            yield fields[1].decode(), fields.get(2, b"")


def _single(message: bytes, number: int) -> bytes:
    """The only field of that number."""
    found = [value for key, value in _fields(message) if key == number]
    if len(found) != 1 or not isinstance(found[0], bytes):
        raise ValueError(f"field {number} stands {len(found)} times")
    return found[0]


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a protobuf message: int for varints, bytes for everything else."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        size = {1: 8, 5: 4}.get(key & 7)
        if key & 7 == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if key & 7 == 2:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            raise ValueError("not a protobuf message")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a varint of more than ten bytes")


def _varint_bytes(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint_bytes(len(value)) + value


def _varint_field(number: int, value: int) -> bytes:
    return bytes([number << 3]) + _varint_bytes(value)


def _masked_crc(data: bytes) -> int:
    try:
        import google_crc32c
    except ImportError:
        raise MissingDependency(
            "Finetuning is not installed: the package google-crc32c is missing.",
            "Run `pip install 'darius[finetune]'`.",
        ) from None
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
