"""How a fault is logged: where it happened and its kind, never a caller's words."""

import logging
import traceback


def log_fault(logger: logging.Logger, what: str, error: BaseException) -> None:
    """Log an exception's type and the lines it passed, without its message.

    Args:
        logger: Where to.
        what: What failed, as the head of the line.
        error: The exception. Its message may quote a caller's inputs.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = " <- ".join(f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in frames[::-1])
    logger.error("%s: %s at %s", what, type(error).__name__, where or "an unknown place")
