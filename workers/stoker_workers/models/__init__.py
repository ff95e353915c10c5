"""The worker's model rooms: the only place that imports torch and transformers."""
