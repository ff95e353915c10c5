"""Celery's side of a worker: messages in, results and acknowledgements out."""
