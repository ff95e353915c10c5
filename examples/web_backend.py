"""A web backend that hands work to Stoker, with the standard library's WSGI server.

    python examples/web_backend.py 8000
    curl -d 'I like you.' localhost:8000/jobs          202, and the job's ID
    curl localhost:8000/jobs/ID                        200 with the result, 202 while it runs
    curl -X DELETE localhost:8000/jobs/ID              what came of the wish to cancel it

In Django, Flask or FastAPI the calls are the same. A client is made once for each process and used
from all of its threads; no call here waits for a model.
"""

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

from stoker import Client, State, StokerError, TextClassification

client = Client()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request."""
    status, body = answer(environ)
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


def answer(environ: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Submit, read or cancel a job."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"].strip("/")
    match method, path.split("/"):
        case "POST", ["jobs"]:
            text = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
            try:
                handle = client.submit(TextClassification(inputs=text))
            except StokerError as error:
                return "422 Unprocessable", {"error": error.type, "message": error.message}
            return "202 Accepted", {"id": handle.id}
        case "GET", ["jobs", job_id]:
            status = client.status(job_id)
            if status.state is State.UNKNOWN:
                return "404 Not Found", {"id": job_id}
            if not status.terminal:
                return "202 Accepted", {"id": job_id, "status": status.state}
            return "200 OK", {"id": job_id, **client.wait(job_id).model_dump(mode="json")}
        case "DELETE", ["jobs", job_id]:
            return "200 OK", {"id": job_id, "answer": client.cancel(job_id)}
    return "404 Not Found", {"path": path}


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with make_server("127.0.0.1", port, application) as server:
        print(f"http://127.0.0.1:{server.server_port}/jobs", flush=True)
        server.serve_forever()
