"""An S3 server to try things with: moto's, in memory, on a port of this machine alone."""

import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from stoker.local.errors import NotReady
from stoker.local.ports import HOST, free_port
from stoker.local.processes import Process
from stoker.local.stop import Pause

BUCKET: Final = "stoker"
# It takes any; boto3 insists on some.
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
_READY_SECONDS: Final = 60.0


class S3Server:
    """A running S3 server with an empty bucket.

    Args:
        log: The file to which its output is appended.
        pause: Sleeps between two looks, until it answers.

    Attributes:
        process: Its process.
        settings: The settings of Stoker that lead to it.

    Raises:
        NotReady: It does not answer.
        ProcessDied: It has ended.
    """

    def __init__(self, log: Path, pause: Pause = time.sleep) -> None:
        self._port = free_port()
        self.settings = {
            "s3_endpoint": f"http://{HOST}:{self._port}",
            "s3_bucket": BUCKET,
            "s3_path_style": "true",
        }
        self.process = Process(
            "the S3 server",
            [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self._port)],
            log=log,
            grace=5.0,
        )
        try:
            self._wait_until_ready(pause)
        except BaseException:
            self.process.stop()
            raise

    def _wait_until_ready(self, pause: Pause) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not self._makes_bucket():
            self.process.check()
            if time.monotonic() > deadline:
                raise NotReady(
                    f"the S3 server did not answer within {_READY_SECONDS:g} s; its last lines:\n"
                    f"{self.process.tail()}"
                )
            pause(0.1)

    def _makes_bucket(self) -> bool:
        # No proxy that the environment names may stand in between.
        connection = HTTPConnection(HOST, self._port, timeout=5)
        try:
            connection.request("PUT", f"/{BUCKET}")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
