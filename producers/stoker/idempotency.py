"""Idempotency keys: the same request twice is one job, and its key is not taken for another."""

import hashlib
import json
from typing import Any

from stoker_tasks.job import Job
from stoker_tasks.wire import to_kwargs


def digest_of(key: str, tenant: str | None) -> str:
    """Give the name under which a tenant's key is kept and travels: it may say who calls."""
    scoped = f"{tenant}\0{key}" if tenant else key
    return hashlib.sha256(scoped.encode()).hexdigest()[:40]


def fingerprint_of(job: Job, pool: str) -> str:
    """Give what is the same for two requests that ask for the same."""
    body: list[Any] = [job.task, pool, job.priority, to_kwargs(job)]
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:40]
