"""What has happened, read from what Redis wrote to disk and from what the workers wrote down.

A subscriber would miss what is stored while it has no connection, and connections are what a run
breaks. Redis's append-only file has every write that took effect, in order.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from stoker_config import keys

_RESULT: Final = keys.result("").encode()
_FINAL: Final = re.compile(rb'"status": "(SUCCESS|FAILURE|REVOKED)"')
_REDELIVERED: Final = b'"redelivered": true'
_PUSHES: Final = {b"LPUSH", b"RPUSH"}
_SETS: Final = {b"SET", b"SETEX", b"PSETEX"}


@dataclass
class Written:
    """What an append-only file tells.

    Attributes:
        stored: How often each job's final state was written.
        redelivered: How many messages were put back into a queue from a silent or dead worker.
    """

    stored: Counter[str] = field(default_factory=Counter)
    redelivered: int = 0


def read_written(folder: Path) -> Written:
    """Read a server's append-only file: one file, or since Redis 7 a folder of them."""
    written = Written()
    for path in sorted(folder.rglob("*.aof")):
        with path.open("rb") as file:
            for command in _commands(file):
                _note(written, command)
    return written


def read_runs(path: Path) -> Counter[str]:
    """Count how often each job was run."""
    return Counter(path.read_text().split()) if path.exists() else Counter()


def texts_of(stored: bytes) -> tuple[str, ...]:
    """List the texts that a stored success's output says, in order."""
    return tuple(_said(json.loads(stored)["result"]["output"]))


def state_of(stored: bytes) -> tuple[str, str]:
    """Give the state of a stored result, and why it failed if it did."""
    meta = json.loads(stored)
    why = "" if meta["status"] == "SUCCESS" else str(meta["result"].get("exc_type"))
    return meta["status"], why


def _note(written: Written, command: Sequence[bytes]) -> None:
    name = command[0].upper()
    if name in _SETS and command[1].startswith(_RESULT):
        if any(_FINAL.search(arg) for arg in command[2:]):
            written.stored[command[1][len(_RESULT) :].decode()] += 1
    elif name in _PUSHES:
        written.redelivered += sum(_REDELIVERED in text for text in command[2:])


def _commands(file: BinaryIO) -> Iterator[list[bytes]]:
    """Read commands; Redis cut off what a kill left unfinished before it wrote on."""
    while line := file.readline():
        if not line.startswith(b"*"):
            continue
        command = []
        for _ in range(int(line[1:])):
            length = int(file.readline()[1:])
            command.append(file.read(length + 2)[:-2])
        yield command


def _said(value: Any) -> Iterator[str]:
    items: Iterable[Any] = ()
    if isinstance(value, list):
        items = value
    elif isinstance(value, dict):
        items = (value.get("label"), value.get("generated_text"))
    elif isinstance(value, str):
        yield value
    for item in items:
        yield from _said(item)
