"""Sound on its own: samples, rates, files, bars, tempo and loudness. Nothing here knows of a model."""
