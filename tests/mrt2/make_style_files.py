"""Makes tests/mrt2/release/musiccoca: files with the shapes and names of MusicCoCa's, whose networks are a few sums.

python tests/mrt2/make_style_files.py     (needs tensorflow and sentencepiece)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "release" / "musiccoca"
WORDS = ("acid", "house", "dub", "techno", "disco", "funk", "ambient", "piano", "strings", "bass", "drums", "warm")


def main() -> None:
    import tensorflow as tf

    places = tf.constant(np.linspace(0.1, 3.0, 768, dtype=np.float32))

    def spec(shape: tuple[int, ...], dtype: object = tf.float32) -> tf.TensorSpec:
        return tf.TensorSpec(shape, dtype)

    def text(ids: tf.Tensor, paddings: tf.Tensor) -> tf.Tensor:
        there = (1 - paddings)[..., None]
        return tf.reduce_sum(tf.cos(tf.cast(ids, tf.float32)[..., None] * places) * there, axis=1)

    def preprocess(samples: tf.Tensor) -> tf.Tensor:
        frames = tf.reduce_mean(tf.abs(tf.reshape(samples[:, : 992 * 161], (1, 992, 161))), axis=-1)
        return tf.tile(frames[..., None], (1, 1, 128))

    def music(mel: tf.Tensor) -> tf.Tensor:
        return tf.cos(10 * tf.reduce_mean(mel, axis=(1, 2))[:, None] * places)

    def quantize(embedding: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.minimum(tf.abs(embedding[:, :16]) * 300, 1023.0), tf.int32)

    made = {
        "text_encoder": (text, [spec((1, 128), tf.int32), spec((1, 128))]),
        "audio_preprocessor": (preprocess, [spec((1, 160_000))]),
        "music_encoder": (music, [spec((1, 992, 128))]),
        "pretrained_vector_quantizer": (quantize, [spec((1, 768))]),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (function, inputs) in made.items():
        traced = tf.function(function, input_signature=inputs).get_concrete_function()
        converted = tf.lite.TFLiteConverter.from_concrete_functions([traced]).convert()
        (FOLDER / f"{name}.tflite").write_bytes(converted)
    vocabulary()


def vocabulary() -> None:
    import io

    import sentencepiece

    model = io.BytesIO()
    rng = np.random.default_rng(0)
    sentences = (" ".join(rng.choice(WORDS, 4)) for _ in range(500))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences,
        model_writer=model,
        vocab_size=35,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    (FOLDER / "spm.model").write_bytes(model.getvalue())


if __name__ == "__main__":
    main()
