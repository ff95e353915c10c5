"""Looks up the names of hosts: many at once, each for all who ask for it, and none for nobody."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from stoker_workers.outside.addresses import Address, Guard

# How many names are looked up at once. One that nobody answers for has a thread for half a minute.
MOST_LOOKUPS: Final = 256
# For how long addresses that were checked are used again, without a thread.
_KNOWN_SECONDS: Final = 30.0


class Unasked(TimeoutError):
    """The time was up before a name could be looked up: too many others wait for an answer.

    It says nothing of the host.
    """


@dataclass
class _Lookup:
    job: Future[list[Address]]
    answer: asyncio.Future[list[Address]]
    waiting: int = 0

    @property
    def begun(self) -> bool:
        return self.job.running() or (self.job.done() and not self.job.cancelled())


class Lookups:
    """The addresses of hosts; of one event loop.

    Args:
        guard: Tells which addresses may be connected to.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._threads = ThreadPoolExecutor(MOST_LOOKUPS, thread_name_prefix="stoker-lookup")
        self._under_way: dict[tuple[str, int], _Lookup] = {}
        self._known: dict[tuple[str, int], list[Address]] = {}

    async def addresses(self, host: str, port: int, deadline: float) -> list[Address]:
        """List the addresses of a host, each of which was checked within the last half minute.

        Args:
            host: A name or an address.
            port: The port that is meant.
            deadline: Until when it may take, by the loop's clock.

        Raises:
            Refused: The host is none to which a worker is sent.
            Unresolved: The host has no address.
            TimeoutError: It took too long; `Unasked` if nobody was asked.
        """
        try:
            ip_address(host)
        except ValueError:
            pass
        else:
            return self._guard.addresses(host, port)  # nobody has to be asked
        key = host, port
        if key in self._known:
            return self._known[key]
        lookup = self._under_way.get(key) or self._begin(key)
        lookup.waiting += 1
        try:
            left = deadline - asyncio.get_running_loop().time()
            # Who gives up takes nothing from the others who wait for it.
            await asyncio.wait({lookup.answer}, timeout=left)
            if lookup.answer.done():
                return lookup.answer.result()
            raise TimeoutError if lookup.begun else Unasked
        finally:
            lookup.waiting -= 1
            if not lookup.waiting and lookup.job.cancel():
                del self._under_way[key]

    def close(self) -> None:
        """Look up no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, key: tuple[str, int]) -> _Lookup:
        job = self._threads.submit(self._guard.addresses, *key)
        lookup = self._under_way[key] = _Lookup(job, asyncio.wrap_future(job))
        lookup.answer.add_done_callback(lambda _: self._ended(key, lookup))
        return lookup

    def _ended(self, key: tuple[str, int], lookup: _Lookup) -> None:
        if lookup.answer.cancelled():
            return
        del self._under_way[key]
        # It may be that nobody waits for the error any more.
        if lookup.answer.exception() is None:
            self._known[key] = lookup.answer.result()
            asyncio.get_running_loop().call_later(_KNOWN_SECONDS, self._known.pop, key)
