"""Finetuning: `prepare-data`, `train`, `package-ckpt`, `upload`. Arrives with finetuning; nothing is here yet."""
