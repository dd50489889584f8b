"""The original's training task, for seqio and T5X: registered from a dataset's manifest, so that names cannot mismatch.

The same windows as `finetune.windows`, as a TensorFlow graph, drawn as the original draws them. Knows TensorFlow; our
own trainer does without it.

Source: the finetuning task of Magenta RealTime v1 (`magenta_rt.finetune.tasks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from darius.errors import MissingDependency
from darius.tokens import MASK_ID, TokenLayout
from finetune import manifest
from finetune.manifest import Manifest
from finetune.records import ACOUSTIC, STYLE, STYLE_CLIP_SECONDS
from finetune.windows import FULL_CONTEXT, STYLE_DROPOUT

EVAL_CHUNKS = 5
"""The evaluation task's targets are so many chunks, where the clip is long enough."""
FULL_TARGETS = "full_targets"
Tensor = Any
Features = Mapping[str, Tensor]


def register(folder: Path, *, layout: TokenLayout | None = None) -> str:
    """Registers `<task>` and `<task>_eval` with seqio, again if they were registered before; returns the task's name.

    Both have the splits "train" and "validation"; without held-out examples the second is the first.

    Args:
      folder: of a dataset.
      layout: of the model's tokens; by default v1's.

    Raises:
      BadDataset: as `manifest.load`.
      MissingDependency: seqio is not installed.
    """
    described = manifest.load(folder)
    seqio = _seqio()
    shape = layout or TokenLayout()
    seconds = shape.chunk_frames // shape.frame_rate
    # The original has its windows before the placeholder, and so trains on one window of each clip for ever: seqio
    # repeats what comes before it without drawing again.
    first = seqio.CacheDatasetPlaceholder()
    steps = [first, _windows(described, shape, seconds), _style_dropout(shape)]
    _add(described.task, described, folder, shape, steps)
    steps = [first, _windows(described, shape, seconds * EVAL_CHUNKS), _keep_targets()]
    _add(described.eval_task, described, folder, shape, steps)
    return described.task


def _add(name: str, described: Manifest, folder: Path, layout: TokenLayout, steps: list[Any]) -> None:
    import tensorflow as tf

    seqio = _seqio()
    training = str(described.examples_file(folder).resolve())
    held_out = described.eval_file(folder)
    vocabulary = seqio.PassThroughVocabulary(layout.vocab_size)
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    seqio.TaskRegistry.add(
        name,
        source=seqio.TFExampleDataSource(
            split_to_filepattern={"train": training, "validation": str(held_out.resolve()) if held_out else training},
            feature_description={key: tf.io.FixedLenFeature([], tf.string) for key in (ACOUSTIC, STYLE)},
            reader_cls=tf.data.TFRecordDataset,
        ),
        preprocessors=steps,
        output_features={key: seqio.Feature(vocabulary, add_eos=False) for key in ("inputs", "targets")},
    )


def _windows(described: Manifest, layout: TokenLayout, target_seconds: int) -> Callable[..., Any]:
    """A preprocessor: serialised features -> `inputs` int32 [encoder_length], `targets` int32 [seconds * ids]."""
    import tensorflow as tf

    def cut(features: Features, seeds: Tensor) -> dict[str, Tensor]:
        codes = tf.ensure_shape(tf.io.parse_tensor(features[ACOUSTIC], tf.int32), [None, described.levels])
        styles = tf.ensure_shape(tf.io.parse_tensor(features[STYLE], tf.int32), [None, layout.style_levels])
        rate, most = layout.frame_rate, layout.context_frames // layout.frame_rate
        seconds = tf.shape(codes)[0] // rate
        chunk = layout.chunk_frames // rate
        target = tf.minimum(target_seconds, seconds // chunk * chunk)
        drawn = tf.random.stateless_uniform((), seeds[0], 0, FULL_CONTEXT * most, tf.int32)
        context = tf.minimum(drawn, tf.minimum(most, seconds - target))
        start = tf.random.stateless_uniform((), seeds[1], 0, seconds - context - target + 1, tf.int32)
        end = (start + context) * rate
        heard = codes[start * rate : end, : layout.context_levels] + _starts(layout.context_levels, layout)
        missing = layout.context_frames - tf.shape(heard)[0]
        heard = tf.pad(heard + layout.codec_offset, [[missing, 0], [0, 0]], constant_values=MASK_ID)
        # the middle of the targets, in half seconds
        row = (2 * (start + context) + target) // (2 * STYLE_CLIP_SECONDS)
        style = styles[tf.minimum(row, tf.shape(styles)[0] - 1), : layout.context_style_levels]
        style += _starts(layout.context_style_levels, layout) + layout.style_offset
        targets = codes[end : end + target * rate, : layout.codec_levels] + _starts(layout.codec_levels, layout)
        inputs = tf.concat([tf.reshape(heard, [-1]), style], axis=0)
        return {
            "inputs": tf.ensure_shape(inputs, [layout.encoder_length]),
            "targets": tf.reshape(targets + layout.codec_offset, [-1]),
        }

    preprocessor: Callable[..., Any] = _seqio().map_over_dataset(num_seeds=3)(cut)
    return preprocessor


def _style_dropout(layout: TokenLayout) -> Callable[..., Any]:
    """A preprocessor: in one draw of ten, the style ids become masks."""
    import tensorflow as tf

    def mask(example: Features, seed: Tensor) -> dict[str, Tensor]:
        chances = tf.math.log([[1 - STYLE_DROPOUT, STYLE_DROPOUT]])
        masked = tf.random.stateless_categorical(chances, 1, seed, dtype=tf.int32)[0, 0]
        inputs = example["inputs"]
        is_style = tf.range(layout.encoder_length) >= layout.encoder_length - layout.context_style_levels
        return {**example, "inputs": tf.where(is_style & (masked == 1), MASK_ID, inputs)}

    preprocessor: Callable[..., Any] = _seqio().map_over_dataset(num_seeds=1)(mask)
    return preprocessor


def _keep_targets() -> Callable[..., Any]:
    """A preprocessor: the targets again, under a name that no feature converter trims."""
    preprocessor: Callable[..., Any] = _seqio().map_over_dataset(lambda ex: {**ex, FULL_TARGETS: ex["targets"]})
    return preprocessor


def _starts(levels: int, layout: TokenLayout) -> Tensor:
    """Where each level's codes begin, from the first level's."""
    import tensorflow as tf

    return tf.range(levels) * layout.codebook_size


def _seqio() -> Any:
    try:
        import seqio
    except ImportError:
        raise MissingDependency(
            "The original's task needs seqio, which is not installed.", "Run `pip install 'darius[finetune]'`."
        ) from None
    return seqio
