"""Drives Stoker from a Celery app that knows nothing of it: `python examples/stock_celery.py`.

Only Celery is imported. CELERY_URL names the Redis server, which is the one in STOKER_REDIS_URL.
"""

import os
import sys

from celery import Celery, chord, signature
from celery.result import AsyncResult

URL = os.environ.get("CELERY_URL", "redis://localhost:6379/0")
CLASSIFY = "stoker.text_classification"
GENERATE = "stoker.text_generation"

app = Celery(broker=URL, backend=URL)
# The queue of Stoker's default pool; that of a pool NAME is stoker.NAME.
app.conf.task_default_queue = "stoker"


def main() -> int:
    """Send one job, then a chord of several."""
    one = app.send_task(CLASSIFY, kwargs={"inputs": "I like you.", "parameters": {"top_k": 1}})
    print(one.get(timeout=600)["output"])

    # Three texts are continued, and all three are classified as one job.
    begun = [signature(GENERATE, args=[text], app=app) for text in ("Once", "Then", "Now")]
    all_of_them: AsyncResult = chord(begun, app=app)(signature(CLASSIFY, app=app))
    print(all_of_them.get(timeout=600)["output"])

    # An error is a Celery failure with a type and a message, here without Stoker's classes.
    wrong = app.send_task(CLASSIFY, kwargs={"inputs": "x", "parameters": {"topk": 1}})
    error = wrong.get(timeout=600, propagate=False)
    print(type(error).__name__, error.args[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
