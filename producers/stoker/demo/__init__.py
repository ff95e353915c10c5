"""The demo: a real corpus, real models, and answers that are checked."""
