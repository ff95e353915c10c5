"""Texts are handed on while their jobs run, whole in the end, and for those that asked only."""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest

from stoker_tasks.result import Success
from stoker_tasks.wire import make_job
from stoker_workers.engine.delivery import Delivery, Said, Work
from stoker_workers.engine.flow import Flow
from stoker_workers.engine.lending import Entry
from stoker_workers.engine.model import Chunk, ModelKey, WarmModel
from stoker_workers.engine.telling import Telling, _Cursor
from stoker_workers.engine.window import Budget, Row
from tests.doubles.line import Told, delivery, running, share
from tests.doubles.model import FakeModel, FakeModels
from tests.doubles.store import payloads
from tests.support.until import until


def asking(words: str, **fields: Any) -> Delivery:
    made = delivery(words, "stoker.text_generation")
    made.kwargs.update(fields)  # type: ignore[attr-defined]
    return made


def text_of(parts: Sequence[Said], job: str, kind: str = "piece") -> str:
    text = ""
    for said in parts:
        part = getattr(said, kind)
        if said.delivery.id == job and part is not None:
            text = text[: part.at] + part.text
    return text


def test_a_text_is_told_in_parts_before_its_job_ends() -> None:
    class Late(Told):
        def finished(self, outcomes: Any) -> None:
            if any(each.id == "a steps=0.8" for each, _ in outcomes):
                self.before = len(self.parts)
            super().finished(outcomes)

    told = Late()
    with running(told) as flow:
        flow.accept(asking("a steps=0.8", stream=True))
        flow.accept(asking("b steps=0.8"))
        until(lambda: len(told.outcomes) == 2)

    # The last stage itself tells one at most.
    assert told.before >= 2
    assert {said.delivery.id for said in told.parts} == {"a steps=0.8"}
    assert all(said.event is None for said in told.parts)
    outcome = told.outcomes["a steps=0.8"]
    assert isinstance(outcome, Success)
    assert text_of(told.parts, "a steps=0.8") == outcome.output[0]["generated_text"]


def test_the_end_of_a_text_is_told_before_its_result() -> None:
    class Late(Told):
        def finished(self, outcomes: Any) -> None:
            self.whole = text_of(self.parts, "x")
            super().finished(outcomes)

    told = Late()
    with running(told) as flow:
        flow.accept(asking("x", stream=True))
        until(lambda: bool(told.outcomes))

    assert told.whole == "x and on"


def test_a_webhook_is_told_seldom_and_all_of_it() -> None:
    told, words = Told(), "some" + "-more" * 20 + " steps=1.5"
    wanted = {"url": "https://example.com/", "events": ["job.output"]}
    flow = Flow(FakeModels(), payloads(), told, lambda _: Budget(tokens=1024), output_interval=0.3)
    flow.start()
    flow.accept(asking(words, webhook=wanted))
    until(lambda: bool(told.outcomes))
    assert flow.stop(10)

    events = [said.event for said in told.parts if said.event is not None]
    pieces = [said.piece for said in told.parts if said.piece is not None]
    assert 2 <= len(events) < len(pieces)
    assert [each.number for each in events] == list(range(len(events)))
    for kind in ("event", "piece"):
        assert text_of(told.parts, words, kind) == f"{words} and on"


def test_a_canceled_jobs_text_ends_at_once() -> None:
    gone, stays = "gone" + "-on" * 100 + " steps=60", "stays steps=1.2"
    told, models = Told(), FakeModels()
    with running(told, models) as flow:
        share(flow, models.model, asking(gone, stream=True), asking(stays, stream=True))
        until(lambda: len({said.delivery.id for said in told.parts}) == 2)
        told.withdrawn.add(gone)
        until(lambda: told.gone == [gone])
        until(lambda: stays in told.outcomes)
        until(lambda: not flow._telling._followed)

    assert gone.startswith(text_of(told.parts, gone))
    assert text_of(told.parts, stays) == f"{stays} and on"


