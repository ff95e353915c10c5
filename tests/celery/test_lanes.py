"""Stoker's own tasks do what a plain Celery app's would, whichever lane their ends go through.

Four workers get the same messages: one whose fast lane is open, one in which signals are listened
to that close it, one with STOKER_FAST_LANE=false, and a plain Celery worker with tasks of the same
names. What is compared is all that anyone can see of a job: what is stored, what is sent on, the
events, the signals, and what is left in Redis.
"""

import json
import os
import re
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from celery import Celery, chain, chord, group
from celery.canvas import Signature

from stoker_config import keys
from tests.celery.conftest import SECONDS
from tests.celery.jobs import HEARD, OPEN, QUICK
from tests.doubles.stock import CLASSIFY, GENERATE, QUEUE
from tests.integration.conftest import celery_url
from tests.support import redis_server
from tests.support.until import until
from tests.support.worker import ROOT

AWAY: Final = [keys.queue("away", step, keys.PRIORITY_STEPS) for step in keys.PRIORITY_STEPS]
LANES: Final = ("fast", "heard", "traced", "plain")
# Made up anew for each run.
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ENDS: Final = {"task-succeeded", "task-failed", "task-revoked", "task-rejected"}
# Of an event: what is another's in each run, and what Stoker hides.
_OWN: Final = {"hostname", "pid", "clock", "timestamp", "local_received", "utcoffset", "runtime"}
_HIDDEN: Final = {"args", "kwargs", "result", "traceback"}
# Of a message that is sent on.
_OF_SENDER: Final = {"origin", "argsrepr", "kwargsrepr"}
# Of what is stored: each run's own, and what Stoker adds.
_OF_RUN: Final = {"date_done", "times"}


