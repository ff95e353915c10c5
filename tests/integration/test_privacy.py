"""What a job was given and gave is shown to its caller alone.

A stock producer sends canaries in every place of a message, valid and not. They must appear in no
event, no reply to `inspect`, no page of Flower and no log line; and every message gets an answer.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import pytest
import redis
from celery import Celery, chain, chord

from stoker import Client, State, TextClassification
from stoker_config import keys
from stoker_config.app import make_app
from stoker_config.settings import Settings
from tests.doubles.stock import CLASSIFY, GENERATE, Producer, job, producer
from tests.integration.conftest import celery_url
from tests.support import redis_server
from tests.support.flower import Flower, flower
from tests.support.until import until
from tests.support.worker import Worker, worker

pytestmark = pytest.mark.both_transports

CANARY: Final = "c4n4ry-in-a-mine"
PASSWORD: Final = "pa55-of-the-broker"
MAX_MESSAGE: Final = 20_000
RESULTS: Final = keys.result("").encode()
QUEUES: Final = ("stoker", "stoker.b")

# A body as Celery sends it, but for its last part.
BODY: Final[list[Any]] = [
    [],
    {"inputs": CANARY},
    {"callbacks": None, "errbacks": None, "chain": None},
]


def traces(secret: str) -> list[str]:
    """Give the forms in which a text may stand in another: plain, and base64 at any offset."""
    coded = [base64.b64encode(b"\0" * shift + secret.encode())[4:-4].decode() for shift in range(3)]
    return [secret, *coded]


def assert_clean(text: str, where: str) -> None:
    for secret in (CANARY, PASSWORD):
        for trace in traces(secret):
            at = text.find(trace)
            assert at < 0, f"in {where}: …{text[max(0, at - 300) : at + 60]}…"


class Events:
    """Hears all that is published on a server, but for the results, which are the callers'."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.kinds: set[str] = set()

    @contextmanager
    def listening(self, url: str) -> Iterator[None]:
        end = threading.Event()
        with redis.Redis.from_url(url) as client, client.pubsub() as pubsub:
            pubsub.psubscribe("*")
            thread = threading.Thread(target=self._listen, args=(pubsub, end))
            thread.start()
            yield
            end.set()
            thread.join()

    def _listen(self, pubsub: Any, end: threading.Event) -> None:
        while not end.is_set():
            message = pubsub.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message is not None and not message["channel"].startswith(RESULTS):
                self._hear(message["channel"].decode(), json.loads(message["data"]))

    def _hear(self, channel: str, envelope: dict[str, Any]) -> None:
        body = base64.b64decode(envelope["body"]).decode()
        self.texts += [json.dumps(envelope), body]
        if "celeryev" in channel:
            events = json.loads(body)
            self.kinds |= {each["type"] for each in events if isinstance(events, list)}


@dataclass
class Deployment:
    """Two workers that log in both ways, a producer, and who looks on."""

    app: Celery
    client: Client
    stock: Producer
    flower: Flower
    events: Events
    workers: list[Worker]


