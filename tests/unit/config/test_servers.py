"""A server that lacks what Stoker needs is refused by name."""

from types import SimpleNamespace

import pytest

from stoker_config.servers import refuse_unfit


@pytest.mark.parametrize(("version", "fit"), [("6.0.16", False), ("6.2.0", True)])
def test_a_server_without_the_commands_is_too_old(version: str, *, fit: bool) -> None:
    # No server so old can be had for the tests; what it says of itself is all that is looked at.
    server = SimpleNamespace(info=lambda: {"redis_version": version, "cluster_enabled": 0})
    if fit:
        refuse_unfit(server)
        return
    with pytest.raises(ValueError, match=r"Redis 6\.0\.16, and Stoker needs 6\.2 or newer"):
        refuse_unfit(server)
