"""A process that takes one job and is killed, and the next one, which waits until the job is back.

`python -m tests.doubles.mortal URL [refuse]`: with `refuse`, the server does not let a supervisor
find the job until the next process runs.
"""

import json
import os
import signal
import sys

import redis

from stoker_config import keys
from stoker_workers.exits import CONFIG
from tests.support.until import until


def main(url: str, *options: str) -> int:
    """Take a job and die, or wait until it is back."""
    with redis.Redis.from_url(url) as server:
        starts = server.rpush("held at each start", server.hlen(keys.HELD_MESSAGES))
        if starts == 1:
            tag = f"{os.environ['STOKER_WORKER_ID']}-0123456789ab.1.1"
            message = {"body": "", "headers": {"id": "job"}, "properties": {"priority": 3}}
            server.hset(keys.HELD_MESSAGES, tag, json.dumps([message, "", "stoker"]))
            server.zadd(keys.HELD, {tag: server.time()[0]})
            if options:
                server.execute_command("ACL", "SETUSER", "default", "-zscan")
            os.kill(os.getpid(), signal.SIGKILL)
        server.execute_command("ACL", "SETUSER", "default", "+zscan")
        try:
            until(lambda: not server.hlen(keys.HELD_MESSAGES))
        except AssertionError:
            return CONFIG  # with any other code it would be started again
        return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
