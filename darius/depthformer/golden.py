"""What each array of a golden folder is compared with: our encoder, one-pass logits and greedy decoding.

Rounding in bfloat16 depends on how a compiler fuses, so bfloat16 tokens cannot be compared one by one: the
original's tokens are replayed, and each must be, to us, within the tolerance of the best.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from darius.depthformer.config import DepthformerConfig
from darius.depthformer.network import encode_packed, logits_packed
from darius.depthformer.packing import pack
from darius.depthformer.unconstrained import Decoded, decode_unconstrained
from darius.tokens import MASK_ID

Arrays = dict[str, NDArray[Any]]

TOLERANCE = {"f32": 1e-4, "bf16": 0.1}
_DTYPES = {"f32": jnp.float32, "bf16": jnp.bfloat16}


class Comparison(NamedTuple):
    """What was compared, the largest deviation, and how large it may be."""

    what: str
    measured: float
    tolerance: float


class Run:
    """One number type of a golden folder; computes each of our results once, when it is first asked for.

    Args:
      kind: "f32" or "bf16".
      described: the folder's `config.json`.
      golden: the original's outputs for this number type, without prefix.
    """

    def __init__(
        self,
        config: DepthformerConfig,
        params: Mapping[str, Any],
        kind: str,
        described: Mapping[str, Any],
        inputs: Arrays,
        golden: Arrays,
    ) -> None:
        self._config, self._described = config, described
        self._exact, self._tolerance = kind == "f32", TOLERANCE[kind]
        self._inputs, self._golden = inputs, golden
        self._packed = jax.device_put(pack(config, params, _DTYPES[kind], legal_only=False))

    def compare(self, name: str) -> Comparison:
        """Compares the golden array of this name."""
        golden = self._golden[name]
        if name.startswith("encoder_out"):
            return self._numbers("encoder output", self._encoder(name), golden)
        if name.startswith("decode_tokens"):
            return self._tokens(name)
        if name.startswith("decode_margin"):
            weight = self._weight(name)
            ours = _margin(self._decoded_from(name))[:, : golden.shape[1]]
            return self._numbers("best minus second best logit", ours, golden, 2 * weight)
        if name.startswith("decode_logits"):
            return self._decode_logits(name)
        if name.startswith("top"):
            return self._top(name)
        match name:
            case "tf_logits":
                return self._numbers("one-pass logits", self._one_pass("")[:, self._at("tf_positions")], golden)
            case "tf_logits_start":
                ours = self._one_pass("_start")[:, self._at("tf_start_positions")]
                return self._numbers("one-pass logits, nothing heard yet", ours, golden)
            case "tf_logsumexp":
                return self._numbers("log-sum-exp of one-pass logits", _logsumexp(self._one_pass("")), golden)
            case "tf_argmax":
                return self._best("one-pass arg-max", self._one_pass(""), golden)
            case "tf_target_logit":
                ours = _pick(self._one_pass(""), self._inputs["decoder_target_tokens"])
                return self._numbers("one-pass logit of the target", ours, golden)
            case "cached_logits":
                ours = self._replayed_targets()[:, self._at("cached_steps")]
                return self._numbers("token-by-token logits", ours, golden)
        return Comparison("an array that this version cannot compare", float("nan"), self._tolerance)

    def compare_passes(self) -> Comparison:
        """Ours against ours: token by token with caches, and all positions in one pass."""
        return self._numbers("token by token against one pass, ours", self._replayed_targets(), self._one_pass(""))

    def _numbers(self, what: str, ours: NDArray[Any], golden: NDArray[Any], amplified: float = 0.0) -> Comparison:
        """Amplified: 2w for a difference of guided logits, which stretches the rounding of bfloat16 as much."""
        if ours.shape != golden.shape:
            return Comparison(f"{what}: shape {list(ours.shape)} against {list(golden.shape)}", float("nan"), 0.0)
        tolerance = self._tolerance * (1.0 if self._exact else 1.0 + amplified)
        return Comparison(what, float(np.max(np.abs(ours.astype(np.float64) - golden))), tolerance)

    def _best(self, what: str, ours: NDArray[Any], ids: NDArray[Any], amplified: float = 0.0) -> Comparison:
        """Choices: equal in float32; in bfloat16 the original's choice must be nearly our best."""
        if self._exact:
            different = int(np.count_nonzero(np.argmax(ours, axis=-1) != ids))
            return Comparison(f"{what}: number that differ of {ids.size}", different, 0.0)
        short = float(np.max(np.max(ours, axis=-1) - _pick(ours, ids)))
        return Comparison(f"{what}: below our best", short, self._tolerance * (1.0 + amplified))

    def _tokens(self, name: str) -> Comparison:
        golden = self._golden[name]
        what = f"greedy tokens, guidance {self._weight(name):g}"
        if self._exact:
            tokens = np.asarray(self._free(name).tokens)
            tokens = np.where(np.arange(tokens.shape[1]) < self._limit(name), tokens, 0)
            different = int(np.count_nonzero(tokens != golden))
            return Comparison(f"{what}: number that differ of {golden.size}", different, 0.0)
        length = self._alive(name)
        ours = self._guided(name, self._replayed(name))[:, :length]
        return self._best(what, ours, golden[: len(ours), :length], 2 * self._weight(name))

    def _decode_logits(self, name: str) -> Comparison:
        rows = np.asarray(self._along(name).logits)
        if name.endswith("_guided"):
            ours = self._guided(name, rows)[:, self._at("decode_steps")]
            return self._numbers("guided logits along a decode", ours, self._golden[name], 2 * self._weight(name))
        ours = rows[:, self._at("decode_steps")]
        return self._numbers("logits along a decode", ours, self._golden[name])

    def _top(self, name: str) -> Comparison:
        """ "top40_ids_step0_w4": the ids that survive top-40 at step 0 of a guided decode."""
        ids = self._golden[name]
        step = int(name.split("_step")[1].split("_")[0])
        ours = self._decoded_from(name)[0, step]
        kept = np.sort(ours)[-len(ids)]
        if self._exact:
            different = len(set(np.flatnonzero(ours >= kept).tolist()) ^ set(ids.tolist()))
            return Comparison(f"the {len(ids)} best ids: number that differ", different, 0.0)
        tolerance = self._tolerance * (1.0 + 2 * self._weight(name))
        return Comparison(f"the {len(ids)} best ids: below our last", float(np.max(kept - ours[ids])), tolerance)

    # Names: decode_<what>_<case>_w<weight>[...], where <case> is the suffix of the encoder's input, if any.

    def _weight(self, name: str) -> float:
        label = next(part for part in name.split("_") if part[0] == "w" and part[1:].isdigit())
        return float(self._described.get(f"guidance_weight_{label}", label[1:]))

    def _case(self, name: str) -> str:
        return next((f"_{part}" for part in name.split("_") if f"encoder_input_tokens_{part}" in self._inputs), "")

    def _tokens_name(self, name: str) -> str:
        label = next(part for part in name.split("_") if part[0] == "w" and part[1:].isdigit())
        return f"decode_tokens{self._case(name)}_{label}"

    def _limit(self, name: str) -> int:
        """How many tokens were asked for: a margin was saved for each of them."""
        tokens = self._golden[self._tokens_name(name)]
        margin = self._golden.get(self._tokens_name(name).replace("tokens", "margin"), tokens)
        return int(margin.shape[1])

    def _alive(self, name: str) -> int:
        """Tokens up to the limit or the end, whichever is first (of the first row: guidance copies it)."""
        ends = np.flatnonzero(self._golden[self._tokens_name(name)][0] == MASK_ID)
        return min(self._limit(name), int(ends[0]) + 1 if len(ends) else self._limit(name))

    def _at(self, name: str) -> NDArray[Any]:
        return self._inputs[name]

    def _encoder(self, name: str) -> NDArray[Any]:
        case = name.removeprefix("encoder_out")
        encoded = _encode(self._config, self._packed, self._inputs[f"encoder_input_tokens{case}"])
        ours = np.asarray(encoded.astype(jnp.float32))
        if not case:
            return ours
        return ours[:, self._at("encoder_positions_pad" if case == "_pad" else "encoder_positions_start_part")]

    @functools.cache  # noqa: B019 (a run lives as long as its comparison)
    def _one_pass(self, case: str) -> NDArray[Any]:
        tokens, inputs = self._inputs[f"encoder_input_tokens{case}"], self._inputs["decoder_input_tokens"]
        return np.asarray(_logits(self._config, self._packed, tokens, inputs))

    @functools.cache  # noqa: B019
    def _replayed_targets(self) -> NDArray[Any]:
        return np.asarray(self._decode("", 0.0, self._inputs["decoder_target_tokens"]).logits)

    @functools.cache  # noqa: B019
    def _replay(self, tokens_name: str) -> Decoded:
        return self._decode(self._case(tokens_name), 0.0, self._golden[tokens_name])

    @functools.cache  # noqa: B019
    def _greedy(self, tokens_name: str) -> Decoded:
        return self._decode(self._case(tokens_name), self._weight(tokens_name), None)

    def _free(self, name: str) -> Decoded:
        return self._greedy(self._tokens_name(name))

    def _replayed(self, name: str) -> NDArray[Any]:
        return np.asarray(self._replay(self._tokens_name(name)).logits)

    def _along(self, name: str) -> Decoded:
        return self._free(name) if self._exact else self._replay(self._tokens_name(name))

    def _decoded_from(self, name: str) -> NDArray[Any]:
        return self._guided(name, np.asarray(self._along(name).logits))

    def _guided(self, name: str, rows: NDArray[Any]) -> NDArray[Any]:
        weight = self._weight(name)
        return rows if weight == 0 else (1 + weight) * rows[:1] - weight * rows[1:]

    def _decode(self, case: str, weight: float, forced: NDArray[Any] | None) -> Decoded:
        rows = self._inputs[f"encoder_input_tokens{case}"]
        layout = self._config.layout
        if forced is None:
            forced = np.full((len(rows), layout.decoder_length), -1, np.int32)
        decoded: Decoded = decode_unconstrained(self._config, self._packed, rows, forced, guidance=weight)
        return decoded


_encode = jax.jit(encode_packed, static_argnums=0)
_logits = jax.jit(logits_packed, static_argnums=0)


def _pick(values: NDArray[Any], ids: NDArray[Any]) -> NDArray[Any]:
    picked: NDArray[Any] = np.take_along_axis(values, ids[..., None].astype(np.int64), axis=-1)
    return picked[..., 0]


def _logsumexp(values: NDArray[Any]) -> NDArray[Any]:
    largest: NDArray[Any] = np.max(values, axis=-1)
    above: NDArray[Any] = np.log(np.sum(np.exp(values - largest[..., None]), axis=-1))
    return np.asarray(largest + above)


def _margin(values: NDArray[Any]) -> NDArray[Any]:
    best: NDArray[Any] = np.partition(values, -2, axis=-1)[..., -2:]
    return np.asarray(best[..., 1] - best[..., 0])
