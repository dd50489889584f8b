"""A chunk of one stream through both CUDA kernels, each launched on the CPU, against the network in one pass."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import darius.depthformer
from darius import random_weights
from darius.depthformer import cuda, fused, fused_temporal, one_stream
from darius.depthformer.config import DepthformerConfig
from darius.depthformer.decode import with_unconditioned
from darius.depthformer.network import logits, shift_right
from darius.depthformer.packing import pack
from darius.depthformer.sampling import Controls, guide
from darius.depthformer.steps import Attention
from darius.tokens import TokenLayout

BLOCKS, SLOTS, FRAMES, LEVELS, CODES = 2, 48, 3, 2, 256
LAYOUT = TokenLayout(codec_levels=LEVELS, codebook_size=CODES, context_frames=4, chunk_frames=FRAMES)
CONFIG = DepthformerConfig(
    layout=LAYOUT,
    embed_dim=256,
    num_heads=4,
    head_dim=64,
    mlp_dim=256,
    num_encoder_layers=1,
    num_temporal_layers=1,
    num_depth_layers=1,
)

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ctypes.CDLL]:
    folder, source = tmp_path_factory.mktemp("kernels"), Path(__file__).parent
    constants = {
        "depth_frame": fused.sizes(CONFIG, 2, BLOCKS),
        "temporal_frame": fused_temporal.sizes(CONFIG, 2, BLOCKS),
    }
    for name, sizes in constants.items():
        command = ["g++", "-std=c++20", "-O1", "-shared", "-fPIC", "-w", f"-I{source}"]
        command += [f"-D{key}={value}" for key, value in {**sizes, "SLOTS": SLOTS}.items()]
        command += [f"-I{Path(darius.depthformer.__file__).parent}", str(source / f"emulate_{name}.cpp")]
        subprocess.run([*command, "-o", str(folder / name)], check=True, capture_output=True, text=True)
    return {name: ctypes.CDLL(str(folder / name)) for name in constants}


@pytest.fixture
def launch_here(kernels: dict[str, ctypes.CDLL], monkeypatch: pytest.MonkeyPatch) -> None:
    def call(kernel, code, operands, results, *, aliases, **_):
        def run(*given):
            arrays = [np.array(a) for a in given]
            made = [np.zeros(r.shape, r.dtype) for r in results]
            for operand, result in aliases.items():
                made[result] = arrays[operand]
            addresses = [a.ctypes.data for a in arrays + made]
            kernels[kernel].run((ctypes.c_void_p * len(addresses))(*addresses))
            return made

        return jax.pure_callback(run, list(results), *operands)

    monkeypatch.setattr(cuda, "call", call)


@pytest.mark.acceptance
def test_a_chunk_is_what_the_network_finds_most_likely(launch_here: None) -> None:
    params = random_weights.language_model(CONFIG)
    packed = pack(CONFIG, params, jnp.bfloat16, projection_dtype=jnp.bfloat16)
    context = np.random.default_rng(0).integers(0, CODES, (1, 4, LAYOUT.context_levels), np.int32)
    tokens = with_unconditioned(CONFIG, jnp.asarray(LAYOUT.encoder_rows(list(context), [np.arange(12)])))
    compiled = one_stream.Compiled(("", BLOCKS, 0), ("", BLOCKS, 0))
    known = jnp.full((FRAMES, LEVELS), -1).at[1, 0].set(77)
    codes = one_stream.decode(
        CONFIG,
        packed,
        one_stream.prepare(CONFIG, packed),
        compiled,
        Attention(),
        tokens,
        Controls.of(1, guidance=2.0, temperature=0.0, top_k=0),
        known,
        FRAMES,
    )
    assert codes.shape == (FRAMES, LEVELS) and codes[1, 0] == 77
    ids = (LAYOUT.codec_offset + jnp.arange(LEVELS) * CODES + codes).reshape(1, -1)
    both = logits(CONFIG, params, tokens, shift_right(jnp.concatenate([ids, ids])), dtype=jnp.bfloat16, legal_only=True)
    together = guide(both[0], both[1], 2.0)
    short = together.max(-1) - jnp.take_along_axis(together, codes.reshape(-1, 1), 1)[:, 0]
    drawn = np.arange(FRAMES * LEVELS) != LEVELS
    # Rounding may tip a draw between codes as good as equal, no other.
    assert short[drawn].max() < 0.25 and (short[drawn] == 0).sum() >= 3 and jnp.std(together) > 0.5