@dataclass
class Lending(FakeModels):
    """Lends its model as the warm ones are lent."""

    entry: Entry = field(default_factory=lambda: Entry(model=FakeModel()))

    def get(self, key: ModelKey, *, wary: bool = False) -> "Future[WarmModel]":
        future: Future[WarmModel] = Future()
        future.set_result(self.entry.lend(lambda: None))
        return future


def test_a_canceled_job_that_was_followed_lets_go_of_its_model() -> None:
    told, models = Told(), Lending()
    with running(told, models) as flow:
        flow.accept(asking("x-and-more steps=5", stream=True))
        until(lambda: bool(told.parts))
        assert models.entry.in_use(time.monotonic())
        told.withdrawn.add("x-and-more steps=5")
        until(lambda: bool(told.gone))
        told.parts.clear()
        until(lambda: not models.entry.in_use(time.monotonic()))


class Barred(Told):
    """Takes no text while it is barred, or none of one kind."""

    def __init__(self) -> None:
        super().__init__()
        self.bars = {"piece", "event"}
        self.refused = 0

    def said(self, said: Sequence[Said]) -> Sequence[Delivery]:
        if any(getattr(each, kind) for each in said for kind in self.bars):
            self.refused += 1
            raise MemoryError("no room")
        return super().said(said)


class Growing:
    """A text that grows when a test says so, and is told in the test's own thread."""

    def __init__(self, told: Told, made: Delivery) -> None:
        self._telling = Telling(told, 0.0)
        self._text = ""
        self._work = Work(made, job=make_job("text-generation", made.kwargs), outputs=[None])
        [follow] = self._telling.follow([Row(self._work, 0, Chunk({}, 1), 0)])
        assert follow is not None
        follow(lambda: self._text)

    def grow(self, text: str) -> None:
        self._text += text
        self._telling._go_on()

    def end(self, text: str) -> None:
        self._text += text
        self._telling.finish([self._work])


