"""MusicCoCa v1: text and audio into one 768-d space, through converted files or TensorFlow.

Knows the call protocol of the two towers and where their files lie; the graphs themselves run in `tflite` or
`saved_model`. Not for MRT2: its MusicCoCa is another checkpoint, and its codes mean nothing to a v1 language model.

Source: MusicCoCa in Magenta RealTime v1; Yu et al. 2022 (arXiv 2205.01917), Huang et al. 2022 (arXiv 2208.12415).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darius.errors import BadAudio, BadCheckpoint, MissingDependency
from darius.style.interface import STYLE_CODEBOOK_SIZE, STYLE_DIM, STYLE_LEVELS, Embedding
from darius.style.quantize import rvq_encode

if TYPE_CHECKING:
    from darius.audio.waveform import Waveform

SAMPLE_RATE = 16_000
CLIP_SAMPLES = 160_000
TEXT_LENGTH = 128
SOS_ID = 1

TEXT_FILE = "text_encoder.tflite"
MUSIC_FILE = "music_encoder.tflite"
GRAPH_FOLDER = "musiccoca_saved_model"
CODEBOOKS_FILE = "style_codebooks.safetensors"
VOCABULARY_FILE = "spm.model"

V1_GRAPH = "savedmodels/musiccoca_mv212f_cpu_novocab"
V1_QUANTIZER = "savedmodels/musiccoca_mv212_quant"
V1_VOCABULARY = "vocabularies/musiccoca_mv212f_vocab.model"

TEXT_SIGNATURE = "embed_text"
MUSIC_SIGNATURE = "embed_music"
TEXT_OUTPUT = "contrastive_txt_embed"
MUSIC_OUTPUT = "contrastive_music_embed"

Signature = Callable[..., Mapping[str, Any]]
"""A graph's named function: arrays by input name -> arrays by output name."""


class MusicCoCa:
    """A `StyleModel` of two towers and a residual quantiser.

    Args:
      pieces: words (lower case) -> SentencePiece ids.
      text: `embed_text`: `inputs_0` int32 [1, 128] ids, `inputs_0_1` float32 [1, 128] paddings (1 = padding).
      music: `embed_music`: `inputs_0` float32 [1, 160000], 10 s at 16 kHz.
      codebooks: float32 [levels, codes, dim].
    """

    def __init__(
        self,
        *,
        pieces: Callable[[str], Sequence[int]],
        text: Signature,
        music: Signature,
        codebooks: NDArray[np.float32],
    ) -> None:
        self._pieces = pieces
        self._text = text
        self._music = music
        self.codebooks = codebooks

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.codebooks.shape[-1])

    def embed_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of some texts, float32 [len(texts), dim], one call of the text tower each."""
        rows = [self._one_text(text) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def embed_audio(self, waveform: Waveform) -> Embedding:
        """The mean embedding of a waveform's 10-s clips (mono, 16 kHz, the last one filled with zeros), float32 [dim].

        Raises:
          BadAudio: the waveform holds no samples.
        """
        rows = [_first_row(self._music(inputs_0=clip[None]), MUSIC_OUTPUT) for clip in clips(waveform)]
        return np.asarray(np.mean(rows, axis=0), np.float32)

    def tokenize(self, embedding: NDArray[np.float32]) -> NDArray[np.int32]:
        """RVQ codes of an embedding [..., dim], int32 [..., levels]."""
        return rvq_encode(self.codebooks, embedding)

    def _one_text(self, text: str) -> Embedding:
        ids, paddings = text_inputs(self._pieces(text.lower()))
        return _first_row(self._text(inputs_0=ids, inputs_0_1=paddings), TEXT_OUTPUT)


def text_inputs(pieces: Sequence[int]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The text tower's inputs: SOS and at most 127 pieces, filled with zeros.

    Returns:
      ids int32 [1, 128] and paddings float32 [1, 128], 1 where nothing stands.
    """
    known = [SOS_ID, *pieces[: TEXT_LENGTH - 1]]
    ids = np.zeros((1, TEXT_LENGTH), np.int32)
    ids[0, : len(known)] = known
    paddings = np.ones((1, TEXT_LENGTH), np.float32)
    paddings[0, : len(known)] = 0.0
    return ids, paddings


def clips(waveform: Waveform) -> NDArray[np.float32]:
    """A waveform as 10-s clips, float32 [n, 160000]: mono, 16 kHz, the last clip filled with zeros.

    Raises:
      BadAudio: the waveform holds no samples.
    """
    from darius.audio.resample import to_rate

    if not len(waveform):
        raise BadAudio("The audio for the style holds no samples.", "Give a loop or a style file with sound in it.")
    samples = to_rate(waveform.mono(), SAMPLE_RATE).samples[:, 0]
    missing = -len(samples) % CLIP_SAMPLES if len(samples) else CLIP_SAMPLES
    return np.pad(samples, (0, missing)).reshape(-1, CLIP_SAMPLES)


