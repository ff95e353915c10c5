"""What is done with a fault: its place and kind are logged, and its frames let go of."""

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


def free_frames(error: BaseException) -> None:
    """Take its frames from an exception that is kept, and those of what it was raised from.

    They have the job at hand, and whoever called them has its whole bunch: where one of these keeps
    the exception, no input or tensor would go before Python next looks for cycles.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