@dataclass
class Lane:
    """One worker on a server of its own, and a producer that knows nothing of Stoker.

    Attributes:
        app: The producer's app.
        server: A client of the server.
        events: The events of all tasks, as they came.
    """

    app: Celery
    server: Any
    events: list[dict[str, Any]] = field(default_factory=list)

    def job(
        self, text: str | None, task_id: str, name: str = CLASSIFY, **options: Any
    ) -> Signature:
        """Describe a job; one that follows another in a chain has no text."""
        args = () if text is None else (text,)
        return self.app.signature(name, args=args, queue=QUEUE, task_id=task_id, **options)

    def ended(self, ids: Sequence[str]) -> None:
        """Wait until jobs have ended, and their worker has told so and acknowledged them."""
        until(lambda: set(ids) <= {each["uuid"] for each in self._ends()}, SECONDS)
        # Where no result is stored, the acknowledgement comes a moment after the event.
        until(lambda: not self.server.exists(keys.HELD_MESSAGES, keys.HELD), SECONDS)

    def told(self) -> dict[str, Any]:
        """Take all that can be seen of the jobs since the last call, and forget it."""
        told = {
            "stored": self._stored(),
            "sent": self._sent(),
            "events": self._told_events(),
            "signals": self._heard(),
            "quick": int(self.server.get(QUICK) or 0),
        }
        self.server.delete(*AWAY, HEARD, QUICK, *self.server.keys("celery-task-meta-*"))
        self.events.clear()
        left = [
            key for key in self.server.scan_iter() if not key.startswith(("_kombu.", "stoker:"))
        ]
        if left:
            self.server.delete(*left)
        told["left"] = sorted(map(_without_uuids, left))
        told = _without_uuids(told)
        return {**told, "sent": sorted(told["sent"], key=json.dumps)}

    def _ends(self) -> list[dict[str, Any]]:
        return [each for each in tuple(self.events) if each["type"] in _ENDS]

    def _stored(self) -> dict[str, Any]:
        found = {}
        for key in self.server.keys("celery-task-meta-*"):
            meta = json.loads(self.server.get(key))
            kept = {name: value for name, value in meta.items() if name not in _OF_RUN}
            if isinstance(meta["result"], dict) and "output" in meta["result"]:
                kept["result"] = meta["result"]["output"]
            found[key] = {**kept, "traceback": bool(meta["traceback"])}
        return found

    def _sent(self) -> list[Any]:
        """Give the messages that were sent on to somebody else's queue."""
        found = []
        for raw in (raw for key in AWAY for raw in self.server.lrange(key, 0, -1)):
            message = json.loads(raw)
            headers = {k: v for k, v in message["headers"].items() if k not in _OF_SENDER}
            args, kwargs, embed = json.loads(b64decode(message["body"]))
            args = [each["output"] if isinstance(each, dict) else each for each in args]
            priority = message["properties"]["priority"]
            found.append([headers, args, kwargs, embed, priority])
        return found

    def _told_events(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        failed = {each["uuid"] for each in self.events if each["type"] == "task-failed"}
        for event in self.events:
            if event["type"] == "task-started" and event["uuid"] in failed:
                continue  # what preprocessing refuses is never started
            shown = {k: v for k, v in event.items() if k not in _OWN | _HIDDEN}
            found.setdefault(event["uuid"], []).append(
                {**shown, "tells": sorted(event.keys() - _OWN)}
            )
        return found

    def _heard(self) -> dict[str, Any]:
        """Give what each job's receivers of signals were told, in order."""
        found: dict[str, Any] = {}
        for raw in self.server.lrange(HEARD, 0, -1):
            heard = json.loads(raw)
            found.setdefault(heard["request"]["id"], []).append(heard)
        return found


def _without_uuids(told: Any) -> Any:
    return json.loads(_UUID.sub("…", json.dumps(told)))


@contextmanager
def _lane(name: str, folder: Path) -> Iterator[Callable[[], Lane]]:
    """Start a lane's worker; gives what waits until it is there."""
    with ExitStack() as stack:
        url = stack.enter_context(redis_server.running(stack.enter_context(redis_server.folder())))
        command = ["-m", "celery", "-A", "tests.celery.lane", "worker", "-n", f"{name}@judge"]
        told = {"JUDGED_URL": url, "JUDGED_LANE": name, "PYTHONPATH": os.pathsep.join(sys.path)}
        log = stack.enter_context((folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            [sys.executable, *command, "-Q", QUEUE, "-l", "info", "--without-mingle"],
            cwd=ROOT,
            env={**os.environ, **told},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)

        def wait() -> Lane:
            app = stack.enter_context(
                Celery(
                    "shop", broker=celery_url(url), backend=celery_url(url), set_as_current=False
                )
            )
            server = redis.Redis.from_url(url, decode_responses=True)
            lane = Lane(app, stack.enter_context(server))
            until(lambda: bool(app.control.ping([f"{name}@judge"], timeout=1, limit=1)), SECONDS)
            stack.enter_context(_heard_by(lane))
            stack.callback(_stop_waiting, app)
            return lane

        yield wait


def _stop_waiting(app: Celery) -> None:
    # What a failed test holds on to would ask the server when it is gone.
    app.backend.result_consumer.stop()
    app.backend.result_consumer._pubsub = None


@contextmanager
def _heard_by(lane: Lane) -> Iterator[None]:
    """Listen to a lane's events, in a thread."""
    over, listens = threading.Event(), threading.Event()

    def hear(event: dict[str, Any]) -> None:
        if "uuid" in event:
            lane.events.append(event)

    def listen() -> None:
        with lane.app.connection_for_read() as given:
            receiver = lane.app.events.Receiver(given, handlers={"*": hear})
            with receiver.consumer_context() as (connection, _, _):
                while not over.is_set():
                    with suppress(TimeoutError):
                        connection.drain_events(timeout=0.1)
                    listens.set()

    thread = threading.Thread(target=listen)
    thread.start()
    assert listens.wait(SECONDS)
    # A worker tells of tasks once it knows that somebody listens.
    lane.job("heard?", "first").apply_async()
    lane.ended(["first"])
    lane.told()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Lane]]:
    folder = tmp_path_factory.mktemp("lanes")
    with ExitStack() as stack:
        started = {name: stack.enter_context(_lane(name, folder)) for name in LANES}
        yield {name: wait() for name, wait in started.items()}


Scenario = Callable[[Lane], Sequence[str]]


