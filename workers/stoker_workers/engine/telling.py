"""Hands on the texts of running jobs while they grow: some times a second, all of them together."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from stoker_workers.engine.delivery import Outlet, Part, Said, Work
from stoker_workers.engine.faults import log_fault
from stoker_workers.engine.model import Follow, Text
from stoker_workers.engine.window import Row

logger = logging.getLogger(__name__)

# How often new text is handed on, in seconds: sooner than a reader sees, and seldom enough that it
# costs no round trip for each token.
PAUSE: Final = 0.05


@dataclass(slots=True)
class _Cursor:
    """How much of a text one of its readers has."""

    sent: str = ""
    parts: int = 0

    def next(self, text: str, *, last: bool) -> Part | None:
        """Give what this reader lacks of the text so far; None if that is nothing.

        A pass that is repeated, since it failed with other rows, begins anew, and mostly makes the
        same text again: its reader is then told nothing twice.
        """
        if last and text == self.sent and self.parts:
            return None
        if not last and self.sent.startswith(text):
            return None
        at = len(self.sent) if text.startswith(self.sent) else 0
        return Part(number=self.parts, at=at, text=text[at:])

    def took(self, part: Part) -> None:
        """Note that the reader has this part: until then it is what comes next."""
        self.sent, self.parts = self.sent[: part.at] + part.text, part.number + 1


@dataclass(slots=True)
class _Followed:
    """A job whose text grows."""

    work: Work
    read: Text
    piece: _Cursor = field(default_factory=_Cursor)
    event: _Cursor = field(default_factory=_Cursor)
    # When its webhook is told next, in monotonic seconds; never if it is not.
    event_due: float = inf
    # Whether the last try to read it failed.
    torn: bool = False


@dataclass(frozen=True, slots=True)
class _New:
    """What one reader of one job lacks."""

    followed: _Followed
    cursor: _Cursor
    part: Part

    def said(self) -> Said:
        work, is_piece = self.followed.work, self.cursor is self.followed.piece
        piece, event = (self.part, None) if is_piece else (None, self.part)
        return Said(work.delivery, work.keep, piece, event)


class Telling:
    """The texts of one line that somebody follows. Safe for threads.

    Its thread does nothing while nobody follows any, and the other stages do nothing for jobs that
    nobody follows. Only the last piece of a text is waited for, by the line's last stage.

    Args:
        outlet: Where the texts go.
        interval: Seconds between two webhook events of one job.
    """

    def __init__(self, outlet: Outlet, interval: float) -> None:
        self._pieces, self._events = _Way(outlet), _Way(outlet)
        self._interval = interval
        self._followed: dict[Work, _Followed] = {}
        self._wake = threading.Condition()
        # What is read first has to be handed on first.
        self._order = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="stoker-telling", daemon=True)

    def start(self) -> None:
        """Start its thread."""
        self._thread.start()

    def stop(self) -> None:
        """Have its thread end."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()

    def follow(self, rows: Sequence[Row]) -> Sequence[Follow | None]:
        """Say who follows the texts of the rows of a pass that begins."""
        if not any(_is_followed(row.work) for row in rows):
            return ()
        return [self._follower(row.work) if _is_followed(row.work) else None for row in rows]

    def finish(self, works: Sequence[Work]) -> None:
        """Hand on what is left of the texts of jobs that are about to end, and forget them."""
        with self._order:
            with self._wake:
                found = [self._followed.pop(work, None) for work in works]
            self._tell([each for each in found if each and not each.work.error], last=True)

    def _follower(self, work: Work) -> Follow:
        def follow(read: Text) -> None:
            assert work.job is not None
            with self._wake:
                before = self._followed.get(work)
                if before is not None:
                    before.read = read
                    return
                due = time.monotonic() if work.job.tells_output else inf
                self._followed[work] = _Followed(work, read, event_due=due)
                self._wake.notify_all()

        return follow

    def _run(self) -> None:
        while self._wait():
            self._go_on()

    def _go_on(self) -> None:
        """Tell what is new. A method of its own: what it names is not held while none follows.

        A job that is held keeps its model in use.
        """
        with self._order:
            with self._wake:
                # Canceled and late jobs never come to the last stage with a text.
                for work in [each for each in self._followed if each.error]:
                    del self._followed[work]
                followed = list(self._followed.values())
            self._tell(followed, last=False)

    def _wait(self) -> bool:
        with self._wake:
            while not self._followed and not self._stopping:
                self._wake.wait()
            return not self._wake.wait_for(lambda: self._stopping, PAUSE)

    def _tell(self, followed: Sequence[_Followed], *, last: bool) -> None:
        """Hand on what is new; a text that cannot be told does its job no harm."""
        texts = [(each, text) for each in followed if (text := self._text(each)) is not None]
        self._pieces.hand_on(
            [
                _New(each, each.piece, part)
                for each, text in texts
                if (part := each.piece.next(text, last=last)) is not None
            ],
            self._lost,
        )
        now, events = time.monotonic(), []
        for each, text in texts:
            if each.event_due == inf or (now < each.event_due and not last):
                continue
            part = each.event.next(text, last=last)
            if part is not None:
                each.event_due = now + self._interval
                events.append(_New(each, each.event, part))
        self._events.hand_on(events, self._lost)

    def _text(self, each: _Followed) -> str | None:
        try:
            text = each.read()
        except Exception as error:  # noqa: BLE001 - one text harms no other
            if not each.torn:
                log_fault(logger, "a text could not be read while it grew", error)
            each.torn = True
            return None
        each.torn = False
        return text

    def _lost(self, works: Sequence[Work]) -> None:
        with self._wake:
            for work in works:
                self._followed.pop(work, None)


class _Way:
    """The way to one kind of readers, streams or webhooks: one may be barred without the other.

    Args:
        outlet: Where it leads.
    """

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._barred = False

    def hand_on(self, new: Sequence[_New], lost: Callable[[Sequence[Work]], None]) -> None:
        """Hand parts on; what cannot be is a part of what comes next.

        Args:
            new: The parts.
            lost: Is told of jobs that are another's by now.
        """
        if not new:
            return
        try:
            gone = self._outlet.said([each.said() for each in new])
        except Exception as error:  # noqa: BLE001 - the results tell the texts as well
            if not self._barred:
                log_fault(logger, "texts cannot be handed on for now", error)
            self._barred = True
            return
        self._barred = False
        for each in new:
            each.cursor.took(each.part)
        # By identity: another delivery of the same job may be this worker's too.
        ids = set(map(id, gone))
        lost([each.followed.work for each in new if id(each.followed.work.delivery) in ids])


def _is_followed(work: Work) -> bool:
    # A job of several rows has no one text.
    return work.job is not None and work.job.followed and len(work.outputs) == 1
