"""The worker of one lane: `celery -A tests.celery.lane worker`; see `tests.celery.jobs`."""

import os

from tests.celery.jobs import make_lane

app = make_lane(os.environ["JUDGED_LANE"], os.environ["JUDGED_URL"])
