"""MusicCoCa as Magenta RealTime v1 exports it: v1's signatures and names over small random networks."""

import io

import numpy as np
import sentencepiece
import tensorflow as tf

SENTENCES = [
    "acid house with a rolling bass line",
    "deep techno, warehouse drums and a dark drone",
    "warm jazz piano over brushed drums",
    "ambient pads, slow and wide",
    "drum and bass with chopped breaks",
    "lo-fi hip hop with dusty keys",
    "funky disco guitar and strings",
    "a quiet folk song for voice and banjo",
]


def vocabulary():
    """A real SentencePiece model, trained on a few sentences: the bytes of `spm.model`."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=written, vocab_size=80, hard_vocab_limit=False, minloglevel=2
    )
    return written.getvalue()


class Towers(tf.Module):
    """Variables are anonymous leaves, as in the original; the outputs stand beside their normalised twins."""

    def __init__(self, rng, pieces=80, dim=768):
        super().__init__()
        leaves = [(pieces, dim), (128, dim), (dim, dim), (dim,), (129, dim), (dim, dim)]
        self.tf_var_leaves = [tf.Variable(rng.normal(0, 0.7 / np.sqrt(s[0]), s).astype(np.float32)) for s in leaves]

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([1, 128], tf.int32, name="inputs_0"),
            tf.TensorSpec([1, 128], tf.float32, name="inputs_0_1"),
        ],
    )
    def embed_text(self, inputs_0, inputs_0_1):
        table, positions, kernel, bias, _, _ = self.tf_var_leaves
        known = (1 - inputs_0_1)[..., None]
        hidden = tf.nn.gelu((tf.gather(table, inputs_0) + positions) @ kernel + bias)
        embedding = tf.reduce_sum(hidden * known, 1) / tf.reduce_sum(known, 1) * 30
        return _named("contrastive_txt_embed", embedding)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([1, 160000], tf.float32, name="inputs_0")])
    def embed_music(self, inputs_0):
        _, _, _, _, mel, kernel = self.tf_var_leaves
        frames = tf.reshape(inputs_0, [1, 1000, 160]) * tf.signal.hann_window(160)
        spectrum = tf.math.log(tf.abs(tf.signal.rfft(frames, [256])) + 1e-2)
        return _named("contrastive_music_embed", tf.reduce_mean(tf.tanh(spectrum @ mel) @ kernel, 1) * 30)


class Unconvertible(tf.Module):
    """`embed_text` with an operation that no TFLite built-in can do."""

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([1, 128], tf.int32, name="inputs_0"),
            tf.TensorSpec([1, 128], tf.float32, name="inputs_0_1"),
        ],
    )
    def embed_text(self, inputs_0, inputs_0_1):
        square = tf.cast(inputs_0, tf.float32) * tf.transpose(1 - inputs_0_1) + 3 * tf.eye(128)
        embedding = tf.reshape(tf.linalg.inv(square), [1, -1])[:, :768] + tf.cast(tf.reduce_sum(inputs_0), tf.float32)
        return _named("contrastive_txt_embed", embedding)


class Quantizer(tf.__internal__.tracking.AutoTrackable):
    """Twelve codebooks [768, 1024] as `variables`, stored in the order of their names as strings."""

    def __init__(self, codebooks):
        super().__init__()
        order = sorted(range(len(codebooks)), key=str)
        self.variables = [tf.Variable(codebooks[level].T) for level in order]


def save_towers(module, folder, signatures):
    tf.saved_model.save(module, str(folder), signatures={name: getattr(module, name) for name in signatures})


def _named(name, embedding):
    return {name: embedding, f"{name}_l2_normalized": tf.math.l2_normalize(embedding, -1)}
