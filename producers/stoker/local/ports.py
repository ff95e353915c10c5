"""TCP ports of this machine alone."""

import socket
from typing import Final

HOST: Final = "127.0.0.1"


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
