"""What is told of a finetune: facts for its archives' manifests, and its model card. Knows text; knows no network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from finetune.manifest import Manifest
from finetune.packaging import Package
from finetune.places import Place
from finetune.runs import CURVES, RunFacts

V1_REPO = "google/magenta-realtime"
V1_NAMES = ("base", "large")
KNOWN_LICENCES = {
    "cc0": "cc0-1.0",
    "cc0-1.0": "cc0-1.0",
    "public-domain": "cc0-1.0",
    "cc-by": "cc-by-4.0",
    "cc-by-4.0": "cc-by-4.0",
    "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0": "cc-by-nc-sa-4.0",
    "apache-2.0": "apache-2.0",
    "mit": "mit",
}


def facts(place: Place, step: int) -> dict[str, Any]:
    """What a run and its dataset say, as JSON can hold it; names of the musician's files stay at home."""
    told: dict[str, Any] = {}
    run, dataset = place.facts(), place.dataset()
    if run is not None:
        told |= {
            "base_model": run.model,
            "task": run.task,
            "steps_trained": step - run.first_step,
            "batch_size": run.batch_size,
            "lora_rank": run.lora,
            "trainer": run.trainer,
        }
    if dataset is not None:
        told |= {
            "task": dataset.task,
            "clips": dataset.examples,
            "hours": dataset.hours,
            "licence": dataset.licence,
            "codec_sha256": dataset.codec_sha256,
            "style_sha256": dataset.style_sha256,
            "cluster_sizes": list(dataset.cluster_sizes),
        }
    return told


def write(repo: str, place: Place, packages: Sequence[Package], *, curves: bool, clusters: str | None) -> str:
    """The model card, Markdown with the hub's header.

    Args:
      repo: user/name.
      packages: the archives of the repository.
      curves: whether training_curves.png lies beside it.
      clusters: the name of the picture of the style clusters, if there is one.
    """
    run, dataset = place.facts(), place.dataset()
    sections = [
        _header(run, dataset),
        f"# {repo.partition('/')[2]}",
        _summary(run, dataset),
        _use(repo, packages),
        _files(packages),
    ]
    if dataset is not None:
        sections.append(_data(dataset, clusters))
    if run is not None:
        sections.append(_training(run, packages, curves=curves))
    sections.append(_licence(run, dataset))
    return "\n\n".join(section for section in sections if section) + "\n"


def _header(run: RunFacts | None, dataset: Manifest | None) -> str:
    licence = dataset.licence if dataset else ""
    known = KNOWN_LICENCES.get(re.sub(r"[\s_]+", "-", licence.strip().lower()))
    rows = ["---", f"license: {known or 'other'}"]
    if not known:
        rows.append(f"license_name: {re.sub(r'[^a-z0-9.]+', '-', licence.lower()).strip('-') or 'unknown'}")
    if run is not None and run.model in V1_NAMES:
        rows.append(f"base_model: {V1_REPO}")
    rows += ["pipeline_tag: text-to-audio", "tags:", "- magenta-realtime", "- music", "- finetune", "---"]
    return "\n".join(rows)


def _summary(run: RunFacts | None, dataset: Manifest | None) -> str:
    base = f"`{run.model}`" if run else "a model"
    if run is not None and run.model in V1_NAMES:
        base = f"[Magenta RealTime](https://huggingface.co/{V1_REPO}) v1 `{run.model}`"
    heard = f" on {_spoken(dataset.hours)} of music (`{dataset.task}`)" if dataset else ""
    return f"A finetune of {base}{heard}. It continues loops in time, in the style of its training music."


def _use(repo: str, packages: Sequence[Package]) -> str:
    newest = max(package.step for package in packages)
    return f"""## Use it

In the gary4juce plugin: open the finetune settings of the live tab, enter the repository `{repo}` and the checkpoint
step `{newest}`, and load it. The style mean and centroids are taken along.

With [Darius](https://pypi.org/project/darius/):

```sh
darius generate loop.wav --model hf:{repo}#{newest} --mean 1.0
darius serve --model hf:{repo}#{newest}
```"""


def _files(packages: Sequence[Package]) -> str:
    rows = [
        "## Checkpoints",
        "",
        "| archive | step | size | optimiser's state | SHA-256 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in sorted(packages, key=lambda package: package.step):
        state = "yes" if one.optimizer_state else "no"
        rows.append(f"| `{one.path.name}` | {one.step} | {one.bytes / 2**20:,.1f} MiB | {state} | `{one.sha256}` |")
    rows += [
        "",
        "T5X checkpoints, each in one top folder with all of its files. Those with the optimiser's state can be",
    ]
    rows.append("trained further as if training had never stopped.")
    return "\n".join(rows)


def _data(dataset: Manifest, clusters: str | None) -> str:
    tempi = ", ".join(f"{bpm} bpm ({count})" for bpm, count in dataset.tempi.items())
    sizes = ", ".join(map(str, dataset.cluster_sizes))
    rows = [
        "## Training music",
        "",
        f"- {_spoken(dataset.hours)} in {dataset.examples} clips; {len(dataset.files)} files",
        *([f"- held out: {dataset.eval_examples} clips"] if dataset.eval_examples else []),
        *([f"- tempi: {tempi}"] if tempi else []),
        f"- clips of each style cluster, in the order of the centroids: {sizes}",
        *(["", f"![Clips by style]({clusters})"] if clusters else []),
    ]
    return "\n".join(rows)


def _training(run: RunFacts, packages: Sequence[Package], *, curves: bool) -> str:
    newest = max(package.step for package in packages)
    how = f"LoRA of rank {run.lora}, merged" if run.lora else "all weights"
    rate = f"{run.learning_rate:g}" if run.learning_rate is not None else "0.5 / sqrt(step), the original's schedule"
    rows = [
        "## Training",
        "",
        f"- {newest - run.first_step:,} steps of batch {run.batch_size} from step {run.first_step:,}; {how}",
        f"- Adafactor, learning rate {rate}; trainer: {run.trainer}",
    ]
    if curves:
        rows += ["", f"![Training curves]({CURVES})"]
    return "\n".join(rows)


def _licence(run: RunFacts | None, dataset: Manifest | None) -> str:
    rows = ["## Licence", ""]
    rows.append(f"Training music: {dataset.licence}." if dataset and dataset.licence else "Training music: not told.")
    if run is not None and run.model in V1_NAMES:
        rows.append(f"The base model's weights are Google's, under CC BY 4.0; see {V1_REPO} for its terms of use.")
    return "\n".join(rows)


def _spoken(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 2 else f"{hours * 60:.1f} minutes"
