"""A Stoker worker that serves `FakeModel`: `celery -A tests.doubles.worker_app worker`."""

from stoker_config.settings import load_settings
from stoker_workers.app import make_worker_app
from tests.doubles.engine import serving
from tests.doubles.model import FakeModel

app = make_worker_app(load_settings(), serving(FakeModel()))
