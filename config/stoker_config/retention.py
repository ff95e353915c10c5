"""How long a job's result and artifacts are kept: as long as it asks for, within bounds."""

from dataclasses import dataclass
from typing import Any

from stoker_tasks.errors import InvalidInput


@dataclass(frozen=True)
class Retention:
    """The deployment's rule.

    Attributes:
        usual: Seconds for jobs that ask for nothing.
        longest: Seconds that a job may ask for.
    """

    usual: int
    longest: int

    def checked(self, asked: int | None) -> int:
        """Give the seconds for a job.

        Args:
            asked: What the job asks for, if it does.

        Raises:
            InvalidInput: It asks for more than is given.
        """
        if asked is not None and asked > self.longest:
            raise InvalidInput(
                f"retention: {asked} seconds are more than this deployment keeps a result: "
                f"{self.longest} (STOKER_RETENTION_MAX)",
                {"retention": asked, "limit": self.longest},
            )
        return asked or self.usual

    def of(self, asked: Any) -> int:
        """Give the seconds for the result of a job, even of one whose fields are wrong."""
        good = type(asked) is int and 0 < asked <= self.longest
        return asked if good else self.usual
