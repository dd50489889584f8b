"""What Magenta RealTime v1 itself gives: its call protocols written out, on the small networks of the tests."""

import numpy as np
import sentencepiece
import tensorflow as tf

from darius.codec.config import CodecConfig

CODEC = CodecConfig(encoder_depth=4, decoder_depth=4, num_features=16, num_levels=6, codebook_size=32)
TEXTS = ["acid house", "Deep TECHNO", "warm jazz piano, brushed drums", "zither & Ærø"]


def tokens_of(v1, audio):
    """v1's tokens of samples [B, n, 2]: int32 [B, frames, levels]."""
    tokens, _ = v1.quantizer.inference_encoding_with_tf_function(v1.encoder(audio), CODEC.num_levels)
    return tf.transpose(tokens, [1, 2, 0]).numpy()


def audio_of(v1, tokens):
    """v1's samples of tokens [B, frames, levels]: float32 [B, n, 2]."""
    books = [quantizer.embeddings.numpy().T for quantizer in v1.quantizer._quantizers]
    return v1.decoder(sum(book[tokens[..., level]] for level, book in enumerate(books))).numpy()


def text_embeddings_of(v1, texts):
    """v1's embeddings of texts, float32 [n, 768], by the original's call protocol."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=v1.vocabulary)
    rows = []
    for text in texts:
        labels = processor.EncodeAsIds(text.lower())[:127]
        ids = [1, *labels] + [0] * (127 - len(labels))
        paddings = 1.0 - tf.sequence_mask(len(labels) + 1, maxlen=128, dtype=tf.float32)
        rows.append(v1.towers.embed_text(tf.constant([ids]), paddings[None])["contrastive_txt_embed"][0])
    return np.stack(rows)


def clip_embeddings_of(v1, clips):
    """v1's embeddings of 10-s clips [n, 160000], float32 [n, 768]."""
    return np.stack([v1.towers.embed_music(clip[None])["contrastive_music_embed"][0] for clip in clips])


def style_tokens_of(v1, embeddings):
    """v1's tokens of embeddings [n, 768], int32 [n, 12], by the original's own distances."""
    tokens, residual = [], embeddings
    for book in v1.codebooks:
        nearest = np.argmin(np.linalg.norm(residual[:, None] - book, axis=-1), axis=1)
        tokens.append(nearest)
        residual = residual - book[nearest]
    return np.stack(tokens, 1).astype(np.int32)


def relative(ours, expected):
    """Largest deviation relative to the largest value."""
    return np.max(np.abs(np.asarray(ours) - expected)) / np.max(np.abs(expected))
