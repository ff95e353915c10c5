"""A real worker beside torchvision: `celery -A tests.doubles.torchvision_app worker`."""

from tests.support.torchvision import make_importable

make_importable()

from stoker_workers.app import app  # noqa: E402 - transformers asks for torchvision once

__all__ = ["app"]