def compared(lanes: dict[str, Lane], scenario: Scenario) -> dict[str, Any]:
    """Run a scenario in each lane, hold them against each other, and give what all have shown.

    Args:
        lanes: The lanes.
        scenario: Sends jobs in one of them, and gives the IDs of those that are to end.
    """
    ids = {name: scenario(lane) for name, lane in lanes.items()}
    told = {}
    for name, lane in lanes.items():
        lane.ended(ids[name])
        told[name] = lane.told()
    quick = {name: each.pop("quick") for name, each in told.items()}
    assert quick == {**dict.fromkeys(LANES, 0), "fast": quick["fast"]}
    plain = told["plain"]
    assert told["traced"] == plain
    assert told["heard"] == plain
    # While the fast lane is open nobody listens to what would close it.
    heard = {
        job: open_to
        for job, signals in plain["signals"].items()
        if (open_to := [each for each in signals if each["signal"] in OPEN])
    }
    assert told["fast"] == {**plain, "signals": heard}
    return {**plain, "quick": quick["fast"]}


def types(told: dict[str, Any], task_id: str) -> list[str]:
    return [each["type"] for each in told["events"][task_id]]


def signals(told: dict[str, Any], task_id: str) -> list[str]:
    return [each["signal"] for each in told["signals"][task_id]]


# -- one job -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "quick"),
    [
        ({}, 1),
        ({"shadow": "another name"}, 1),
        ({"headers": {"trace": "t1"}}, 1),
        ({"priority": 9}, 1),
        ({"eta": "2026-01-01T00:00:00+00:00"}, 1),
        ({"expires": "2126-01-01T00:00:00+00:00"}, 1),
        ({"root_id": "root", "parent_id": "parent"}, 1),
        ({"compression": "zlib"}, 1),
        ({"stamped_headers": ["order"], "order": "o1"}, 1),
        ({"retries": 2}, 0),
        ({"ignore_result": True}, 0),
    ],
    ids=lambda each: next(iter(each), "nothing") if isinstance(each, dict) else "",
)
def test_a_job_is_what_its_message_makes_it(
    lanes: dict[str, Lane], options: dict[str, Any], quick: int
) -> None:
    def scenario(lane: Lane) -> list[str]:
        lane.job("a b", "one").apply_async(**options)
        return ["one"]

    told = compared(lanes, scenario)

    assert told["quick"] == quick
    assert len(told["stored"]) == (not options.get("ignore_result"))
    assert types(told, "one") == ["task-received", "task-started", "task-succeeded"]
    assert signals(told, "one") == ["task_prerun", "task_success", "task_postrun"]


def test_a_job_that_fails_is_told_to_all_who_listen(lanes: dict[str, Lane]) -> None:
    def scenario(lane: Lane) -> list[str]:
        lane.job("bad", "one").apply_async()
        return ["one"]

    told = compared(lanes, scenario)

    assert types(told, "one")[-1] == "task-failed"
    assert signals(told, "one") == ["task_prerun", "task_failure", "task_postrun"]
    assert told["stored"]["celery-task-meta-one"]["result"]["exc_type"] == "InvalidInput"


# -- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["good", "bad"])
@pytest.mark.parametrize("ignored", [False, True])
def test_links_are_sent_what_celery_sends_them(
    lanes: dict[str, Lane], text: str, ignored: bool
) -> None:
    def scenario(lane: Lane) -> list[str]:
        def away(name: str, **options: Any) -> Signature:
            return lane.app.signature(f"shop.{name}", queue="away", task_id=name, **options)

        links = [away("next"), away("alone", args=["own"], immutable=True), away("low", priority=9)]
        lane.job(text, "one").apply_async(
            link=links,
            link_error=[away("mend"), away("tell", kwargs={"to": "all"})],
            ignore_result=ignored,
            priority=3,
        )
        return ["one"]

    told = compared(lanes, scenario)

    names = [headers["task"].removeprefix("shop.") for headers, *_ in told["sent"]]
    assert names == (["alone", "low", "next"] if text == "good" else ["mend", "tell"])
    assert told["quick"] == 0
    assert bool(told["stored"]) is not ignored


