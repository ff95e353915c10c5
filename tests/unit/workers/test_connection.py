"""A connection goes to the address that was checked, ends in time, and trusts no other name."""

import ssl
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import httpx2
import pytest
import trustme

from stoker_workers.outside.addresses import Guard, Refused, Unresolved
from stoker_workers.outside.connection import Outside
from tests.support.http_server import WebServer, give, serving

SECONDS = 20.0


def here(*hosts: str) -> Guard:
    """Give a guard that lets these hosts be this machine."""
    return Guard(hosts, lambda host, port: ["127.0.0.1"])


def get(outside: Outside, url: str, seconds: float = SECONDS) -> bytes:
    with outside.send(httpx2.Request("GET", url), seconds) as answer:
        return b"".join(answer.iter_raw())


@pytest.fixture
def server() -> Iterator[WebServer]:
    with serving(lambda request: give(request, 200, b"here")) as running:
        yield running


def test_an_answer_is_read(server: WebServer) -> None:
    outside = Outside(here("files.test"))

    assert get(outside, f"http://files.test:{server.port}/a?b=c") == b"here"
    assert server.paths == ["/a?b=c"]


def test_a_body_is_sent() -> None:
    def echo(request: BaseHTTPRequestHandler) -> None:
        give(request, 200, request.rfile.read(int(request.headers["Content-Length"])))

    body = bytes(range(256)) * 400
    with serving(echo) as server:
        request = httpx2.Request("POST", f"http://hook.test:{server.port}/", content=body)
        with Outside(here("hook.test")).send(request, SECONDS) as answer:
            assert b"".join(answer.iter_raw()) == body


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_this_machine_is_not_connected_to(host: str, server: WebServer) -> None:
    with pytest.raises(Refused):
        get(Outside(Guard()), f"http://{host}:{server.port}/")

    assert server.paths == []


def test_a_name_that_changes_its_address_gains_nothing(server: WebServer) -> None:
    answers = iter(["127.0.0.2", "127.0.0.1", "127.0.0.1"])
    guard = Guard(("127.0.0.2",), lambda host, port: [next(answers)])
    url = f"http://rebinding.test:{server.port}/"

    # Checked at one address, it is connected to there, where nobody listens.
    with pytest.raises(httpx2.ConnectError):
        get(Outside(guard), url)
    with pytest.raises(Refused):
        get(Outside(guard), url)

    assert server.paths == []
    # It was asked for once each time.
    assert len(list(answers)) == 1


def test_a_redirect_is_an_answer(server: WebServer) -> None:
    def elsewhere(request: BaseHTTPRequestHandler) -> None:
        give(request, 302, location=f"http://files.test:{server.port}/")

    with serving(elsewhere) as first:
        request = httpx2.Request("GET", f"http://files.test:{first.port}/")
        with Outside(here("files.test")).send(request, SECONDS) as answer:
            assert answer.status_code == 302

    assert server.paths == []


def test_a_proxy_of_the_environment_is_not_used(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert get(Outside(here("files.test")), f"http://files.test:{server.port}/") == b"here"


@pytest.mark.parametrize("url", ["ftp://files.test/", "file:///etc/hosts", "gopher://files.test"])
def test_another_scheme_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="scheme"):
        get(Outside(here("files.test")), url)


def test_an_unknown_host_is_told_apart() -> None:
    with pytest.raises(Unresolved):
        get(Outside(Guard()), "http://nowhere.invalid/")


@pytest.mark.parametrize("part", ["head", "body"])
def test_whoever_drips_is_left_in_time(part: str) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        if part == "body":
            request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(2000):
            request.wfile.write(b"x")
            request.wfile.flush()
            time.sleep(0.01)

    with serving(drip) as server, pytest.raises(httpx2.TimeoutException):
        get(Outside(here("slow.test")), f"http://slow.test:{server.port}/", seconds=0.5)


def test_a_broken_answer_has_a_type() -> None:
    def nonsense(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"nonsense\r\n\r\n")

    with serving(nonsense) as server, pytest.raises(httpx2.RemoteProtocolError):
        get(Outside(here("files.test")), f"http://files.test:{server.port}/")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def certified(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def test_a_certificate_is_checked_for_the_name_though_the_address_is_pinned(
    authority: trustme.CA,
) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    outside = Outside(here("files.test", "other.test"), trusting)

    with serving(
        lambda request: give(request, 200, b"secret"), tls=certified(authority, "files.test")
    ) as server:
        assert get(outside, f"https://files.test:{server.port}/") == b"secret"
        with pytest.raises(httpx2.ConnectError):
            get(outside, f"https://other.test:{server.port}/")
        # Nor does one that nobody vouches for count.
        with pytest.raises(httpx2.ConnectError):
            get(Outside(here("files.test")), f"https://files.test:{server.port}/")
