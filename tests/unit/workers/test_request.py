"""What a task is told of its message's headers is what Celery tells."""

import pytest
from celery.app.task import Context

from stoker_workers.broker.request import custom_headers


@pytest.mark.parametrize(
    "own", [{}, {"stoker-contract": 1, "stoker-submitted": 1.5}, {"trace": {"a": [1]}, "x": None}]
)
def test_custom_headers_are_those_that_celery_finds(own: dict[str, object]) -> None:
    headers = {
        "lang": "py",
        "task": "stoker.fill_mask",
        "id": "j1",
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "h",
        "stamps": {},
        "delivery_info": {},
        "ignore_result": None,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        **own,
    }
    assert (custom_headers(headers) or None) == Context(headers).headers
