"""The supervisor: a worker process that dies costs its job's time, and no job."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from stoker import Client, Failure, State, Success, TextClassification
from stoker_config import keys
from stoker_config.settings import Settings
from stoker_workers.exits import SOFTWARE
from stoker_workers.supervisor import Supervisor
from tests.support.own_code import KILL, with_own_code
from tests.support.until import until
from tests.support.worker import Worker, environment, launched, model_worker, worker
from tests.tiny.fixture import TinyModel, tiny

__all__ = ["tiny"]

pytestmark = pytest.mark.both_transports


def text(words: str) -> TextClassification:
    return TextClassification(inputs=words)


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def supervised(redis_url: str, tmp_path: Path, transport: str) -> Iterator[Worker]:
    # A lease so long that only the supervisor can be the one that gives jobs back.
    with worker(redis_url, tmp_path, supervised=True, transport=transport, lease=3600) as running:
        yield running


def is_over(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def child_of(supervisor: Worker) -> int:
    [child] = psutil.Process(supervisor.process.pid).children()
    return child.pid


@pytest.mark.own_transport("a supervisor gives a dead worker's jobs back at once")
def test_jobs_of_a_dead_process_are_given_back_at_once_and_run_again(
    client: Client, server: Any, supervised: Worker
) -> None:
    handles = client.submit_many([text("sleep=2"), *(text(f"job {at}") for at in range(100))])
    until(lambda: handles[0].status().state is State.RUNNING and server.hlen("unacked") == 101)

    os.kill(child_of(supervised), signal.SIGKILL)
    until(lambda: server.hlen("unacked") == 0)
    # Another process is being started: until then it waits, and its start is not forgotten.
    again = handles[0].status()
    assert (again.state, again.times.attempts) == (State.QUEUED, 1)
    assert (again.times.started_at, server.get(keys.deaths(handles[0].id))) == (None, b"1")

    results = dict(client.as_completed(handles, timeout=40))
    assert all(isinstance(result, Success) for result in results.values())
    assert "101 jobs of the dead worker went back to the queue" in supervised.lines()
    assert supervised.terminate() == 0


@pytest.fixture
def mortal(redis_url: str) -> Iterator[Callable[..., int]]:
    """Supervises a process that takes a job and dies, and the next one; gives its exit code."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    settings = Settings.model_validate({"redis_url": redis_url, "lease": 3600})

    def run(*options: str) -> int:
        command = [sys.executable, "-m", "tests.doubles.mortal", redis_url, *options]
        return Supervisor(settings, command).run()

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def test_jobs_go_back_before_the_next_process_is_started(
    server: Any, mortal: Callable[..., int]
) -> None:
    assert mortal() == 0

    assert server.lrange("held at each start", 0, -1) == [b"0", b"0"]
    assert server.llen("stoker\x06\x163") == 1


def test_jobs_that_could_not_be_given_back_are_while_the_next_process_runs(
    server: Any, mortal: Callable[..., int]
) -> None:
    try:
        assert mortal("refuse") == 0
    finally:
        server.execute_command("ACL", "SETUSER", "default", "+zscan")

    assert server.lrange("held at each start", 0, -1) == [b"0", b"1"]
    assert server.llen("stoker\x06\x163") == 1


