"""Celery's side of a worker: messages in, results and acknowledgements out."""

from stoker_workers.broker.reliance import check

# Before any of these rooms imports what another version may not have.
check()
