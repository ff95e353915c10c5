"""A connection of one's own is made of a client's options, with or without a fast parser."""

import redis

from stoker_config.servers import connect, options_of
from stoker_config.settings import Settings


def test_a_lone_connection_wants_none_of_what_a_pool_does() -> None:
    client = connect(Settings.model_validate({"redis_url": "redis://:word@h:1/2"}))

    options = options_of(client)

    assert (options["host"], options["db"], options["password"]) == ("h", 2, "word")
    # redis-py's own parser, which is there without hiredis, takes no maintenance notifications.
    made = redis.Connection(**options, parser_class=redis.connection._RESP2Parser)
    assert made.host == "h"
