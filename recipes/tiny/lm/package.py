"""Writes weights as the package's file: `python -m recipes.tiny.lm.package runs/tiny/out/depthformer.safetensors`.

The file is the compact form (`darius.checkpoints.compact`): bytes with scales, unused rows left out. Its metadata says
the configuration, the step and the sharpness. Sharpness scales the logits of the levels (it is folded into their
columns of the output projection): the defaults (temperature 1.1, guidance 5, top-k 40) were made for a model of
hundreds of millions of parameters, and a small one needs cooler sampling. `recipes.tiny.evaluate` finds the values.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darius.checkpoints import compact, safetensors_io
from darius.depthformer import weights
from darius.depthformer.config import DepthformerConfig
from darius.tokens import MASK_ID

ASSET = Path(__file__).parents[3] / "darius" / "assets" / "tiny" / "depthformer.safetensors"


def sharpened(config: DepthformerConfig, params: Mapping[str, Any], coarse: float, fine: float) -> dict[str, Any]:
    """Logits of the context's levels times `coarse`, of the others times `fine`."""
    layout = config.layout
    scales: NDArray[np.float32] = np.ones(layout.vocab_rows, np.float32)
    first = layout.codec_offset + layout.context_levels * layout.codebook_size
    last = layout.codec_offset + layout.codec_levels * layout.codebook_size
    scales[layout.codec_offset : first] = coarse
    scales[first:last] = fine
    return dict(params) | {weights.LOGITS: np.asarray(params[weights.LOGITS]) * scales}


def tempered(config: DepthformerConfig, params: Mapping[str, Any], share: float) -> dict[str, Any]:
    """Style tokens' vectors moved towards the mask's: only `share` of the way from "no style" to the style is left.

    Guidance w plays (1 + w) times what style changes.
    """
    layout, table = config.layout, np.array(params[weights.EMBEDDING])
    rows = slice(layout.style_offset, layout.style_offset + layout.context_style_levels * layout.codebook_size)
    table[rows] = table[MASK_ID] + share * (table[rows] - table[MASK_ID])
    return dict(params) | {weights.EMBEDDING: table}


def between(old: Mapping[str, Any], new: Mapping[str, Any], share: float) -> dict[str, Any]:
    """Weights `share` of the way from those that training went on from to what it made of them.

    It keeps some of what both can do (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"). The token table
    is the new one's: going on changes nothing in it but the style's rows.
    """
    mixed = {name: (1 - share) * np.asarray(old[name]) + share * np.asarray(value) for name, value in new.items()}
    return mixed | {weights.EMBEDDING: np.asarray(new[weights.EMBEDDING])}


def read(path: Path) -> tuple[DepthformerConfig, dict[str, Any], int]:
    """Configuration, full-size parameters and step of a file that `write` wrote."""
    facts = safetensors_io.metadata(path)
    config = DepthformerConfig.from_dict(facts["config"])
    return config, compact.unpack(config, safetensors_io.load(path)), int(facts.get("step", 0))


def read_soft(path: Path) -> tuple[DepthformerConfig, dict[str, Any], int]:
    """`read`, with the sharpness taken out again: as training left them."""
    config, params, step = read(path)
    coarse, fine = safetensors_io.metadata(path).get("sharpness", (1.0, 1.0))
    return config, sharpened(config, params, 1 / coarse, 1 / fine), step


def write(path: Path, config: DepthformerConfig, params: Mapping[str, Any], **facts: Any) -> None:
    """The package's file, over whatever is there."""
    tensors = compact.pack(config, params, small=True)
    safetensors_io.save(path, tensors, metadata={"config": config.to_dict()} | facts, overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--coarse", type=float, default=1.0, help="sharpness of the levels that the context holds")
    parser.add_argument("--fine", type=float, default=1.0, help="sharpness of the other levels")
    parser.add_argument("--style", type=float, default=1.0, help="share of the style's influence that is kept")
    parser.add_argument("--before", type=Path, help="the weights that training went on from, to mix with")
    parser.add_argument("--share", type=float, default=1.0, help="of the new weights in the mixture")
    parser.add_argument("--out", type=Path, default=ASSET)
    args = parser.parse_args()
    config, params, step = read_soft(args.weights)
    if args.before:
        params = between(read_soft(args.before)[1], params, args.share)
    made = tempered(config, sharpened(config, params, args.coarse, args.fine), args.style)
    write(args.out, config, made, step=step, sharpness=[args.coarse, args.fine], style=args.style, share=args.share)
    print(f"{args.out}: step {step}, {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
