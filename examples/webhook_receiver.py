"""A receiver of Stoker's webhooks, with the standard library's WSGI server.

    python examples/webhook_receiver.py 8001 whsec_…

In Django, Flask or FastAPI the calls are the same: take the body as it came, verify it, remember
the event's ID, answer, and only then do what takes time.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

from stoker import webhooks

secrets = sys.argv[2:]
# An event may come more than once. Keep this where your data is, for as long as events are retried.
seen: set[str] = set()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Take one event."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    # WSGI's spelling of a header's name.
    headers = {
        name.removeprefix("HTTP_").replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    try:
        event = webhooks.verify(body, headers, secrets)
    except webhooks.VerificationError as error:
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return [error.reason.encode()]
    if headers["WEBHOOK-ID"] not in seen:
        seen.add(headers["WEBHOOK-ID"])
        print(event["type"], event["data"]["id"], event["data"]["state"], flush=True)
    start_response("204 No Content", [])
    return []


if __name__ == "__main__":
    with make_server("127.0.0.1", int(sys.argv[1]), application) as server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()
