"""Fetches what jobs name by URL, beside the line: some at a time, and no host holds up the others.

A job's files stay in memory from here until it is preprocessed, so that no more jobs are fetched
for than may hold theirs at once.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final
from urllib.parse import urlsplit

Fetch = Callable[[Sequence[str]], Mapping[str, bytes]]

_THREADS: Final = 16
# Of these, for one host at most, slow as it may be.
_A_HOST: Final = 4


class Fetching:
    """A few threads that fetch, and the jobs that wait for them.

    Args:
        fetch: Fetches one job's files.
        threads: How many jobs may be fetched for, or hold what was fetched, at once.
        a_host: How many of these the first URL of which names the same host.
    """

    def __init__(self, fetch: Fetch, threads: int = _THREADS, a_host: int = _A_HOST) -> None:
        self._fetch = fetch
        self._threads = threads
        self._a_host = a_host
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Sequence[str], Future[Mapping[str, bytes]]]] = deque()
        self._hosts: Counter[str] = Counter()
        self._held = 0
        self._started = 0
        self._stopping = False

    def get(self, urls: Sequence[str]) -> "Future[Mapping[str, bytes]]":
        """Fetch a job's files. Never blocks; once they are read, `release` has to be called.

        Args:
            urls: At least one.

        Returns:
            What `fetch` gives or raises, in time.
        """
        future: Future[Mapping[str, bytes]] = Future()
        with self._changed:
            self._waiting.append((urls, future))
            # Most workers fetch nothing: a thread is started when there is work for it.
            if self._started < min(self._threads, len(self._waiting) + self._held):
                self._started += 1
                name = f"stoker-fetch-{self._started}"
                threading.Thread(target=self._run, name=name, daemon=True).start()
            self._changed.notify()
        return future

    def release(self) -> None:
        """Make room for the next job: one that was fetched for holds its files no longer."""
        with self._changed:
            self._held -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Begin with no more jobs; those that are fetched for come to their end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                chosen = self._choose()
                while chosen is None and not self._stopping:
                    self._changed.wait()
                    chosen = self._choose()
                if chosen is None or self._stopping:
                    return
            urls, future, host = chosen
            try:
                files = self._fetch(urls)
            except BaseException as error:  # noqa: BLE001 - it is the job's, wherever it is read
                future.set_exception(error)
            else:
                future.set_result(files)
            with self._changed:
                self._hosts[host] -= 1
                # Whoever names hosts may name many.
                if not self._hosts[host]:
                    del self._hosts[host]
                self._changed.notify_all()

    def _choose(self) -> "tuple[Sequence[str], Future[Mapping[str, bytes]], str] | None":
        """Take the job that has waited longest of those whose host is not busy with others."""
        if self._held >= self._threads:
            return None
        for at, (urls, future) in enumerate(self._waiting):
            host = urlsplit(urls[0]).netloc.lower()
            if self._hosts[host] < self._a_host:
                del self._waiting[at]
                self._hosts[host] += 1
                self._held += 1
                return urls, future, host
        return None
