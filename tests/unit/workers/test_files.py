"""A file is fetched whole, in time and up to a size, from where a caller may send a worker."""

import logging
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from stoker_tasks.errors import InputFetchFailed, TooLarge
from stoker_workers.outside.addresses import Guard
from stoker_workers.outside.connection import Outside
from stoker_workers.outside.files import Files, Room
from tests.support.http_server import WebServer, give, serving

LIMIT = 1000
FILE = b"f" * 700
SIGNATURE = "s1gn4ture"


class NoBuckets:
    def read(self, url: str, room: Room) -> bytes:
        raise AssertionError("nothing is read there")


def fetch(url: str, seconds: float = 20.0, allowed: str = "files.test") -> bytes:
    """Fetch one file; each name is this machine, and the named ones may be."""
    guard = Guard((allowed,), lambda host, port: ["127.0.0.1"])
    files = Files(Outside(guard), NoBuckets(), limit=LIMIT, seconds=seconds)
    return files.fetch([url])[url]


PAGES: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "/file": lambda request: give(request, 200, FILE, content_type="image/png"),
    "/missing": lambda request: give(request, 404),
    "/closed": lambda request: give(request, 403),
    "/part": lambda request: give(request, 206, FILE),
    "/page": lambda request: give(request, 200, b"<html>", content_type="Text/HTML; charset=utf-8"),
    "/zipped": lambda request: give(request, 200, FILE, content_encoding="gzip"),
    "/large": lambda request: give(request, 200, b"f" * (LIMIT + 1)),
    "/lies": lambda request: give(request, 200, b"", content_length=str(LIMIT * 1000)),
    "/short": lambda request: give(request, 200, FILE, content_length="900"),
    "/moved": lambda request: give(request, 302, location="/file"),
    "/moved/inside": lambda request: give(request, 307, location="http://inside.test/file"),
    "/moved/metadata": lambda request: give(request, 302, location="http://169.254.169.254/"),
    "/moved/file": lambda request: give(request, 302, location="file:///etc/hosts"),
    "/moved/nowhere": lambda request: give(request, 302),
    "/loop": lambda request: give(request, 301, location="/loop"),
}


def unending(request: BaseHTTPRequestHandler) -> None:
    """Send chunk after chunk, with no length to be trusted."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        request.wfile.write(b"64\r\n" + b"f" * 100 + b"\r\n")


def drip(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
    for _ in range(900):
        request.wfile.write(b"f")
        request.wfile.flush()
        time.sleep(0.02)


PAGES |= {"/unending": unending, "/drip": drip}


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        PAGES[request.path.partition("?")[0]](request)

    with serving(answer) as running:
        yield running


@pytest.fixture
def site(server: WebServer) -> str:
    server.paths.clear()
    return f"http://files.test:{server.port}"


@pytest.mark.parametrize("path", ["/file", "/file?signature=x", "/moved"])
def test_a_file_is_fetched(path: str, site: str) -> None:
    assert fetch(site + path) == FILE


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/missing", "files.test answered 404"),
        ("/closed", "a signed URL may have expired"),
        ("/part", "answered 206"),
        ("/page", r"a web page \(text/html\)"),
        ("/zipped", r"compressed \(gzip\)"),
        ("/moved/inside", "inside.test is not a public host"),
        ("/moved/metadata", "169.254.169.254 is not a public host"),
        ("/moved/file", "neither http nor https"),
        ("/moved/nowhere", "without saying where to"),
        ("/loop", "redirects more than 5 times"),
    ],
)
def test_what_is_no_file_is_told_once(path: str, said: str, site: str, server: WebServer) -> None:
    with pytest.raises(InputFetchFailed, match=said) as caught:
        fetch(f"{site}{path}?signature={SIGNATURE}")

    assert not caught.value.retryable
    assert SIGNATURE not in f"{caught.value.message}{caught.value.details}"
    asked = [each for each in server.paths if each.startswith(path)]
    assert len(asked) == (6 if path == "/loop" else 1)


@pytest.mark.parametrize("path", ["/large", "/lies", "/unending"])
def test_what_is_too_large_is_left_unread(path: str, site: str) -> None:
    with pytest.raises(TooLarge, match="STOKER_FETCH_LIMIT") as caught:
        fetch(site + path)

    assert caught.value.details == {"limit": LIMIT}


def test_files_of_one_job_share_the_limit(site: str) -> None:
    guard = Guard(("files.test",), lambda host, port: ["127.0.0.1"])
    files = Files(Outside(guard), NoBuckets(), limit=LIMIT, seconds=20)

    # The same one twice is one.
    assert files.fetch([f"{site}/file", f"{site}/file"]) == {f"{site}/file": FILE}
    with pytest.raises(TooLarge):
        files.fetch([f"{site}/file", f"{site}/moved"])


def test_an_answer_that_breaks_off_is_asked_for_again(site: str, server: WebServer) -> None:
    with pytest.raises(InputFetchFailed, match="the connection to files") as caught:
        fetch(f"{site}/short")

    assert caught.value.retryable
    assert server.paths == ["/short"] * 3


def test_a_moments_trouble_is_none() -> None:
    asked = iter([503, 429, 200])

    with serving(lambda request: give(request, next(asked), FILE)) as server:
        assert fetch(f"http://files.test:{server.port}/") == FILE


def test_lasting_trouble_may_be_retried() -> None:
    with (
        serving(lambda request: give(request, 503)) as server,
        pytest.raises(InputFetchFailed, match="answered 503") as caught,
    ):
        fetch(f"http://files.test:{server.port}/")

    assert caught.value.retryable
    assert caught.value.details["status"] == 503


def test_whoever_drips_is_left_in_time(site: str) -> None:
    with pytest.raises(InputFetchFailed, match="within") as caught:
        fetch(f"{site}/drip", seconds=0.5)

    assert caught.value.retryable


def test_an_absent_server_may_come_back() -> None:
    with serving(lambda request: give(request, 200)) as server:
        port = server.port
    with pytest.raises(InputFetchFailed, match="the connection to files") as caught:
        fetch(f"http://files.test:{port}/")

    assert caught.value.retryable


def test_a_host_inside_is_not_even_connected_to(site: str, server: WebServer) -> None:
    with pytest.raises(InputFetchFailed, match="not a public host"):
        fetch(f"{site}/file", allowed="other.test")

    assert server.paths == []


def test_no_line_of_a_log_has_the_signature(site: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        fetch(f"{site}/file?signature={SIGNATURE}")

    assert SIGNATURE not in caplog.text
