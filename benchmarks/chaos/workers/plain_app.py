"""A plain Celery worker that does the fake model's work: solo pool, late acknowledgement, kombu's.

Nothing of it is Stoker's but the broker's address and the names of the tasks. It is set up as well
as kombu allows: what a dead worker held is given back within seconds.
"""

import re
import time
from typing import Any

from celery import signals

from benchmarks.chaos.workers.marks import FORWARD, IN_LOOP, READY, Runs, own_marks
from stoker_config.app import make_app
from stoker_config.settings import load_settings

marks = own_marks()
runs = Runs()
settings = load_settings()
app = make_app(
    settings,
    worker_pool="solo",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_hijack_root_logger=False,
)
app.conf.broker_transport_options = {
    **app.conf.broker_transport_options,
    "visibility_timeout": settings.lease,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}
signals.worker_ready.connect(lambda **_: marks.put(READY, True), weak=False)
signals.worker_shutting_down.connect(lambda **_: marks.put(READY, False), weak=False)


def _texts(value: Any) -> list[str]:
    """Read the texts of an input: a string, an earlier job's result, or a list of these."""
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value["output"][0]["generated_text"]] if isinstance(value, dict) else [value]


def _run(request: Any, value: Any) -> list[str]:
    texts = _texts(value)
    runs.add([request.id])
    marks.put(FORWARD, True)
    marks.put(IN_LOOP, request.eta is not None)
    for seconds in re.findall(r"sleep=([\d.]+)", " ".join(texts)):
        time.sleep(float(seconds))
    marks.put(FORWARD, False)
    marks.put(IN_LOOP, False)
    return texts


@app.task(bind=True, name="stoker.text_classification")
def classify(self: Any, before: Any = None, inputs: Any = None, **_: Any) -> Any:
    """Answer with the input."""
    return {"output": [{"label": text} for text in _run(self.request, inputs or before)]}


@app.task(bind=True, name="stoker.text_generation")
def generate(self: Any, before: Any = None, inputs: Any = None, **_: Any) -> Any:
    """Answer with the input, continued."""
    texts = _run(self.request, inputs or before)
    return {"output": [{"generated_text": f"{text} and on"} for text in texts]}
