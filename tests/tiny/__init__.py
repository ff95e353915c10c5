"""Tiny, randomly initialised checkpoints, one or more for each task, built offline in seconds."""
