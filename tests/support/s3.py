"""A real S3 API on this machine: moto's server, as a process of its own."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from stoker.local.ports import free_port
from stoker_config.s3 import connect_s3
from stoker_config.settings import Settings

BUCKET: Final = "results"
# moto takes any; boto3 finds them where it finds an operator's.
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}


@dataclass(frozen=True)
class S3:
    """A running server with an empty bucket.

    Attributes:
        endpoint: Its URL.
        bucket: The bucket's name.
    """

    endpoint: str
    bucket: str = BUCKET

    def settings(self, **others: Any) -> dict[str, Any]:
        """Give the settings of Stoker that lead here, and others beside them."""
        return {
            "s3_endpoint": self.endpoint,
            "s3_bucket": self.bucket,
            "s3_path_style": True,
            **others,
        }

    def client(self) -> Any:
        """Make a boto3 client of it, as anybody would."""
        return connect_s3(Settings.model_validate(self.settings()))

    def objects(self) -> list[str]:
        """List the names of all objects in the bucket."""
        found = self.client().list_objects_v2(Bucket=self.bucket)
        return [each["Key"] for each in found.get("Contents", ())]


@contextmanager
def running() -> Iterator[S3]:
    """Run a server until the context ends; it answers when the context begins.

    The process that asks must have `CREDENTIALS` in its environment.
    """
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = S3(f"http://127.0.0.1:{port}")
    try:
        _wait_until_answering(server, process)
        server.client().create_bucket(Bucket=server.bucket)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_until_answering(server: S3, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert process.poll() is None, "moto's server has ended"
        try:
            urllib.request.urlopen(f"{server.endpoint}/moto-api/data.json", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError("moto's server does not answer")
