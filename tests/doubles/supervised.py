"""A supervised worker that serves `FakeModel`: `python -m tests.doubles.supervised NODE`."""

import sys

from stoker_config.logs import set_up
from stoker_config.settings import load_settings
from stoker_workers.supervisor import Supervisor

if __name__ == "__main__":
    settings = load_settings()
    set_up(settings)
    worker = ["-m", "celery", "-A", "tests.doubles.worker_app", "worker", "-Q", "stoker"]
    command = [sys.executable, *worker, "-n", sys.argv[1], "-l", "info"]
    sys.exit(Supervisor(settings, command).run())
