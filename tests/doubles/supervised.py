"""A supervised worker of any app: `python -m tests.doubles.supervised APP NODE`."""

import sys

from stoker_config.logs import set_up
from stoker_config.settings import load_settings
from stoker_workers.supervisor import Supervisor

if __name__ == "__main__":
    settings = load_settings()
    set_up(settings)
    worker = ["-m", "celery", "-A", sys.argv[1], "worker", "-Q", "stoker"]
    command = [sys.executable, *worker, "-n", sys.argv[2], "-l", "info"]
    sys.exit(Supervisor(settings, command).run())
