"""Posts go to the address that was checked, over connections that are kept, and end in time."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler
from typing import TypeVar

import httpx2
import pytest
import trustme

from stoker_workers.outside.addresses import Guard, Refused, Unresolved
from stoker_workers.outside.exchange import Broken
from stoker_workers.outside.lookups import Unasked
from stoker_workers.outside.posting import Poster
from tests.support.http_server import give, serving

SECONDS = 20.0
Given = TypeVar("Given")


def here(*hosts: str) -> Guard:
    """Give a guard that lets these hosts be this machine."""
    return Guard(hosts, lambda host, port: ["127.0.0.1"])


def with_poster(
    use: Callable[[Poster], Awaitable[Given]], guard: Guard, tls: ssl.SSLContext | None = None
) -> Given:
    async def run() -> Given:
        poster = Poster(guard, tls)
        try:
            return await use(poster)
        finally:
            await poster.close()

    return asyncio.run(run())


def post(
    guard: Guard, url: str, seconds: float = SECONDS, tls: ssl.SSLContext | None = None
) -> int:
    async def use(poster: Poster) -> int:
        return (await poster.post(url, {"a": "b"}, b"body", seconds)).status_code

    return with_poster(use, guard, tls)


def kept(request: BaseHTTPRequestHandler, status: int = 200, body: bytes = b"thanks") -> None:
    """Answer, and keep the connection for the next request."""
    request.protocol_version = "HTTP/1.1"
    # Its body goes out at once, and not only when its head has been acknowledged.
    request.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    request.rfile.read(int(request.headers["Content-Length"]))
    request.close_connection = False
    give(request, status, body)


def test_a_body_arrives_with_its_headers() -> None:
    got = []

    def take(request: BaseHTTPRequestHandler) -> None:
        got.append((request.rfile.read(int(request.headers["Content-Length"])), request.headers))
        give(request, 204)

    body = bytes(range(256)) * 4000
    with serving(take) as server:
        url = f"http://bücher.test:{server.port}/ä?b=c"
        host = "xn--bcher-kva.test"
        head = with_poster(lambda poster: poster.post(url, {"x-a": "1"}, body, SECONDS), here(host))
        assert head.status_code == 204
        [(received, headers)] = got
        assert received == body
        assert (headers["host"], headers["x-a"]) == (f"{host}:{server.port}", "1")
        assert server.paths == ["/%C3%A4?b=c"]


async def freed(poster: Poster) -> None:
    """Wait until the rest of an answer has been read: its connection is free for the next post."""
    async with asyncio.timeout(SECONDS):
        while not poster._free:
            await asyncio.sleep(0.01)


def test_connections_are_kept_and_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker_workers.outside.exchange._BODY_SECONDS", SECONDS)
    ports = []

    def take(request: BaseHTTPRequestHandler) -> None:
        ports.append(request.client_address[1])
        kept(request)

    async def use(poster: Poster) -> None:
        for _ in range(5):
            assert (await poster.post(url, {}, b"x", SECONDS)).status_code == 200
            await freed(poster)
        await asyncio.gather(*(poster.post(url, {}, b"x", SECONDS) for _ in range(3)))

    with serving(take) as server:
        url = f"http://hook.test:{server.port}/"
        with_poster(use, here("hook.test"))

    assert len(set(ports[:5])) == 1
    assert len(set(ports)) == 3


def test_what_a_kept_connection_did_not_take_is_sent_over_a_new_one() -> None:
    def take(request: BaseHTTPRequestHandler) -> None:
        kept(request)
        # It hangs up without having said that it would, as a server does whose patience ends.
        if len(server.paths) == 1:
            request.connection.settimeout(0.2)

    async def use(poster: Poster) -> list[int]:
        first = await poster.post(url, {}, b"x", SECONDS)
        time.sleep(0.6)  # the loop does not see the end of the connection before it writes to it
        return [first.status_code, (await poster.post(url, {}, b"x", SECONDS)).status_code]

    with serving(take) as server:
        url = f"http://hook.test:{server.port}/"
        assert with_poster(use, here("hook.test")) == [200, 200]
        assert len(server.paths) == 2


def test_an_address_that_takes_no_connection_in_time_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stoker_workers.outside.posting._ADDRESS_SECONDS", 0.3)
    with serving(lambda request: give(request, 200)) as server, socket.socket() as full:
        # Its queue is full: what else would connect to it is not even refused.
        full.bind(("127.0.0.2", server.port))
        full.listen(0)
        queued = [socket.socket() for _ in range(4)]
        for each in queued:
            each.setblocking(False)
            each.connect_ex(("127.0.0.2", server.port))
        guard = Guard(("127.0.0.0/8",), lambda host, port: ["127.0.0.2", "127.0.0.1"])

        assert post(guard, f"http://two.test:{server.port}/") == 200
        for each in queued:
            each.close()


def test_an_address_that_speaks_no_tls_is_passed_over() -> None:
    authority, trusting = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trusting)
    guard = Guard(("127.0.0.0/8",), lambda host, port: ["127.0.0.2", "127.0.0.1"])

    with (
        serving(lambda request: give(request, 200), tls=certified(authority, "two.test")) as server,
        serving(lambda request: give(request, 200), "127.0.0.2", port=server.port),
    ):
        assert post(guard, f"https://two.test:{server.port}/", tls=trusting) == 200


@pytest.mark.parametrize("given_up", [False, True])
def test_whoever_has_had_an_answer_closes_no_connection_that_another_post_has_taken(
    monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    monkeypatch.setattr("stoker_workers.outside.exchange._BODY_SECONDS", SECONDS)
    answered = threading.Event()

    def take(request: BaseHTTPRequestHandler) -> None:
        kept(request)
        answered.set()

    async def use(poster: Poster) -> None:
        await poster.post(url, {}, b"x", SECONDS)
        await freed(poster)
        # Once the connection is free, its server may yet have to say so.
        assert await asyncio.to_thread(answered.wait, SECONDS)
        # From here on each post finds too many connections that nobody waits for.
        monkeypatch.setattr("stoker_workers.outside.posting.MOST_IDLE", -1)
        answered.clear()
        first = asyncio.create_task(poster.post(url, {}, b"first", SECONDS))
        await asyncio.sleep(0)
        # The loop stands still, so that it reads nothing before there is all of the answer.
        assert answered.wait(SECONDS)
        # In one round of the loop the answer is read; in the next one the second post begins, and
        # only then the first one goes on.
        await asyncio.sleep(0)
        second = asyncio.create_task(poster.post(url, {}, b"second", SECONDS))
        if given_up:
            first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert second.result().status_code == 200

    with serving(take) as server:
        url = f"http://127.0.0.1:{server.port}/"
        with_poster(use, Guard(("127.0.0.1",)))
        assert len(server.paths) == 3


def test_a_body_without_an_end_holds_nobody_up() -> None:
    left = threading.Event()

    def flood(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        try:
            while True:
                request.wfile.write(bytes(65536))
        except OSError:
            left.set()

    with serving(flood) as server:
        assert post(here("hook.test"), f"http://hook.test:{server.port}/") == 200
        assert left.wait(SECONDS)


def test_bodies_that_do_not_end_keep_few_connections_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker_workers.outside.posting.MOST_IDLE", 3)
    monkeypatch.setattr("stoker_workers.outside.exchange._BODY_SECONDS", 3 * SECONDS)
    left: list[None] = []

    def endless(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers["Content-Length"]))
        request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        request.connection.recv(1)
        left.append(None)

    async def use(poster: Poster) -> int:
        for _ in range(9):
            await poster.post(url, {}, b"x", SECONDS)
        async with asyncio.timeout(SECONDS):
            while len(left) < 6:
                await asyncio.sleep(0.01)
        return len(left)

    with serving(endless) as server:
        url = f"http://hook.test:{server.port}/"
        assert with_poster(use, here("hook.test")) == 6


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_this_machine_is_not_connected_to(host: str) -> None:
    with serving(lambda request: give(request, 200)) as server:
        with pytest.raises(Refused):
            post(Guard(), f"http://{host}:{server.port}/")

        assert server.paths == []


def test_a_name_that_changes_its_address_gains_nothing() -> None:
    answers = iter(["127.0.0.2", "127.0.0.1", "127.0.0.1"])
    guard = Guard(("127.0.0.2",), lambda host, port: [next(answers)])

    with serving(lambda request: give(request, 200)) as server:
        url = f"http://rebinding.test:{server.port}/"
        # Checked at one address, it is connected to there, where nobody listens.
        with pytest.raises(ConnectionRefusedError):
            post(guard, url)
        with pytest.raises(Refused):
            post(guard, url)

        assert server.paths == []
    assert len(list(answers)) == 1


def test_a_name_is_looked_up_once_for_all_who_wait_and_nobody_waits_for_ever() -> None:
    asked, release = [], threading.Event()

    def slowly(host: str, port: int) -> list[str]:
        if host == "slow.test":
            asked.append(host)
            release.wait(SECONDS)
        return ["127.0.0.1"]

    async def use(poster: Poster) -> list[object]:
        url = f"http://slow.test:{server.port}/"
        waiting = [asyncio.create_task(poster.post(url, {}, b"x", SECONDS)) for _ in range(4)]
        with pytest.raises(TimeoutError):
            await poster.post(url, {}, b"x", 0.1)
        quick = await poster.post(f"http://127.0.0.1:{server.port}/", {}, b"x", SECONDS)
        release.set()
        return [quick.status_code, *(each.status_code for each in await asyncio.gather(*waiting))]

    with serving(lambda request: give(request, 200)) as server:
        guard = Guard(("slow.test", "127.0.0.1"), slowly)
        assert with_poster(use, guard) == [200] * 5
    assert asked == ["slow.test"]


def test_names_that_do_not_answer_keep_none_waiting_once_their_posts_are_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stoker_workers.outside.lookups.MOST_LOOKUPS", 1)
    asked, release = [], threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        if host == "0.dead.test":
            release.wait(SECONDS)
        return ["127.0.0.1"]

    async def use(poster: Poster) -> None:
        async def posted(host: str, seconds: float = SECONDS) -> int:
            url = f"http://{host}:{server.port}/"
            return (await poster.post(url, {}, b"x", seconds)).status_code

        assert await posted("known.test") == 200
        dead = [posted(f"{at}.dead.test", 0.5) for at in range(4)]
        first, *others = await asyncio.gather(*dead, return_exceptions=True)
        assert type(first) is TimeoutError
        assert [type(each) for each in others] == [Unasked] * 3

        # While the only thread waits, who is known is still posted to.
        assert await posted("known.test") == 200
        late = asyncio.create_task(posted("late.test"))
        await asyncio.sleep(0)
        release.set()
        assert await late == 200

    with serving(lambda request: give(request, 200)) as server:
        with_poster(use, Guard(("127.0.0.1",), resolve))
    assert asked == ["known.test", "0.dead.test", "late.test"]


def test_a_redirect_is_an_answer() -> None:
    with serving(lambda request: give(request, 200)) as target:

        def elsewhere(request: BaseHTTPRequestHandler) -> None:
            give(request, 302, location=f"http://hook.test:{target.port}/")

        with serving(elsewhere) as first:
            assert post(here("hook.test"), f"http://hook.test:{first.port}/") == 302
        assert target.paths == []


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    with serving(lambda request: give(request, 200)) as server:
        assert post(here("hook.test"), f"http://hook.test:{server.port}/") == 200


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("ftp://hook.test/", Refused),
        ("file:///etc/hosts", Refused),
        ("http://nowhere.invalid/", Unresolved),
        ("http://[v1.a]/", (Unresolved, httpx2.InvalidURL)),
    ],
)
def test_what_is_no_receiver_is_told_apart(url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        post(Guard(), url)


def test_whoever_drips_is_left_in_time() -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        for _ in range(2000):
            request.wfile.write(b"x")
            request.wfile.flush()
            time.sleep(0.01)

    with serving(drip) as server, pytest.raises(TimeoutError):
        post(here("slow.test"), f"http://slow.test:{server.port}/", seconds=0.5)


@pytest.mark.parametrize("what", [b"nonsense\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nA: b"])
def test_what_is_no_answer_has_a_type(what: bytes) -> None:
    def nonsense(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers["Content-Length"]))
        request.wfile.write(what)

    with serving(nonsense) as server, pytest.raises(Broken):
        post(here("hook.test"), f"http://hook.test:{server.port}/")


def certified(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def test_a_certificate_is_checked_for_the_name_though_the_address_is_pinned() -> None:
    authority, trusting = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trusting)
    guard = here("hook.test", "other.test")

    with serving(
        lambda request: give(request, 200), tls=certified(authority, "hook.test")
    ) as server:
        assert post(guard, f"https://hook.test:{server.port}/", tls=trusting) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            post(guard, f"https://other.test:{server.port}/", tls=trusting)
        # Nor does one that nobody vouches for count.
        with pytest.raises(ssl.SSLCertVerificationError):
            post(guard, f"https://hook.test:{server.port}/")
        assert server.paths == ["/"]
