"""A bucket that is slow to answer holds up those jobs whose inputs lie in it, and no others."""

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from stoker import Client, Failure, Success, TextClassification
from stoker_config import keys
from stoker_config.artifacts_s3 import EXPIRES
from stoker_config.settings import Settings
from stoker_config.stores import open_store
from stoker_tasks.errors import ErrorType
from tests.support.http_server import serving
from tests.support.s3 import S3
from tests.support.until import until
from tests.support.worker import worker

SECONDS: Final = 30.0
LARGE: Final = "word " * 500
# How many jobs' inputs a worker reads at once.
TOGETHER: Final = 8


@dataclass
class Slow:
    """A bucket whose objects come only when they are let.

    Attributes:
        endpoint: Where it is.
        let: Set once they may come.
        asked: Which objects are asked for, and have not come yet.
        most: How many of them there were at once.
    """

    endpoint: str = ""
    let: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    most: int = 0

    def answer(self, behind: str, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        self.most = max(self.most, len(self.asked))
        assert self.let.wait(SECONDS)
        asked = urllib.request.Request(behind + request.path, headers=dict(request.headers))
        try:
            with urllib.request.urlopen(asked, timeout=20) as found:
                status, body, expires = 200, found.read(), found.headers[f"x-amz-meta-{EXPIRES}"]
        except urllib.error.HTTPError as error:
            status, body, expires = error.code, error.read(), None
        finally:
            # Before it comes: who has it asks for the next one at once.
            self.asked.remove(request.path)
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        if expires is not None:
            request.send_header(f"x-amz-meta-{EXPIRES}", expires)
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def bucket(s3: S3) -> Iterator[Slow]:
    found = Slow()
    with serving(partial(found.answer, s3.endpoint)) as running:
        found.endpoint = f"http://127.0.0.1:{running.port}"
        yield found
        found.let.set()


def test_a_slow_bucket_holds_up_no_job_that_needs_nothing_of_it(
    redis_url: str, s3: S3, bucket: Slow, tmp_path: Path
) -> None:
    def settings(endpoint: str) -> dict[str, object]:
        return s3.settings(s3_endpoint=endpoint, inline_limit=1000)

    here = Settings.model_validate({"redis_url": redis_url, **settings(s3.endpoint)})
    with (
        worker(redis_url, tmp_path, **settings(bucket.endpoint)),
        Client(settings=here) as client,
    ):
        large = client.submit_many(large_job(str(at)) for at in range(2 * TOGETHER))
        lost, late, canceled = client.submit_many(
            [large_job("lost"), large_job("late", queue_timeout=0.2), large_job("canceled")]
        )
        until(lambda: len(bucket.asked) == TOGETHER)

        # Its neighbours pass, as many as come.
        for at in range(20):
            small = client.submit(TextClassification(inputs=f"small {at}"))
            assert isinstance(small.result(SECONDS), Success)
        assert len(bucket.asked) == bucket.most == TOGETHER
        assert not any(each.status().terminal for each in large)

        with redis.Redis.from_url(redis_url, decode_responses=True) as server:
            open_store(here, server).delete(list(server.smembers(keys.inputs(lost.id))))
        assert canceled.cancel() == "canceled"
        time.sleep(0.2)  # until the late one is late
        bucket.let.set()
        for at, handle in enumerate(large):
            result = handle.result(SECONDS)
            assert isinstance(result, Success)
            assert result.output[0]["label"].startswith(f"{at} word")
            assert result.timing.fetch_ms > 0
        assert bucket.most == TOGETHER
        ends = [each.wait(SECONDS) for each in (lost, late)]
        assert [each.error for each in ends if isinstance(each, Failure)] == [
            ErrorType.INPUT_FETCH_FAILED,
            ErrorType.QUEUE_TIMEOUT,
        ]
        assert canceled.status().state == "canceled"


def large_job(name: str, **fields: Any) -> TextClassification:
    return TextClassification(inputs=f"{name} {LARGE}", **fields)
