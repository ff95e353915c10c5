"""What a case is: calls of different callers that may share a forward pass."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import soundfile
from PIL import Image

Call = tuple[Any, Mapping[str, Any]]

SHORT = "The food was terrible."
MIDDLE = "Bob moved to Berlin with his brother Charles in the summer."
LONG = (
    "This movie was wonderful, the actors were great and the music was lovely. "
    "Alice lives in Paris."
)
ENDLESS = " ".join([LONG] * 6)
ENDLESS_TABLE = {"name": ["Alice", "Bob"] * 20, "city": ["Paris", "Berlin"] * 20}


@dataclass(frozen=True)
class Case:
    """Calls that are to be batched.

    Attributes:
        name: The test's name.
        task: The task's name.
        model: The tiny checkpoint.
        calls: Inputs and parameters of each job.
        forwards: How many forward passes they take together.
        judge: Whose answers are right: transformers' own `pipeline`; for the tasks that it dropped
            the `golden` answers of version 4.57, or a `direct` call of tokenizer and model.
    """

    name: str
    task: str
    model: str
    calls: Sequence[Call]
    forwards: int
    judge: Literal["pipeline", "golden", "direct"] = "pipeline"

    def __str__(self) -> str:
        return self.name


def for_pipeline(inputs: Any) -> Any:
    """Give inputs as the pipeline takes them: the bytes of images and sounds decoded."""
    if isinstance(inputs, list):
        return [for_pipeline(each) for each in inputs]
    if isinstance(inputs, dict):
        # A new one each time: some pipelines change what they are given.
        return {name: for_pipeline(each) for name, each in inputs.items()}
    if not isinstance(inputs, bytes) or inputs[4:8] == b"ftyp":
        return inputs
    if inputs.startswith(b"RIFF"):
        return soundfile.read(io.BytesIO(inputs), dtype="float32")[0]
    return Image.open(io.BytesIO(inputs))
