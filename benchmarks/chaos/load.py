"""What is submitted: single jobs, jobs with a countdown, chains and chords."""

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import redis
from celery import chain, chord
from celery.result import GroupResult
from kombu.exceptions import OperationalError

from stoker import Client, TextClassification, TextGeneration
from stoker_config import keys
from stoker_tasks.job import Priority

_TICK: Final = 0.1
# A longer backlog would only have to be waited for at the end.
_BACKLOG: Final = 1000
# Of 100 submissions: so many chains and chords; a few with a countdown and a long forward pass,
# which plain Celery's solo pool runs inside its event loop.
_CHAINS: Final = 4
_CHORDS: Final = 3
_DELAYED: Final = 4
_PRIORITIES: Final[tuple[Priority, ...]] = ("high", "normal", "normal", "low")
_AWAY: Final = (redis.RedisError, OperationalError, OSError)


@dataclass(frozen=True)
class Sent:
    """A job that a producer was told is taken.

    Attributes:
        id: Its ID.
        kind: `single`, `delayed`, `link`, `part` or `body`.
        texts: What its answer must say.
    """

    id: str
    kind: str
    texts: tuple[str, ...]


class Load(threading.Thread):
    """A producer that goes on until it is told to stop.

    Args:
        url: The server.
        rate: Jobs a second.
        seed: What the jobs follow from.
    """

    def __init__(self, url: str, rate: float, seed: int) -> None:
        super().__init__(name="chaos-load", daemon=True)
        self._client = Client(url)
        self._looker: Any = redis.Redis.from_url(url)
        self._rate = rate
        self._random = random.Random(f"load {seed}")
        self._number = 0
        self._end = threading.Event()
        # Kept: Celery talks to the server when one of them is thrown away.
        self._canvases: list[Any] = []
        self.sent: list[Sent] = []
        # Calls that failed: whether their jobs are there, no producer can know.
        self.unsure = 0
        self.failure: Exception | None = None

    def stop(self) -> None:
        """Submit no more, and wait for the last call to end."""
        self._end.set()
        self.join(120)
        self._canvases.clear()
        self._client.close()
        self._looker.close()

    def run(self) -> None:
        """Submit."""
        due = 0.0
        try:
            while not self._end.wait(_TICK):
                due = min(due + self._rate * _TICK * self._random.uniform(0.0, 2.0), 4 * self._rate)
                while due >= 1 and not self._end.is_set():
                    due -= self._submit_or_fail(int(due))
        except Exception as error:  # noqa: BLE001 - a thread's: `run` of the harness looks here
            self.failure = error

    def _submit_or_fail(self, due: int) -> int:
        try:
            if self._backlog() > _BACKLOG:
                return due
            made = self._submit(due)
        except _AWAY:
            self.unsure += 1
            self._end.wait(_TICK)
            return 1
        self.sent += made
        return len(made)

    def _submit(self, due: int) -> list[Sent]:
        draw = self._random.uniform(0, 100)
        if draw < _CHAINS:
            return self._chain()
        if draw < _CHAINS + _CHORDS:
            return self._chord()
        if draw < _CHAINS + _CHORDS + _DELAYED:
            text = self._text(0.2)
            handle = self._client.submit(
                TextClassification(inputs=text),
                countdown=self._random.uniform(0.2, 2.0),
                allow_unserved=True,
            )
            return [Sent(handle.id, "delayed", (text,))]
        texts = [self._text() for _ in range(min(due, self._random.randint(1, 12)))]
        handles = self._client.submit_many(
            [
                TextClassification(inputs=text, priority=self._random.choice(_PRIORITIES))
                for text in texts
            ],
            allow_unserved=True,
        )
        return [
            Sent(handle.id, "single", (text,)) for handle, text in zip(handles, texts, strict=True)
        ]

    def _chain(self) -> list[Sent]:
        text = self._text()
        links = [
            self._client.signature(TextGeneration(inputs=text)),
            self._client.signature("text-generation"),
            self._client.signature("text-classification"),
        ]
        first, second, third = self._ids(chain(*links).apply_async())
        once, twice = f"{text} and on", f"{text} and on and on"
        return [
            Sent(first, "link", (once,)),
            Sent(second, "link", (twice,)),
            Sent(third, "link", (twice,)),
        ]

    def _chord(self) -> list[Sent]:
        texts = [self._text() for _ in range(4)]
        header = [self._client.signature(TextGeneration(inputs=text)) for text in texts]
        body = self._client.signature("text-classification")
        *parts, last = self._ids(chord(header, body).apply_async())
        said = [f"{text} and on" for text in texts]
        return [
            *(Sent(part, "part", (text,)) for part, text in zip(parts, said, strict=True)),
            Sent(last, "body", tuple(said)),
        ]

    def _ids(self, result: Any) -> list[str]:
        """List the IDs of a canvas's jobs, the first to run first."""
        self._canvases.append(result)
        return list(_walk(result))

    def _text(self, sleep: float | None = None) -> str:
        """Make a text that no other job has; every third one makes its forward pass longer."""
        self._number += 1
        if sleep is None and self._number % 3 == 0:
            sleep = 0.05
        words = "word " * self._random.randint(1, 20)
        return f"{words}{self._number}" + (f" sleep={sleep:g}" if sleep else "")

    def _backlog(self) -> int:
        lists = [keys.queue("stoker", step, keys.PRIORITY_STEPS) for step in keys.PRIORITY_STEPS]
        return sum(int(self._looker.llen(name)) for name in lists)


def _walk(result: Any) -> Iterator[str]:
    if result is None:
        return
    yield from _walk(result.parent)
    if isinstance(result, GroupResult):
        for part in result.results:
            yield part.id
    else:
        yield result.id
