"""The embedded model: data, codec, style, language model, packaging."""
