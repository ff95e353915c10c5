"""A receiver of webhooks that often fails, for the load of webhooks.

    python -m benchmarks.peers.webhook_receiver PORT SECRET SEED

Of what is posted to it a fifth is answered with 500, one in twenty never, and the rest with 204, by
a lot that a seed decides. `GET /` tells what came, as JSON. Signatures are judged by the package
that the standard's authors publish.
"""

import asyncio
import json
import random
import sys
import time
from hashlib import sha256
from typing import Any, Final

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

FAILS: Final = 0.20
HANGS: Final = 0.05
_HOST: Final = "127.0.0.1"


class Receiver:
    """What came, by the events' IDs.

    Args:
        secret: The secret that must have signed it.
        seed: Of the lot.
    """

    def __init__(self, secret: str, seed: int) -> None:
        self._judge = Webhook(secret)
        self._lot = random.Random(seed)
        self._events: dict[str, dict[str, Any]] = {}
        self._invalid = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, or never."""
        try:
            while await self._answered(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if first.startswith("GET"):
            told = {"events": self._events, "invalid": self._invalid}
            _answer(writer, "200 OK", json.dumps(told).encode())
        elif (status := self._take(headers, body)) is None:
            await reader.read()  # until the sender hangs up
            return False
        else:
            _answer(writer, status)
        await writer.drain()
        return headers.get("connection") != "close"

    def _take(self, headers: dict[str, str], body: bytes) -> str | None:
        try:
            self._judge.verify(body, headers)
        except WebhookVerificationError:
            self._invalid += 1
            return "400 Bad Request"
        digest = sha256(body).hexdigest()
        event = self._events.setdefault(
            headers["webhook-id"], {"first": time.time(), "got": 0, "taken": 0, "bodies": []}
        )
        event["got"] += 1
        if digest not in event["bodies"]:
            event["bodies"].append(digest)
        drawn = self._lot.random()
        if drawn < HANGS:
            return None
        if drawn < HANGS + FAILS:
            return "500 Internal Server Error"
        event["taken"] += 1
        return "204 No Content"


def _answer(writer: asyncio.StreamWriter, status: str, body: bytes = b"") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


async def main(port: int, secret: str, seed: int) -> None:
    """Serve until the process is ended."""
    receiver = Receiver(secret, seed)
    server = await asyncio.start_server(receiver.serve, _HOST, port, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
