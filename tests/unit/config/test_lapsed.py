"""A lease is over after the time that its own transport has for it."""

import pytest

from stoker_config.lapsed import Beat
from stoker_config.settings import Settings

OWN = "worker-0123456789ab.1.1"
STOCK = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


@pytest.mark.parametrize(
    ("tag", "silent", "over"),
    [(OWN, 59, False), (OWN, 61, True), (STOCK, 7199, False), (STOCK, 7201, True), ("", 0, True)],
)
def test_each_transport_has_its_own_time(tag: str, silent: float, over: bool) -> None:
    settings = Settings.model_validate({"lease": 60, "visibility_timeout": 7200})

    assert Beat(tag, 1000.0).is_over(1000.0 + silent, settings) is over
