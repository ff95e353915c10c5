"""Somebody's own Celery app, with habits and tasks of its own: `celery -A tests.doubles.shop`."""

import os
from functools import cache
from typing import Any

from celery import Celery

from stoker import Client, TextClassification


def make_app(url: str, **conf: Any) -> Celery:
    """Make the app; what differs from Celery's defaults is what must not disturb Stoker."""
    app = Celery("shop", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        task_default_queue="shop",
        task_serializer="pickle",
        accept_content=["pickle", "json"],
        task_compression="gzip",
        task_send_sent_event=True,
        timezone="Asia/Kathmandu",
        broker_transport_options={"priority_steps": list(range(10))},
    )
    app.conf.update(conf)
    return app


app = make_app(os.environ.get("SHOP_URL", ""))


@cache
def client() -> Client:
    return Client(app=app)


@app.task(name="shop.best_label")
def best_label(result: dict[str, Any]) -> str:
    """Pick what a next task takes from a task that has nothing to hand over."""
    return str(result["output"][0]["label"])


@app.task(name="shop.classify")
def classify(text: str) -> str:
    """Wait for a job inside a task of one's own."""
    result = client().submit(TextClassification(inputs=text)).result(timeout=15)
    return str(result.output[0]["label"])