def test_what_could_not_be_handed_on_comes_with_the_next_piece(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Barred()
    wanted = {"url": "https://example.com/", "events": ["job.output"]}
    text = Growing(told, asking("x", stream=True, webhook=wanted))
    told.bars = set()
    with caplog.at_level(logging.ERROR):
        text.grow("a ")
        told.bars = {"piece", "event"}
        text.grow("b ")
        text.grow("c ")
        assert (len(told.parts), told.refused) == (2, 4)
        told.bars = set()
        text.grow("d ")
        text.end("e")

    for kind in ("piece", "event"):
        parts = [part for said in told.parts if (part := getattr(said, kind))]
        assert [part.text for part in parts] == ["a ", "b c d ", "e"]
        assert [part.number for part in parts] == [0, 1, 2]
    # Once for the stream, and once for the webhook.
    assert caplog.text.count("texts cannot be handed on for now") == 2
    assert "no room" not in caplog.text


def test_the_last_piece_brings_all_that_was_missing() -> None:
    told = Barred()
    text = Growing(told, asking("x", stream=True))
    text.grow("a ")
    text.grow("b ")
    assert (len(told.parts), told.refused) == (0, 2)
    told.bars = set()
    text.end("c")

    assert text_of(told.parts, "x") == "a b c"


def test_webhooks_that_cannot_be_told_bar_no_stream() -> None:
    told = Barred()
    told.bars = {"event"}
    wanted = {"url": "https://example.com/", "events": ["job.output"]}
    with running(told) as flow:
        flow.accept(asking("some steps=0.3", stream=True, webhook=wanted))
        until(lambda: bool(told.outcomes))

    assert told.refused
    assert text_of(told.parts, "some steps=0.3") == "some steps=0.3 and on"


def test_a_stale_delivery_does_not_silence_the_new_one_of_its_job() -> None:
    stale, new = (asking("twice", stream=True) for _ in range(2))

    class Fenced(Told):
        def said(self, said: Sequence[Said]) -> Sequence[Delivery]:
            super().said(said)
            return [each.delivery for each in said if each.delivery is stale]

    told, text = Fenced(), "a"
    telling = Telling(told, 1.0)
    job = make_job("text-generation", {"inputs": "twice", "stream": True})
    works = [Work(each, job=job, outputs=[None]) for each in (stale, new)]
    rows = [Row(work, 0, Chunk({}, 1), at) for at, work in enumerate(works)]
    for follow in telling.follow(rows):
        assert follow is not None
        follow(lambda: text)
    telling.start()
    until(lambda: works[0] not in telling._followed)
    text = "ab"
    until(lambda: len([each for each in told.parts if each.delivery is new]) == 2)
    telling.stop()

    assert [each.piece.text for each in told.parts if each.delivery is new and each.piece] == [
        *("a", "b")
    ]


def test_a_job_that_is_anothers_by_now_is_told_no_more() -> None:
    told = Told()
    told.lost.add("x steps=0.6")
    with running(told) as flow:
        flow.accept(asking("x steps=0.6", stream=True))
        until(lambda: bool(told.outcomes))

    assert len(told.parts) == 1


@pytest.mark.parametrize("words", ["a oom=1 steps=0.2", "a fail steps=0.2"])
def test_a_pass_that_is_repeated_tells_nothing_twice(words: str) -> None:
    told, models = Told(), FakeModels()
    with running(told, models) as flow:
        both = (asking(words, stream=True), asking("b steps=0.4", stream=True))
        share(flow, models.model, *both)
        until(lambda: len(told.outcomes) == 3)

    assert text_of(told.parts, "b steps=0.4") == "b steps=0.4 and on"
    starts = [said for said in told.parts if said.delivery.id.startswith("b") and said.piece]
    assert [said.piece.at for said in starts if said.piece].count(0) == 1


def test_what_cannot_be_told_harms_neither_its_job_nor_others() -> None:
    class Torn(FakeModel):
        def forward(self, chunks: Any, ended: Any = None, follow: Any = ()) -> Any:
            def broken() -> str:
                raise ValueError("no text")

            followers = [
                (lambda _, each=each: each(broken)) if each and index == 0 else each
                for index, each in enumerate(follow)
            ]
            return super().forward(chunks, ended, followers)

    told = Told()
    with running(told, FakeModels(Torn())) as flow:
        flow.accept(asking("a steps=0.3", stream=True))
        until(lambda: bool(told.outcomes))

    assert isinstance(told.outcomes["a steps=0.3"], Success)
    assert not told.parts


def test_no_thread_reads_while_nobody_follows() -> None:
    told = Told()
    with running(told) as flow:
        flow.accept(asking("a"))
        until(lambda: bool(told.outcomes))
        thread = flow._telling._thread
        assert thread.is_alive()
        assert not flow._telling._followed
    thread.join(5)
    assert thread not in threading.enumerate()
    assert not told.parts


def steps(*texts: str, end: str) -> list[tuple[int, str]]:
    cursor, given = _Cursor(), []
    for text, last in [*((text, False) for text in texts), (end, True)]:
        part = cursor.next(text, last=last)
        # Until it is taken, it is what comes next.
        assert cursor.next(text, last=last) == part
        if part is not None:
            cursor.took(part)
            given.append((part.at, part.text))
    return given


def test_a_reader_is_given_what_it_lacks() -> None:
    assert steps("", "a", "a", "abc", end="abc") == [(0, "a"), (1, "bc")]
    assert steps("ab", end="abc") == [(0, "ab"), (2, "c")]
    # It is told once that there is no text, so that it knows of no other.
    assert steps("", end="") == [(0, "")]


def test_a_text_that_was_otherwise_begins_anew() -> None:
    assert steps("ab", "", "a", "ab", "abc", end="abc") == [(0, "ab"), (2, "c")]
    assert steps("ab", "", "x", end="xy") == [(0, "ab"), (0, "x"), (1, "y")]
    assert steps("abc", end="ab") == [(0, "abc"), (0, "ab")]