def load(folder: Path) -> MusicCoCa:
    """MusicCoCa from a converted folder, or from the original's folder through TensorFlow.

    A converted folder holds what `darius.convert` writes; a tower that TensorFlow could not convert lies there as a
    SavedModel and runs through TensorFlow. On macOS TensorFlow and SentencePiece can crash in one process: convert.

    Raises:
      BadCheckpoint: files are missing or misshapen.
      MissingDependency: a package that runs them is not installed.
    """
    if (folder / CODEBOOKS_FILE).is_file():
        return MusicCoCa(
            pieces=_pieces(folder / VOCABULARY_FILE),
            text=_converted_tower(folder, TEXT_FILE, TEXT_SIGNATURE),
            music=_converted_tower(folder, MUSIC_FILE, MUSIC_SIGNATURE),
            codebooks=load_codebooks(folder / CODEBOOKS_FILE),
        )
    if (folder / V1_GRAPH).is_dir():
        return _load_original(folder)
    raise BadCheckpoint(
        f"There is no MusicCoCa in {folder}: neither {CODEBOOKS_FILE} nor {V1_GRAPH}.",
        "Run `darius models convert` on a download of google/magenta-realtime.",
    )


def load_codebooks(path: Path) -> NDArray[np.float32]:
    """The quantiser's codebooks, float32 [12, 1024, 768].

    Raises:
      BadCheckpoint: the file is damaged, or the array is not of that shape.
    """
    from darius.checkpoints import safetensors_io

    arrays = safetensors_io.load(path)
    if "codebooks" not in arrays:
        raise BadCheckpoint(f"{path.name} has no tensor `codebooks`.", "Convert the model again.")
    return check_codebooks(arrays["codebooks"], path.name)


def check_codebooks(codebooks: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    """The codebooks as float32. Raises BadCheckpoint unless they are [12, 1024, 768]."""
    expected = (STYLE_LEVELS, STYLE_CODEBOOK_SIZE, STYLE_DIM)
    if codebooks.shape != expected:
        raise BadCheckpoint(
            f"The style codebooks in {where} have shape {list(codebooks.shape)} instead of {list(expected)}.",
            "Use the files of Magenta RealTime v1 (google/magenta-realtime).",
        )
    # A copy: what was read may be a view of a memory-mapped file, and every embedding needs all of it.
    return np.array(codebooks, np.float32)


def _load_original(folder: Path) -> MusicCoCa:
    from darius.style import saved_model

    # SentencePiece first: on some systems it cannot be loaded after TensorFlow.
    pieces = _pieces(folder / V1_VOCABULARY)
    signatures = saved_model.load_signatures(folder / V1_GRAPH, (TEXT_SIGNATURE, MUSIC_SIGNATURE))
    return MusicCoCa(
        pieces=pieces,
        text=signatures[TEXT_SIGNATURE],
        music=signatures[MUSIC_SIGNATURE],
        codebooks=check_codebooks(saved_model.read_codebooks(folder / V1_QUANTIZER), V1_QUANTIZER),
    )


def _converted_tower(folder: Path, file: str, signature: str) -> Signature:
    if (folder / file).is_file():
        from darius.style.tflite import TFLiteSignature

        return TFLiteSignature(folder / file, signature)
    if (folder / GRAPH_FOLDER).is_dir():
        from darius.style import saved_model

        return saved_model.load_signatures(folder / GRAPH_FOLDER, (signature,))[signature]
    raise BadCheckpoint(f"{folder} has no {file}.", "Convert the model again with `darius models convert`.")


def _pieces(vocabulary: Path) -> Callable[[str], Sequence[int]]:
    try:
        import sentencepiece
    except ImportError as error:
        raise MissingDependency(
            "MusicCoCa reads text with SentencePiece, which is not installed.", "Run `pip install sentencepiece`."
        ) from error
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.Load(str(vocabulary))
    except (OSError, RuntimeError) as error:
        raise BadCheckpoint(
            f"The vocabulary {vocabulary} is missing or damaged.", "Download or convert the model again."
        ) from error
    pieces: Callable[[str], Sequence[int]] = processor.EncodeAsIds
    return pieces


def _first_row(outputs: Mapping[str, Any], name: str) -> Embedding:
    row: Embedding = np.asarray(outputs[name], np.float32)[0]
    return row
