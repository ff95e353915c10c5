from tests.tiny.fixture import tiny

__all__ = ["tiny"]
