"""A model hub on this machine: as much of the hub's HTTP as huggingface_hub asks for.

Each repository has commits, each a set of files; names of revisions lead to commits. A file may be
cut: the first who asks for it gets half of it, and then the connection ends.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SECONDS = 60.0


@dataclass
class Repo:
    """One model of the hub.

    Attributes:
        commits: The files of each commit.
        names: The commit of each branch and tag.
        tag: The model's `pipeline_tag`.
        gated: Whether its files want a token.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    tag: str | None = None
    gated: bool = False

    def commit(self, files: Mapping[str, bytes], *names: str) -> str:
        """Add a commit and let names lead to it; gives its ID."""
        listed = json.dumps({name: _sha(data) for name, data in files.items()}, sort_keys=True)
        commit = hashlib.sha1(listed.encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.names.update(dict.fromkeys(names or ("main",), commit))
        return commit


@dataclass
class Hub:
    """A running hub.

    Attributes:
        url: What HF_ENDPOINT is set to.
        repos: Its models.
        cut: Files of which the first request gets half.
        go: Files are sent only while this is set.
        asked: Each request: its method, path and range.
    """

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    go: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str, str]] = field(default_factory=list)


@contextmanager
def running() -> Iterator[Hub]:
    """Run a hub until the context ends."""
    hub = Hub()
    hub.go.set()

    class Handler(_Handler):
        of = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def files_of(folder: str | Path) -> dict[str, bytes]:
    """Read a folder's files, as a commit has them."""
    return {file.name: file.read_bytes() for file in Path(folder).iterdir() if file.is_file()}


class _Handler(BaseHTTPRequestHandler):
    of: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.of.asked.append((self.command, path, self.headers.get("Range", "")))
        info = re.fullmatch(r"/api/models/(.+?)(?:/(?:revision|tree)/(.+))?", path)
        file = re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path)
        name = info[1] if info else file[1] if file else ""
        repo = self.of.repos.get(name)
        if repo is None:
            self._refuse(404, "RepoNotFound")
            return
        revision = (info[2] if info else file[2] if file else None) or "main"
        commit = repo.names.get(revision, revision)
        if commit not in repo.commits:
            self._refuse(404, "RevisionNotFound")
        elif info and f"{name}/tree/" in path:
            self._tell([_listed(*each) for each in repo.commits[commit].items()])
        elif info:
            self._tell(_facts(name, repo, commit))
        elif repo.gated and "Authorization" not in self.headers:
            self._refuse(403, "GatedRepo")
        elif file and file[3] in repo.commits[commit]:
            self._send(file[3], repo.commits[commit][file[3]], commit)
        else:
            self._refuse(404, "EntryNotFound")

    def _tell(self, facts: object) -> None:
        body = json.dumps(facts).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send(self, name: str, data: bytes, commit: str) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        part = data[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{_sha(data)}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        self.of.go.wait(_SECONDS)
        if name in self.of.cut:
            self.of.cut.discard(name)
            part = part[: len(part) // 2]
            self.close_connection = True
        self.wfile.write(part)

    def _refuse(self, status: int, code: str) -> None:
        body = json.dumps({"error": code}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _facts(name: str, repo: Repo, commit: str) -> dict[str, object]:
    return {
        "id": name,
        "modelId": name,
        "sha": commit,
        "private": False,
        "gated": "manual" if repo.gated else False,
        "pipeline_tag": repo.tag,
        "tags": [],
        "siblings": [{"rfilename": each} for each in repo.commits[commit]],
    }


def _listed(name: str, data: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(data), "oid": _sha(data)}


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
