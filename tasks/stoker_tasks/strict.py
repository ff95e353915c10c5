"""The base of all that a caller writes: nothing unknown is taken, and errors quote no value."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen model that refuses unknown fields.

    pydantic builds its validator when the first one is made: a web backend imports the jobs of all
    tasks and submits those of a few. pydantic does so safely in several threads from 2.14 on.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )
