"""Text that is handed out while it is generated: of which jobs, and in what pieces."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

_INSTEAD: Final = "leave stream and job.output out, or"


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """New text of a job, as it is generated.

    The text of a job is its pieces put together, and at the end it is what its output says was
    generated, without the prompt.

    Attributes:
        id: Where it is in the job's stream: whoever goes on after it gives this.
        text: What is new.
        at: How many characters of the text stand before it.
        attempt: Which delivery of the job generates: 2 after a worker died of the first.
        restart: Whether the text begins anew with it: what came before is of no account, because
            the job is run again.
    """

    id: str
    text: str = field(repr=False)
    at: int
    attempt: int
    restart: bool = False

    @classmethod
    def of(cls, entry_id: bytes, fields: Mapping[bytes, bytes], *, begun: bool) -> Self:
        """Read an entry of a job's Redis stream.

        Args:
            entry_id: The entry's ID.
            fields: Its fields.
            begun: Whether its reader has, or had, pieces that came before.
        """
        at = int(fields[b"at"])
        return cls(
            id=entry_id.decode(),
            text=fields[b"text"].decode(),
            at=at,
            attempt=int(fields[b"attempt"]),
            restart=begun and at == 0,
        )


def check(task: str, inputs: Any, given: Mapping[str, Any], *, streams: bool, cache: bool) -> None:
    """Refuse a job that asks for its text while it is generated, and cannot have it.

    Args:
        task: The job's task.
        inputs: Its inputs.
        given: The parameters that it sets.
        streams: Whether the task generates a text.
        cache: Whether an earlier job's answer will do.

    Raises:
        ValueError: The task generates no text, or this job none that grows. Nothing is quoted.
    """
    if not streams:
        raise ValueError(
            f"{task} has no text to hand out while it runs: leave stream and job.output out"
        )
    if cache:
        raise ValueError(
            "cache=True may give an answer that is there already: leave out either it, or stream "
            "and job.output"
        )
    # A chat is a list as well, of messages.
    if isinstance(inputs, list) and not hasattr(inputs[0], "role"):
        raise ValueError(f"a list of inputs has no one text: {_INSTEAD} submit one job for each")
    for name, value in {**given, **(given.get("generate_kwargs") or {})}.items():
        if name in ("num_beams", "num_return_sequences") and (value or 1) > 1:
            raise ValueError(f"{name} above 1 has no one text before its end: {_INSTEAD} set 1")
        if name == "return_tensors" and value:
            raise ValueError(f"return_tensors asks for no text: {_INSTEAD} leave it out")
        if name == "generation_mode" and value not in (None, "text"):
            raise ValueError(f"generation_mode asks for no text: {_INSTEAD} leave it out")
