"""Texts reach their readers while their jobs run, whole, and begin anew where a job does."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from standardwebhooks.webhooks import Webhook as Judge

from stoker import (
    AsyncClient,
    Client,
    JobHandle,
    Piece,
    RetryAnswer,
    State,
    Success,
    Summarization,
    TextClassification,
    TextGeneration,
    Webhook,
    errors,
)
from stoker_config import keys
from stoker_tasks.result import Timing
from stoker_tasks.signature import new_secret
from stoker_workers.broker.streaming import Streams
from stoker_workers.engine.delivery import Delivery, Part, Said
from tests.doubles.stock import Producer
from tests.support.courier import courier
from tests.support.receiver import receiver
from tests.support.until import until
from tests.support.worker import ROOT, environment, model_worker, worker
from tests.tiny.fixture import TinyModel, tiny

__all__ = ["tiny"]

SECONDS = 30.0


@pytest.fixture
def server(module_redis: str) -> Iterator[Any]:
    with redis.Redis.from_url(module_redis) as client:
        yield client


def asking(words: str, **fields: Any) -> TextGeneration:
    return TextGeneration.model_validate({"inputs": words, "stream": True, **fields})


def joined(pieces: Iterable[Piece]) -> str:
    text = ""
    for piece in pieces:
        text = piece.text if piece.restart else text + piece.text
    return text


def text(handle: JobHandle) -> str:
    return str(handle.result(SECONDS).output[0]["generated_text"])


@pytest.mark.both_transports
@pytest.mark.usefixtures("module_worker")
def test_a_text_is_read_while_its_job_runs(module_client: Client, server: Any) -> None:
    long = module_client.submit(asking("g steps=20" + " on" * 400))
    reading = long.stream(timeout=SECONDS)
    assert next(reading).text
    assert long.status().state is State.RUNNING
    long.cancel()
    with pytest.raises(errors.Canceled):
        list(reading)

    handle = module_client.submit(asking("a steps=0.8" + " on" * 20))
    pieces = list(handle.stream(timeout=SECONDS))

    assert len(pieces) >= 2
    assert joined(pieces) == text(handle)
    assert {(piece.attempt, piece.restart) for piece in pieces} == {(1, False)}
    # It can be read again, from any place, for as long as its result is there.
    assert list(handle.stream()) == pieces
    assert list(handle.stream(after=pieces[0].id)) == pieces[1:]
    assert 0 < server.ttl(keys.stream(handle.id)) <= module_client.settings.result_expires
    handle.delete()
    assert not server.exists(keys.stream(handle.id))


@pytest.mark.both_transports
@pytest.mark.usefixtures("module_worker")
def test_who_does_not_ask_leaves_no_stream(module_client: Client, server: Any) -> None:
    handle = module_client.submit(asking("b steps=0.2", stream=False))

    assert list(handle.stream(timeout=SECONDS)) == []
    assert handle.status().state is State.SUCCEEDED
    assert not server.exists(keys.stream(handle.id))


@pytest.mark.usefixtures("module_worker")
def test_many_read_along_in_asyncio_on_few_connections(module_redis: str, server: Any) -> None:
    during: list[list[dict[str, str]]] = []

    async def main() -> list[tuple[str, str]]:
        async with AsyncClient(module_redis) as client:
            jobs = [asking(f"{n} steps=0.6") for n in range(12)]
            handles = await client.submit_many(jobs)

            async def read(handle: Any) -> tuple[str, str]:
                pieces = []
                async for piece in handle.stream(timeout=SECONDS):
                    pieces.append(piece)
                    during.append(server.client_list())
                output = (await handle.result()).output
                return joined(pieces), output[0]["generated_text"]

            return await asyncio.gather(*map(read, handles * 2))

    others = {each["id"] for each in server.client_list()}
    found = asyncio.run(main())

    assert len(found) == 24
    assert all(told == given for told, given in found)
    for everybody in during:
        clients = [each for each in everybody if each["id"] not in others]
        # Not by its last command: now and then that is a ping.
        assert [each["sub"] != "0" for each in clients].count(True) == 1
        assert [each["cmd"] for each in clients].count("xrange") <= 1


@pytest.mark.usefixtures("module_worker")
def test_a_reader_ends_as_its_job_does(module_client: Client) -> None:
    canceled = module_client.submit(asking("c steps=20" + " on" * 400))
    with pytest.raises(TimeoutError, match="not finished within"):
        for _ in canceled.stream(timeout=1.0):
            pass
    reading = canceled.stream(timeout=SECONDS)
    next(reading)
    canceled.cancel()
    with pytest.raises(errors.Canceled):
        list(reading)
    failed = module_client.submit(asking("fail steps=1"))
    with pytest.raises(errors.Internal):
        list(failed.stream(timeout=SECONDS))
    # It is run again by hand, and tells its text anew.
    assert failed.retry() is RetryAnswer.RETRYING
    again: list[Piece] = []
    with pytest.raises(errors.Internal):
        again.extend(failed.stream(timeout=SECONDS))
    assert {piece.attempt for piece in again} == {2}
    with pytest.raises(errors.InvalidInput, match="takes the id of a piece"):
        failed.stream(after="yesterday")
    with pytest.raises(errors.InvalidInput, match="takes the id of a piece"):
        AsyncClient(module_client.settings.redis).stream(failed.id, after="yesterday")


def read_at_once(url: str, job: str, asynchronous: bool) -> Iterator[Piece]:
    """Read what is there, and wait for nothing."""
    if not asynchronous:
        with Client(url) as client:
            yield from client.stream(job, timeout=0)
        return
    with asyncio.Runner() as runner:
        waiting = AsyncClient(url)
        pieces = waiting.stream(job, timeout=0)

        async def following() -> Piece:
            return await anext(pieces)

        try:
            while True:
                yield runner.run(following())
        except StopAsyncIteration:
            pass
        finally:
            runner.run(waiting.close())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asyncio"])
def test_who_has_no_time_reads_what_is_there(
    module_redis: str, server: Any, asynchronous: bool
) -> None:
    well = Success(output=[], task="text-generation", model="m", timing=Timing())
    succeeded = {"status": "SUCCESS", "result": well.model_dump(mode="json")}
    revoked = {"status": "REVOKED", "result": {"exc_message": ["canceled"]}}
    job = f"at-once-{asynchronous}"
    with server.pipeline() as pipe:
        for at in range(2500):
            pipe.xadd(keys.stream(job), {"attempt": 1, "at": at, "text": "."})
        pipe.execute()

    for stored, ends in ((None, TimeoutError), (revoked, errors.Canceled), (succeeded, None)):
        if stored is not None:
            server.set(keys.result(job), json.dumps(stored))
        reading = read_at_once(module_redis, job, asynchronous)
        assert len(list(islice(reading, 2500))) == 2500
        if ends is None:
            assert list(reading) == []
        else:
            with pytest.raises(ends):
                next(reading)


@pytest.mark.both_transports
@pytest.mark.usefixtures("module_worker")
def test_a_stock_producers_job_streams_too(
    module_client: Client, stock: Producer, module_redis: str
) -> None:
    sent = stock.send_task(
        "stoker.text_generation", kwargs={"inputs": "stock steps=0.3", "stream": True}
    )

    assert joined(module_client.stream(sent, timeout=SECONDS)) == "stock steps=0.3 and on"


def test_what_has_no_text_to_hand_out_is_refused_at_submit() -> None:
    for job, fields in (
        (TextClassification, {"inputs": "x", "stream": True}),
        (
            TextClassification,
            {"inputs": "x", "webhook": {"url": "http://a/", "events": ["job.output"]}},
        ),
        (TextGeneration, {"inputs": ["x", "y"], "stream": True}),
        (TextGeneration, {"inputs": "x", "stream": True, "parameters": {"num_beams": 2}}),
        (
            TextGeneration,
            {"inputs": "x", "stream": True, "cache": True, "parameters": {"do_sample": False}},
        ),
        (Summarization, {"inputs": "x", "stream": True, "parameters": {"return_tensors": True}}),
    ):
        with pytest.raises(ValueError, match=r"stream and job\.output"):
            job.model_validate(fields)


def test_a_models_text_grows_as_it_is_generated(
    redis_url: str, tiny: TinyModel, tmp_path: Path
) -> None:
    # Long enough for many pieces, also where the thread that tells them gets little time.
    parameters = {"max_new_tokens": 800, "min_new_tokens": 800, "do_sample": False}
    short = {**parameters, "max_new_tokens": 700, "min_new_tokens": 700}
    with (
        model_worker(
            redis_url, tmp_path, {"text-generation": tiny("llama_chat")}, batch_tokens=8192
        ),
        Client(redis_url) as client,
    ):
        handles = client.submit_many(
            [
                asking("a cat", parameters=parameters),
                asking("a dog and more words", parameters=parameters, stream=False),
                asking("three", parameters=short),
            ]
        )
        told = [joined(handle.stream(timeout=60)) for handle in (handles[0], handles[2])]
        ends = [text(handles[0]), text(handles[2])]
        # A reader may come late and find all of it: what the worker wrote, and when, is there too.
        with redis.Redis.from_url(redis_url) as server:
            written = server.xrange(keys.stream(handles[0].id))
        finished_at = handles[0].status().times.finished_at

    assert ["a cat" + told[0], "three" + told[1]] == ends
    at, first = written[0][0].decode(), written[0][1][b"text"].decode()
    assert told[0].startswith(first)
    assert 0 < len(first) < len(told[0])
    assert finished_at is not None
    assert int(at.split("-")[0]) < finished_at.timestamp() * 1000


@pytest.mark.usefixtures("module_worker")
def test_the_command_prints_a_text_as_it_comes(module_redis: str) -> None:
    def stoker(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "stoker.cli.main", *arguments],
            cwd=ROOT,
            env=environment(module_redis),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    shown = stoker("submit", "text-generation", "--inputs", "d steps=0.3", "--stream")
    assert (shown.returncode, shown.stdout) == (0, "d steps=0.3 and on\n")
    with Client(module_redis) as client:
        handle = client.submit(asking("e steps=0.4"))
    lines = [json.loads(line) for line in stoker("stream", handle.id, "--json").stdout.splitlines()]
    assert "".join(line["text"] for line in lines) == "e steps=0.4 and on"
    again = stoker("stream", handle.id, "--after", lines[0]["id"])
    assert again.stdout == "".join(line["text"] for line in lines[1:]) + "\n"
    assert stoker("stream", "no-such-job").returncode == 5


@pytest.mark.both_transports
@pytest.mark.own_transport("jobs of a silent worker go to another one within its lease")
def test_a_text_begins_anew_when_its_worker_dies(redis_url: str, tmp_path: Path) -> None:
    with Client(redis_url) as client:
        with worker(redis_url, tmp_path, lease=3) as first:
            handle = client.submit(asking("steps=4" + " on" * 20))
            reading = handle.stream(timeout=60)
            pieces = [next(reading)]
            first.process.kill()
            first.process.wait()
        with worker(redis_url, tmp_path, name="w2", lease=3):
            pieces += reading

        assert [piece.attempt for piece in pieces if piece.restart] == [2]
        assert joined(pieces) == text(handle)
        # What died with the first worker is not there any more.
        assert {piece.attempt for piece in handle.stream()} == {2}


def test_a_webhook_is_told_of_new_text_in_signed_events(
    module_redis: str, module_client: Client, module_worker: Any, server: Any, tmp_path: Path
) -> None:
    secret = new_secret()
    with receiver() as here, courier(module_redis, tmp_path, webhook_secret=secret):
        events: Any = ("job.output", "job.completed")
        handle = module_client.submit(
            TextGeneration(
                inputs="f steps=1.4" + " on" * 20, webhook=Webhook(url=here.url, events=events)
            )
        )
        output = text(handle)
        until(lambda: len(here.got) >= 3)
        until(
            lambda: all(
                each.state == "delivered" for each in module_client.webhooks.list(job=handle.id)
            )
        )
        bodies = {each.id: Judge(secret).verify(each.body, each.headers) for each in here.got}

    told = [body["data"]["output"] for body in bodies.values() if body["type"] == "job.output"]
    told.sort(key=lambda each: each["sequence"])
    assert [each["sequence"] for each in told] == list(range(len(told)))
    assert len(told) >= 2
    assert "".join(each["text"] for each in told) == output
    assert {each["attempt"] for each in told} == {1}
    listed = module_client.webhooks.list(job=handle.id)
    assert {each.id for each in listed} == bodies.keys()
    # The stream is there as well.
    assert joined(handle.stream()) == output
    handle.delete()
    assert module_client.webhooks.list(job=handle.id) == []
    assert not server.exists(keys.told_output(handle.id))


# -- who may write ---------------------------------------------------------------------------------


def said(job: str, words: str, *, at: int = 0, attempt: int = 1, tag: str = "") -> Said:
    message = SimpleNamespace(delivery_tag=tag, channel=SimpleNamespace())
    if tag:
        message.channel.ledger = SimpleNamespace(index="held")
    handle = SimpleNamespace(starts=attempt - 1, message=message, listener=None)
    delivery = Delivery(
        id=job,
        celery_task="stoker.text_generation",
        args=(),
        kwargs={},
        submitted=0.0,
        priority=3,
        redelivered=False,
        handle=handle,
    )
    return Said(delivery, 60, Part(0, at, words), None)


def written(server: Any, job: str) -> list[str]:
    return [fields[b"text"].decode() for _, fields in server.xrange(keys.stream(job))]


def test_a_late_worker_writes_no_more(server: Any) -> None:
    streams = Streams(server)
    server.zadd("held", {"mine": 1})

    first = [said("late", "a", tag="mine"), said("other", "b", tag="lapsed")]
    assert streams.said(first) == [first[1].delivery]
    server.zrem("held", "mine")
    later = said("late", "c", at=1, tag="mine")
    assert streams.said([later]) == [later.delivery]

    assert (written(server, "late"), written(server, "other")) == (["a"], [])


def test_without_tags_a_later_attempt_takes_over(server: Any) -> None:
    streams = Streams(server)
    assert streams.said([said("two", "a")]) == []
    assert streams.said([said("two", "b", attempt=2)]) == []
    late = said("two", "c", at=1)
    assert streams.said([late]) == [late.delivery]
    assert streams.said([said("two", "d", at=1, attempt=2)]) == []

    assert written(server, "two") == ["b", "d"]


def test_of_two_deliveries_of_a_job_the_stale_one_alone_is_lost(server: Any) -> None:
    server.zadd("held", {"new": 1})
    both = [said("both", "a", tag="stale"), said("both", "b", attempt=2, tag="new")]

    lost = Streams(server).said(both)

    assert len(lost) == 1
    assert lost[0] is both[0].delivery
    assert written(server, "both") == ["b"]


def test_a_piece_whose_answer_was_lost_is_written_once(server: Any) -> None:
    streams = Streams(server)
    for piece in [said("once", "a")] * 2 + [said("once", "a", at=1)] * 2:
        assert streams.said([piece]) == []

    assert written(server, "once") == ["a", "a"]


@pytest.mark.parametrize("over", [keys.result, keys.canceled, keys.deleted])
def test_what_is_over_grows_no_more(server: Any, over: Any) -> None:
    server.set(over("done"), "1")

    late = said("done", "a")
    assert Streams(server).said([late]) == [late.delivery]

    assert written(server, "done") == []
    server.delete(over("done"))
