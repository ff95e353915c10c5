"""A supervised worker: `python -m benchmarks.chaos.workers.supervised APP NODE`."""

import sys

from stoker_config.logs import set_up
from stoker_config.settings import load_settings
from stoker_workers import supervisor

# Its pause doubles with each death up to a minute. Here a worker dies more often in a minute than
# a bad driver kills one in a day, and a pause would only make the kills fewer.
supervisor._LONGEST_PAUSE = 0.5  # type: ignore[misc]

if __name__ == "__main__":
    settings = load_settings()
    set_up(settings)
    app, node = sys.argv[1:]
    worker = ["-m", "celery", "-A", app, "worker", "-Q", "stoker", "-n", node, "-l", "info"]
    worker += ["--without-gossip", "--without-mingle"]
    sys.exit(supervisor.Supervisor(settings, [sys.executable, *worker]).run())