def stoker(redis_url: str, *arguments: str) -> str:
    """Run the command line; give what it prints."""
    command = [sys.executable, "-m", "stoker.cli.main", *arguments]
    return subprocess.run(
        command, env=environment(redis_url), capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.own_transport("a supervisor gives a dead worker's jobs back at once")
def test_a_job_that_kills_its_workers_is_given_up_and_the_others_succeed(
    client: Client, server: Any, supervised: Worker, redis_url: str
) -> None:
    good = [text(f"good {at}") for at in range(30)]
    handles = client.submit_many([text("sleep=0.5"), *good[:15], text("kill"), *good[15:]])

    results = dict(client.as_completed(handles, timeout=90))

    poison = results.pop(handles[16])
    assert all(isinstance(result, Success) for result in results.values())
    assert isinstance(poison, Failure)
    assert poison.error == "poison"
    assert poison.details == {"deaths": 3}
    assert supervised.lines().count("it is started again") == 3
    assert server.hkeys(keys.DEAD) == [handles[16].id.encode()]
    assert server.hlen("unacked") == 0

    [letter] = client.dead_letters()
    assert (letter.id, letter.task, letter.pool) == (
        handles[16].id,
        "text-classification",
        "default",
    )
    assert supervised.terminate() == 0
    assert letter.id in stoker(redis_url, "dead", "list")
    assert stoker(redis_url, "dead", "requeue", letter.id) == f"{letter.id} requeued\n"
    assert client.status(letter.id).state is State.QUEUED
    assert client.dead_letters() == []
    assert not client.requeue(letter.id)
    assert not client.discard(letter.id)


@pytest.mark.own_transport("a supervisor gives a dead worker's jobs back at once")
def test_a_job_that_kills_before_it_runs_is_given_up_and_its_neighbours_succeed(
    client: Client, server: Any, supervised: Worker, redis_url: str, tmp_path: Path
) -> None:
    # Two, so that one takes over while the other is started again.
    with worker(redis_url, tmp_path, supervised=True, lease=3600, name="w2") as other:
        jobs = [text("good"), text("kill=preprocess"), text("fine"), text("well")]
        handles = client.submit_many(jobs)

        results = dict(client.as_completed(handles, timeout=60))

        guilty = results.pop(handles[1])
        assert all(isinstance(result, Success) for result in results.values())
        assert isinstance(guilty, Failure)
        assert (guilty.error, guilty.details) == ("poison", {"deaths": 3})
        # Two deaths until it is suspected, and three that are its own.
        both = (supervised, other)
        until(lambda: sum(each.lines().count("it is started again") for each in both) == 5)
        assert server.hkeys(keys.DEAD) == [handles[1].id.encode()]
        until(lambda: not server.exists("unacked", keys.RUNNING, keys.JOBS))
        assert not server.exists(*(keys.deaths(each.id) for each in handles[2:]))
        # One of them may just be starting its worker again.
        for each in both:
            each.terminate()

    assert client.requeue(handles[1].id)
    assert not server.exists(keys.deaths(handles[1].id), keys.beside(handles[1].id))


@pytest.mark.own_transport("a supervisor gives a dead worker's jobs back at once")
def test_a_model_whose_loading_kills_fails_its_own_jobs_and_no_others(
    client: Client,
    redis_url: str,
    server: Any,
    tiny: TinyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    good = tiny("bert_classifier")
    deadly = with_own_code(good, tmp_path / "deadly", KILL)
    listing = tmp_path / "models.toml"
    entry = ["[models.deadly]", f'model = "{deadly}"', "loading.trust_remote_code = true"]
    listing.write_text("\n".join(entry))
    options = {"supervised": True, "lease": 3600, "batch_tokens": 1024, "models_file": listing}
    with model_worker(redis_url, tmp_path, {"text-classification": good}, **options) as running:
        jobs = [TextClassification(inputs="a fox", model="deadly"), *map(text, "abcdefgh")]
        guilty, *innocent = client.submit_many(jobs)
        results = dict(client.as_completed([guilty, *innocent], timeout=120))
        again = client.submit(jobs[0]).wait(60)

        for failure in (results[guilty], again):
            assert isinstance(failure, Failure)
            assert (failure.error, failure.details["signal"]) == ("model_load_failed", 9)
        assert all(isinstance(results[each], Success) for each in innocent)
        assert running.lines().count("it is started again") == 2
        assert client.dead_letters() == []
        until(lambda: not server.exists("unacked", keys.RUNNING, keys.JOBS))
        assert running.terminate() == 0


@pytest.mark.own_transport("a supervisor gives a dead worker's jobs back at once")
def test_a_lost_device_ends_the_process_and_the_guilty_job_is_given_up(
    client: Client, supervised: Worker
) -> None:
    handles = client.submit_many([text("sleep=0.5"), text("good"), text("fault"), text("fine")])

    results = [dict(client.as_completed(handles, timeout=90))[each] for each in handles]

    assert [isinstance(each, Success) for each in results] == [True, True, False, True]
    assert isinstance(results[2], Failure)
    assert results[2].error == "poison"
    assert "this worker ends: the stage forward ended" in supervised.lines()
    assert "is started again" in supervised.lines()


@pytest.mark.own_transport("a supervisor gives a dead worker's jobs back at once")
def test_a_hung_device_ends_the_process_and_others_get_its_jobs(
    client: Client, redis_url: str, tmp_path: Path
) -> None:
    with worker(redis_url, tmp_path, supervised=True, lease=3600, hang_timeout=1) as running:
        hung = client.submit(text("sleep=3600"))
        until(lambda: hung.status().state is State.RUNNING)
        other = client.submit(text("after"))

        assert isinstance(other.wait(timeout=120), Success)
        assert "this worker ends: a batch has run for more than 1 s" in running.lines()


@pytest.mark.own_transport("a supervisor gives a dead worker's jobs back at once")
def test_a_device_that_is_lost_in_a_load_ends_the_process_and_no_job_counts_as_having_killed(
    client: Client, server: Any, redis_url: str, tmp_path: Path
) -> None:
    options = {"app": "tests.doubles.loading_app", "preload": "text-classification=fake"}
    with worker(redis_url, tmp_path, supervised=True, lease=3600, **options) as running:
        innocent = client.submit(text("sleep=3600"))
        until(lambda: innocent.status().state is State.RUNNING)
        losing = client.submit(TextClassification(inputs="a fox", model="lost"))

        until(lambda: "it is started again" in running.lines())

        ends = "this worker ends: the device was lost while a model was loaded"
        assert ends in running.lines()
        assert losing.status().state is State.QUEUED
        # It might have been its pass: so it runs alone from now on, and no death is counted.
        assert server.get(keys.deaths(innocent.id)) == b"0"
        assert server.exists(keys.deaths(losing.id), keys.beside(losing.id)) == 1


def test_a_preload_that_hangs_ends_the_process(redis_url: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "app": "tests.doubles.loading_app",
        "preload": "text-classification=hangs",
    }
    with launched(redis_url, tmp_path, hang_timeout=0.2, **options) as running:
        assert running.process.wait(60) == SOFTWARE
        assert "this worker ends: a step of a model's load has taken" in running.lines()


def test_told_to_end_it_lets_the_batch_finish_and_leaves_nothing(
    client: Client, server: Any, supervised: Worker
) -> None:
    running = client.submit(text("sleep=4"))
    until(lambda: running.status().state is State.RUNNING)
    waiting = client.submit(text("later"))
    child = child_of(supervised)

    assert supervised.terminate() == 0

    assert isinstance(running.wait(timeout=1), Success)
    assert waiting.status().state is State.QUEUED
    assert server.hlen("unacked") == 0
    assert not psutil.pid_exists(child)


def test_a_killed_supervisor_takes_its_worker_along(supervised: Worker) -> None:
    child = child_of(supervised)

    supervised.process.kill()
    supervised.process.wait()

    until(lambda: is_over(child))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--preload", "text-classification=no/such/folder"], 78, "a model cannot be preloaded: "),
        (["--preload", "nonsense"], 2, "write task=model"),
        (["--device", "cuda:7"], 78, "there is no device 'cuda:7' here"),
        (["--pool", "Not A Pool"], 2, "a pool's name has lower-case letters"),
    ],
)
def test_what_another_start_would_not_mend_is_said_and_ends_the_supervisor(
    redis_url: str, arguments: list[str], code: int, words: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "stoker_workers", "worker", *arguments],
        env=environment(redis_url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == code
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