@pytest.mark.parametrize("text", ["good", "bad"])
def test_links_that_are_jobs_run(lanes: dict[str, Lane], text: str) -> None:
    def scenario(lane: Lane) -> list[str]:
        mend, then = lane.job(None, "mend"), lane.job(None, "then")
        lane.job(text, "one", GENERATE).apply_async(link=then, link_error=mend)
        return ["one", "then" if text == "good" else "mend"]

    told = compared(lanes, scenario)

    [last] = told["stored"].keys() - {"celery-task-meta-one"}
    label = told["stored"][last]["result"][0]["label"]
    assert label == ("good and on" if text == "good" else "one")


# -- canvas --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["good", "bad"])
def test_a_chain_of_jobs(lanes: dict[str, Lane], text: str) -> None:
    def scenario(lane: Lane) -> list[str]:
        links = lane.job(text, "a", GENERATE), lane.job(None, "b", GENERATE), lane.job(None, "c")
        mend = lane.app.signature("shop.mend", queue="away", task_id="mend")
        chain(*links, app=lane.app).apply_async(link_error=mend)
        return ["a", "b", "c"] if text == "good" else ["a"]

    told = compared(lanes, scenario)

    assert len(told["stored"]) == 3
    assert len(told["sent"]) == (text == "bad")
    last = told["stored"]["celery-task-meta-c"]
    assert last["status"] == ("SUCCESS" if text == "good" else "FAILURE")


def test_a_group_of_jobs(lanes: dict[str, Lane]) -> None:
    def scenario(lane: Lane) -> list[str]:
        group([lane.job(each, each) for each in "abc"], app=lane.app).apply_async()
        return list("abc")

    told = compared(lanes, scenario)

    assert [told["stored"][f"celery-task-meta-{each}"]["status"] for each in "abc"] == (
        ["SUCCESS"] * 3
    )


@pytest.mark.parametrize("text", ["good", "bad"])
def test_a_chord_of_jobs(lanes: dict[str, Lane], text: str) -> None:
    def scenario(lane: Lane) -> list[str]:
        parts = [lane.job("x", "a", GENERATE), lane.job(text, "b", GENERATE)]
        body = lane.job(None, "body")
        body.on_error(lane.app.signature("shop.mend", queue="away", task_id="mend"))
        chord(parts, body, app=lane.app).apply_async()
        return ["a", "b", "body"] if text == "good" else ["a", "b"]

    told = compared(lanes, scenario)

    body = told["stored"]["celery-task-meta-body"]
    assert body["status"] == ("SUCCESS" if text == "good" else "FAILURE")
    assert bool(told["sent"]) is (text == "bad")


def test_a_chord_among_chains(lanes: dict[str, Lane]) -> None:
    def scenario(lane: Lane) -> list[str]:
        ends = [
            chain(
                lane.job(each, f"{each}1", GENERATE, immutable=True),
                lane.job(None, f"{each}2", GENERATE),
                app=lane.app,
            )
            for each in "ab"
        ]
        first, body = lane.job("x", "first", GENERATE), lane.job(None, "body")
        chain(first, group(ends, app=lane.app), body, app=lane.app).apply_async()
        return ["first", "a1", "a2", "b1", "b2", "body"]

    told = compared(lanes, scenario)

    assert len(told["stored"]["celery-task-meta-body"]["result"]) == 2


def test_jobs_that_end_together_end_as_each_would_alone(lanes: dict[str, Lane]) -> None:
    def scenario(lane: Lane) -> list[str]:
        away = lane.app.signature("shop.next", queue="away", task_id="next")
        options = [{}, {"link": away}, {"ignore_result": True}, {"link_error": away}, {}]
        texts = ["slow sleep=0.2", "linked", "ignored", "bad", "plain"]
        for text, each in zip(texts, options, strict=True):
            lane.job(text, text.split()[0]).apply_async(**each)
        return [text.split()[0] for text in texts]

    told = compared(lanes, scenario)

    assert told["quick"] == 2
    assert len(told["stored"]) == 4
    assert len(told["sent"]) == 2
