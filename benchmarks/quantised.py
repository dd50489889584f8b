"""What rounding the decoder's weights to 8 bits does to the distributions that codes are drawn from, level by level.

python -m benchmarks.quantised MODEL LOOP... : of each loop the last two seconds are foretold from what precedes, with
float32 weights, and with the same weights rounded to 8 bits or to bfloat16. A JSON line each.
"""

# ruff: noqa: T201 (a script that prints)

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import darius
from darius.audio import files
from darius.audio.resample import to_rate
from darius.depthformer import fused
from darius.depthformer.network import logits_packed, shift_right
from darius.depthformer.packing import Packed


def chances(engine: Any, codes: np.ndarray, packed: Packed) -> jax.Array:
    """Log-probabilities [frames, levels, codes] of a chunk's codes, told the true ones before each."""
    config = engine.decoder.config
    layout = config.layout
    past, chunk = codes[: -layout.chunk_frames], codes[-layout.chunk_frames :]
    heard = np.full((layout.context_frames, layout.codec_levels), -1, np.int32)
    heard[-len(past) :] = past[-layout.context_frames :]
    rows = jnp.asarray(layout.encoder_rows([heard], [None]))
    ids = (layout.codec_offset + np.arange(layout.codec_levels) * layout.codebook_size + chunk).reshape(1, -1)
    network = jax.jit(functools.partial(logits_packed, config))
    logits = network(packed, rows, shift_right(jnp.asarray(ids)))
    return jax.nn.log_softmax(logits.reshape(*chunk.shape, -1).astype(jnp.float32))


def as_bfloat16(packed: Packed) -> Packed:
    return jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(x.dtype), packed)


def main() -> None:
    engine: Any = darius.load(sys.argv[1], dtype="float32")
    plain = engine.decoder.packed
    music = []
    for loop in sys.argv[2:]:
        samples = to_rate(files.load(Path(loop)), engine.codec.sample_rate).samples
        stereo = np.broadcast_to(samples, (len(samples), engine.codec.channels))
        music.append(np.asarray(engine.codec.encode(stereo[None]))[0])
    true = [chances(engine, codes, plain) for codes in music]
    for name, other in (("8 bits", fused.rounded(plain)), ("bfloat16", as_bfloat16(plain))):
        its = [chances(engine, codes, other) for codes in music]
        kl = np.concatenate([(jnp.exp(p) * (p - q)).sum(-1) for p, q in zip(true, its, strict=True)])
        agree = np.concatenate([p.argmax(-1) == q.argmax(-1) for p, q in zip(true, its, strict=True)])
        facts = {"model": sys.argv[1], "weights": name, "frames": len(kl), "same_best": round(float(agree.mean()), 4)}
        levels = [round(float(x), 5) for x in kl.mean(0)]
        print(json.dumps({**facts, "kl_of_levels": levels, "kl_most": round(float(kl.max()), 4)}), flush=True)


if __name__ == "__main__":
    main()
