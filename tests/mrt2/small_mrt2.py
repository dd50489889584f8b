"""A whole Magenta RealTime 2 with every part real and small: 8 kHz sound, a memory of 20 frames; random weights.

Its music is noise, but its codes, states, seeds and lengths behave as every model's do. `reference_system` is the
package's own system over the very same weights.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import darius
from darius.codec import weights as codec_weights
from darius.codec.codec import Codec
from darius.codec.config import CodecConfig
from darius.mrt2 import package, weights
from darius.mrt2.decoder import FrameDecoder
from darius.mrt2.engine import MRT2Engine
from darius.mrt2.model import MRT2Model
from darius.mrt2.network import Network
from darius.style import tiny
from darius.style.steering import Assets

STYLE = Path(darius.__file__).parent / "assets" / "tiny" / "style.safetensors"
LEVELS = 4
CODEC = CodecConfig(
    sample_rate=8000,
    stft_frame=320,
    stft_step=160,
    stft_fft=320,
    ratios=((1, 5), (2, 4)),
    mults=(2, 1),
    encoder_depth=2,
    decoder_depth=2,
    encoder_conv_size=(1, 1),
    decoder_conv_size=(3, 3),
    num_features=8,
    num_levels=8,
    channel_splits=1,
    channel_recombo_block=0,
)


@functools.cache
def language_model() -> dict[str, np.ndarray]:
    """Random parameters, flat; controls and hidden states count for so much that wrong ones draw other codes."""
    drawn = weights.initialise(Network(package.architecture(package.TINY)), seed=3)
    flat = {name: np.array(value) for name, value in drawn.items()}
    flat["decoder/depth_body/to_logits/kernel"] *= 3
    flat["encoder/body/layers_1/branched_regular_embedder/regular_embedder/embedding"] *= 50
    return flat


@functools.cache
def codec_params() -> dict[str, Any]:
    return jax.tree.map(np.asarray, codec_weights.initialise(CODEC, jax.random.key(1)))


@functools.cache
def small_engine(dtype: str = "float32") -> MRT2Engine:
    """An engine; float32, so that what is equal in theory is equal here."""
    decoder = FrameDecoder(package.architecture(package.TINY, dtype=dtype), language_model())
    return MRT2Engine(decoder=decoder, codec=Codec(CODEC, codec_params()), chunk_frames=10)


def small_model(**parts: Any) -> MRT2Model:
    """The whole model; `parts` replace its own."""
    engine = small_engine()
    whole = {
        "name": "small mrt2",
        "decoder": engine.decoder,
        "codec": engine.codec,
        "chunk_frames": engine.chunk_frames,
        "style": tiny.load(STYLE),
        "assets": Assets(),
    }
    return MRT2Model(**(whole | parts))


def checkpoint() -> dict[str, np.ndarray]:
    """The tensors of a release's checkpoint file."""
    codec = codec_weights.flatten({name: codec_params()[name] for name in ("decoder", "quantizer")})
    return {weights.LANGUAGE_MODEL + name: value for name, value in language_model().items()} | {
        weights.CODEC + name: np.asarray(value) for name, value in codec.items()
    }


def encoder_file() -> dict[str, np.ndarray]:
    """The tensors of the release's encoder file."""
    encoder = codec_weights.flatten({"encoder": codec_params()["encoder"]})
    return {f"params/{name}": np.asarray(value) for name, value in encoder.items()}


def reference_system(patch: pytest.MonkeyPatch, home: Path, *, dtype: str = "float32", **settings: Any) -> Any:
    """The package's `MagentaRT2System` of these weights, read from a checkpoint file as it reads its own."""
    from magenta_rt import musiccoca, paths
    from magenta_rt.jax import model, spectrostream, system

    from darius.checkpoints import safetensors_io

    full = spectrostream.stft_spectrostream_40ms_generic_48khz_stereo_config(rvq_truncation_level=LEVELS)
    quantizer = dataclasses.replace(full.quantizer, num_quantizers=CODEC.num_levels, embedding_dim=CODEC.num_features)
    codec = dataclasses.replace(
        full,
        audio_sample_rate=CODEC.sample_rate,
        stft_frame_length=CODEC.stft_frame,
        stft_frame_step=CODEC.stft_step,
        stft_fft_length=CODEC.stft_fft,
        ratios=CODEC.ratios,
        mults=CODEC.mults,
        num_bins=CODEC.bins,
        num_channels=CODEC.spectrogram_channels,
        channel_splits=None,
        channel_recombo_block=CODEC.channel_recombo_block,
        num_features=CODEC.num_features,
        encoder_base_conv_depth=CODEC.encoder_depth,
        encoder_base_conv_size=CODEC.encoder_conv_size,
        decoder_base_conv_depth=CODEC.decoder_depth,
        decoder_base_conv_size=CODEC.decoder_conv_size,
        decoder_lookahead=CODEC.lookahead_frames,
        quantizer=quantizer,
    )
    patch.setattr(spectrostream, "stft_spectrostream_40ms_generic_48khz_stereo_config", lambda **_: codec)
    sizes = package.architecture(package.TINY, dtype=dtype).model
    patch.setitem(model.MODEL_REGISTRY, "tiny", lambda: sizes)
    patch.setattr(paths, "_MAGENTA_HOME", home)
    safetensors_io.save(home / "checkpoints" / "tiny.safetensors", checkpoint(), overwrite=True)
    return system.MagentaRT2System(
        size="tiny", style_model=musiccoca.MockMusicCoCa(), checkpoint="tiny.safetensors", **settings
    )


def write_release(folder: Path) -> Path:
    """A release's folder with the small weights and the small style files; the path of its checkpoint."""
    from darius.checkpoints import safetensors_io
    from darius.hub import mrt2

    path = folder / mrt2.CHECKPOINTS["mrt2-small"]
    safetensors_io.save(path, checkpoint())
    safetensors_io.save(folder / mrt2.RESOURCES / mrt2.ENCODER, encoder_file(), {"config": CODEC.to_dict()})
    shutil.copytree(Path(__file__).parent / "release" / mrt2.STYLE, folder / mrt2.RESOURCES / mrt2.STYLE)
    return path
