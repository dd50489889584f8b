"""One small Magenta RealTime v1 on disk, made by TensorFlow, and what `convert_v1` makes of it; both once a session."""

import types

import musiccoca_tf
import numpy as np
import pytest
import spectrostream_tf
import tensorflow as tf
from v1_original import CODEC, TEXTS, audio_of, clip_embeddings_of, style_tokens_of, text_embeddings_of, tokens_of

from darius.convert import convert_v1


@pytest.fixture(scope="session")
def v1():
    """The networks themselves, in TensorFlow."""
    rng = np.random.default_rng(7)
    return types.SimpleNamespace(
        encoder=spectrostream_tf.Encoder(rng, CODEC.encoder_depth, CODEC.num_features),
        decoder=spectrostream_tf.Decoder(rng, CODEC.decoder_depth, CODEC.num_features),
        quantizer=spectrostream_tf.Quantizer(rng, CODEC.num_features, CODEC.num_levels, CODEC.codebook_size),
        towers=musiccoca_tf.Towers(rng),
        codebooks=rng.normal(0, 0.5, (12, 1024, 768)).astype(np.float32),
        vocabulary=musiccoca_tf.vocabulary(),
        audio=rng.normal(0, 0.3, (1920 * 12, 2)).astype(np.float32),
        clips=rng.normal(0, 0.1, (2, 160000)).astype(np.float32),
    )


@pytest.fixture(scope="session")
def source(v1, tmp_path_factory):
    """A download of google/magenta-realtime with its test data."""
    root = tmp_path_factory.mktemp("magenta-realtime")
    models = root / "savedmodels"
    for name in ("encoder", "decoder", "quantizer"):
        tf.saved_model.save(getattr(v1, name), str(models / "ssv2_48k_stereo" / name))
    graph = models / "musiccoca_mv212f_cpu_novocab"
    musiccoca_tf.save_towers(v1.towers, graph, ["embed_text", "embed_music"])
    tf.saved_model.save(musiccoca_tf.Quantizer(v1.codebooks), str(models / "musiccoca_mv212_quant"))
    (root / "vocabularies").mkdir()
    (root / "vocabularies" / "musiccoca_mv212f_vocab.model").write_bytes(v1.vocabulary)
    _write_codec_testdata(v1, root / "testdata" / "ssv2_48k_stereo")
    _write_style_testdata(v1, root / "testdata" / "musiccoca_mv212")
    return root


@pytest.fixture(scope="session")
def conversion(source, tmp_path_factory):
    """The converted folder, and what the conversion said on its way."""
    said = []
    target = tmp_path_factory.mktemp("models") / "v1"
    convert_v1(source, target, lambda stage, part: said.append((stage, part)), codec=CODEC)
    return types.SimpleNamespace(folder=target, said=said)


def _write_style_testdata(v1, folder):
    folder.mkdir(parents=True)
    embeddings = text_embeddings_of(v1, TEXTS)
    (folder / "inputs.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    np.save(folder / "embeddings.npy", embeddings)
    np.save(folder / "tokens.npy", style_tokens_of(v1, embeddings))
    np.save(folder / "audio.npy", v1.clips)
    np.save(folder / "embeddings_audio.npy", clip_embeddings_of(v1, v1.clips))


def _write_codec_testdata(v1, folder):
    folder.mkdir(parents=True)
    tokens = tokens_of(v1, v1.audio[None])
    np.save(folder / "audio.npy", v1.audio)
    np.save(folder / "tokens.npy", tokens[0])
    np.save(folder / "audio_rt.npy", audio_of(v1, tokens)[0])
