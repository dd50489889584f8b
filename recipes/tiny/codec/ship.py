"""Writes trained parameters as the package's file: `python -m recipes.tiny.codec.ship runs/tiny/codec/joint.npz`.

The file is half precision with names joined by "/" and the configuration in its metadata.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from darius.checkpoints import safetensors_io
from darius.codec import weights
from darius.codec.config import CodecConfig
from darius.codec.network import Params
from recipes.tiny import sizes

ASSET = Path(__file__).parents[3] / "darius" / "assets" / "tiny" / "codec.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("params", type=Path)
    parser.add_argument("--out", type=Path, default=ASSET)
    args = parser.parse_args()
    write(args.out, *load_any(args.params))
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


def write(path: Path, config: CodecConfig, params: Params) -> None:
    """Half precision, atomically, over whatever is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {name: np.asarray(value, np.float16) for name, value in weights.flatten(params).items()}
    safetensors_io.save(path, halves, metadata={"config": config.to_dict()}, overwrite=True)


def load_any(path: Path) -> tuple[CodecConfig, Params]:
    """Parameters as float32, from a run's .npz or from a shipped file."""
    if path.suffix == ".npz":
        config = sizes.codec()
        with np.load(path) as file:
            flat = {name: jnp.asarray(file[name]) for name in file.files}
    else:
        config = CodecConfig.from_dict(safetensors_io.metadata(path)["config"])
        flat = {name: jnp.asarray(value, jnp.float32) for name, value in safetensors_io.load(path).items()}
    params = weights.nest(flat)
    weights.check(config, params)
    return config, params


if __name__ == "__main__":
    main()
