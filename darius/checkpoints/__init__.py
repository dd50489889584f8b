"""Checkpoints: files on disk <-> flat parameter trees (`dict[str, array]`). Knows nothing of networks or devices."""