@pytest.fixture(scope="module")
def deployment(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("privacy")
    with ExitStack() as stack:
        short = stack.enter_context(redis_server.folder())
        url = stack.enter_context(redis_server.running(short))
        with redis.Redis.from_url(url) as server:
            server.config_set("requirepass", PASSWORD)
        url = url.replace("unix://", f"unix://:{PASSWORD}@")
        seen = stack.enter_context(flower(url, folder))
        events = Events()
        stack.enter_context(events.listening(url))
        people = worker(url, folder, name="people", transport=transport, max_message=MAX_MESSAGE)
        machines = worker(
            url,
            folder,
            name="machines",
            queues="stoker.b",
            pool="b",
            transport=transport,
            max_message=MAX_MESSAGE,
            log_format="json",
            log_level="debug",
        )
        yield Deployment(
            app=make_app(Settings.model_validate({"redis_url": url})),
            client=stack.enter_context(Client(url)),
            stock=stack.enter_context(producer(celery_url(url))),
            flower=seen,
            events=events,
            workers=[stack.enter_context(people), stack.enter_context(machines)],
        )


def send(here: Deployment, queue: str) -> dict[str, str]:
    """Send a canary in every place; gives each job's ID by what is special about it."""
    stock = here.stock
    jobs: dict[str, str] = {}

    def task(what: str, name: str, *args: Any, **options: Any) -> None:
        jobs[what] = stock.send_task(name, *args, queue=queue, **options)

    def raw(what: str, body: Any, *, headers: dict[str, Any] | None = None, **more: Any) -> None:
        job_id = str(uuid4())
        jobs[what] = job_id
        reprs = {"argsrepr": CANARY, "kwargsrepr": CANARY}
        stock.publish(
            body if isinstance(body, bytes) else json.dumps(body).encode(),
            queue,
            {"task": CLASSIFY, "id": job_id, **reprs, **(headers or {})},
            **{"content_type": "application/json", "content_encoding": "utf-8", **more},
        )

    task("input", CLASSIFY, kwargs={"inputs": CANARY})
    task("position", CLASSIFY, CANARY)
    task("metadata", CLASSIFY, kwargs={"inputs": "x", "metadata": {CANARY: CANARY}})
    task("value", CLASSIFY, kwargs={"inputs": "x", "parameters": {"top_k": CANARY}})
    task("parameter", CLASSIFY, kwargs={"inputs": "x", "parameters": {CANARY: 1}})
    task("field", CLASSIFY, kwargs={"inputs": "x", CANARY: 1})
    task("two", CLASSIFY, CANARY, CANARY)
    task("failing", CLASSIFY, f"fail {CANARY}")
    task("unknown task", "stoker.no_such_task", CANARY, kwargs={"inputs": CANARY})
    task("not ours", "shop.ship", CANARY)
    task("over-size", CLASSIFY, (CANARY + " ") * 2000)
    task("pickle", CLASSIFY, CANARY, serializer="pickle")
    task("yaml", CLASSIFY, CANARY, serializer="yaml")
    task("claim", CLASSIFY, kwargs={"claim": CANARY})
    raw("not JSON", f"{{{CANARY}".encode())
    raw("not a body", [CANARY])
    raw("not arguments", [{CANARY: 1}, [CANARY], None])
    raw("raw", CANARY.encode(), content_type="application/data", content_encoding="binary")
    raw("eta", BODY, headers={"eta": CANARY})
    raw("compressed", CANARY.encode(), headers={"compression": "application/x-gzip"})
    raw("stamps", BODY, headers={"stamped_headers": 7, "stamps": CANARY})
    broken = {"task": 7, "args": [CANARY], "options": CANARY}
    for what in ("callbacks", "chain", "errbacks"):
        raw(f"broken {what}", [["bad"], {}, {what: [broken]}])
        raw(f"broken {what} of a success", [["x"], {}, {what: [broken]}])
    # What Celery says of this one quotes it.
    quoted = {"task": "shop.ship", "subtask_type": CANARY}
    raw("quoted callback", [["x"], {}, {"callbacks": [quoted]}])
    raw(
        "an unknown task's errbacks", [[], {}, {"errbacks": [broken]}], headers={"task": "stoker.x"}
    )
    stock.publish(CANARY.encode(), queue, {CANARY: 1}, content_type="text/plain")
    stock.publish(f'{{"{CANARY}": 1}}'.encode(), queue, {}, content_type="application/json")

    def link(name: str, *args: Any, **kwargs: Any) -> Any:
        return job(name, *args, **kwargs).set(queue=queue)

    jobs["chain"] = stock.send(chain(link(GENERATE, CANARY), link(CLASSIFY)))[0][0]
    bad = link(CLASSIFY, parameters={CANARY: CANARY})
    jobs["failing link"] = stock.send(chain(link(GENERATE, CANARY), bad))[0][0]
    members = [link(GENERATE, CANARY), link(GENERATE, CANARY, **{CANARY: 1})]
    jobs["failing chord"] = stock.send(chord(members, link(CLASSIFY)))[0][0]
    return jobs


ENDS: Final = {
    "SUCCESS": ["input", "position", "metadata", "chain", "broken errbacks of a success"],
    "InvalidInput": [
        *("value", "parameter", "field", "two", "failing link", "pickle", "yaml"),
        *("not JSON", "not a body", "not arguments", "raw", "eta", "compressed"),
        *("broken callbacks", "broken errbacks", "broken chain"),
    ],
    "Internal": ["failing", "stamps"],
    "InputFetchFailed": ["claim"],
    "UnknownTask": ["unknown task", "an unknown task's errbacks"],
    "NotRegistered": ["not ours"],
    "TooLarge": ["over-size"],
    # As Celery has them.
    "TypeError": ["broken callbacks of a success", "broken chain of a success"],
    "ChordError": ["failing chord"],
    "KeyError": ["quoted callback"],
}


Sent = dict[tuple[str, str], str]


@pytest.fixture(scope="module")
def sent(deployment: Deployment) -> Sent:
    """The ID of each job that was sent, by its queue and its name in `ENDS`; all have ended."""
    jobs = {
        (queue, what): job_id
        for queue in QUEUES
        for what, job_id in send(deployment, queue).items()
    }
    until(lambda: all(deployment.client.status(each).terminal for each in jobs.values()))
    return jobs


def test_every_message_gets_an_answer(deployment: Deployment, sent: Sent) -> None:
    ends = {
        place: getattr(deployment.stock.get(job_id), "type", "SUCCESS")
        for place, job_id in sent.items()
    }

    assert ends == {
        (queue, what): end for queue in QUEUES for end, jobs in ENDS.items() for what in jobs
    }
    for running in deployment.workers:
        assert running.process.poll() is None


def test_nothing_is_shown_while_a_job_waits_and_runs(deployment: Deployment) -> None:
    stock, client = deployment.stock, deployment.client
    running = stock.send_task(CLASSIFY, f"steps=60 {CANARY}")
    until(lambda: client.status(running).state is State.RUNNING)
    waiting = stock.send_task(CLASSIFY, CANARY)
    scheduled = stock.send_task(CLASSIFY, CANARY, countdown=60)
    revoked = stock.send_task(CLASSIFY, CANARY)
    stock.revoke(revoked)
    name = deployment.workers[0].name
    inspect = deployment.app.control.inspect([name], timeout=5, limit=1)

    until(lambda: running in str(inspect.active()))
    until(lambda: waiting in str(inspect.reserved()) and scheduled in str(inspect.scheduled()))
    replies = {
        "active": inspect.active(),
        "reserved": inspect.reserved(),
        "scheduled": inspect.scheduled(),
        "query_task": inspect.query_task(running, waiting, scheduled, revoked),
        **{name: getattr(inspect, name)() for name in ("stats", "conf", "report", "revoked")},
    }

    assert running in str(replies["active"])
    assert all(each in str(replies["query_task"]) for each in (running, waiting, scheduled))
    for command, reply in replies.items():
        assert reply, command
        assert_clean(repr(reply), command)
    page = deployment.flower.shown(f"/worker/{name}")
    assert_clean(page, "Flower's page of a worker")
    client.cancel(running)
    for each in (running, waiting, revoked):
        stock.get(each)


def test_flower_shows_jobs_without_their_words(deployment: Deployment, sent: Sent) -> None:
    shown = deployment.flower
    # The body of a chord that failed was never sent.
    received = {job_id for (_, what), job_id in sent.items() if what != "failing chord"}
    until(lambda: received <= shown.tasks().keys())
    table = "/tasks/datatable?draw=1&start=0&length=500&search[value]=&order[0][column]=0"
    table += "&order[0][dir]=asc&columns[0][data]=name"
    pages = ["/", "/workers", "/tasks", table, "/broker", "/metrics", "/api/tasks"]
    pages += ["/api/workers?refresh=1", "/api/task/types", "/api/queues/length"]
    pages += [f"/worker/{running.name}" for running in deployment.workers]
    for each in received:
        pages += [f"/task/{each}", f"/api/task/info/{each}"]

    for path in pages:
        assert_clean(shown.shown(path), path)


def test_no_event_has_a_callers_words(deployment: Deployment, sent: Sent) -> None:
    seen = {"task-received", "task-started", "task-succeeded", "task-failed"}
    until(lambda: seen <= deployment.events.kinds)

    for text in deployment.events.texts:
        assert_clean(text, "an event")


def test_no_log_line_has_a_callers_words_but_the_operator_is_told(
    deployment: Deployment, sent: Sent
) -> None:
    for running in deployment.workers:
        assert_clean(running.lines(), f"the log of {running.name}")
    log = "".join(running.lines() for running in deployment.workers)
    assert f"refused 'stoker.no_such_task' ['{sent['stoker', 'unknown task']}']: UnknownTask" in log
    assert (
        f"refused 'stoker.text_classification' ['{sent['stoker.b', 'pickle']}']: InvalidInput"
        in log
    )
    assert "ValueError at forward" in log


def test_each_line_for_machines_is_an_object(deployment: Deployment, sent: Sent) -> None:
    lines = [line for line in deployment.workers[1].lines().splitlines() if line.startswith("{")]

    assert len(lines) > 50
    levels = {json.loads(line)["level"] for line in lines}
    assert {"debug", "info", "warning", "error"} <= levels


def test_jobs_make_no_lines_of_their_own_unless_one_debugs(
    deployment: Deployment, sent: Sent
) -> None:
    people, machines = (running.lines() for running in deployment.workers)

    assert "] received" not in people
    assert "] succeeded" not in people
    assert "] received" in machines


def test_flower_shows_every_job_with_its_runtime(deployment: Deployment) -> None:
    client, stock = deployment.client, deployment.stock
    handles = client.submit_many([TextClassification(inputs=f"text {n}") for n in range(20)])
    ids = [handle.id for handle in handles]
    ids += [stock.send_task(CLASSIFY, f"text {n}") for n in range(20)]

    def done() -> bool:
        tasks = deployment.flower.tasks()
        return all(tasks.get(each, {}).get("state") == "SUCCESS" for each in ids)

    until(done)
    tasks = deployment.flower.tasks()
    for each in ids:
        assert tasks[each]["name"] == CLASSIFY
        assert tasks[each]["runtime"] > 0
        assert tasks[each]["result"].startswith("<fake@local, batch ")


def test_flower_asks_who_is_there(deployment: Deployment) -> None:
    assert deployment.flower.page("/api/tasks", user="operator:guess")[0] == 401
