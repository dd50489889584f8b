"""Style: text and audio to embeddings, mixtures and tokens."""
