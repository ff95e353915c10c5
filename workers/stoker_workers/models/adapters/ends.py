"""Where generated sequences end: each at its own limit, end token or stop string."""

from typing import Any

import torch
from transformers.generation import StoppingCriteria


class Ends(StoppingCriteria):
    """Ends each sequence at its own limit, end token or stop string, and remembers where.

    Args:
        limits: For each row the most new tokens.
        width: How many tokens stand before the new ones.
        end_tokens: The tokens that end a sequence.
        stops: A further criterion, such as that of stop strings.
    """

    def __init__(
        self, limits: torch.Tensor, width: int, end_tokens: torch.Tensor, stops: Any = None
    ) -> None:
        self._limits = limits
        self._width = width
        self._end_tokens = end_tokens
        self._stops = stops
        self._ended: torch.Tensor | None = None

    @property
    def lengths(self) -> torch.Tensor:
        """The number of new tokens of each sequence; 0 while it has not ended."""
        assert self._ended is not None
        return self._ended

    def made(self, input_ids: torch.Tensor) -> int:
        """Count the new tokens that each sequence has by now, padding after its end included."""
        return input_ids.shape[1] - self._width

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Tell which sequences end here."""
        if self._ended is None:
            # Sampling may draw several sequences for each prompt.
            each = input_ids.shape[0] // self._limits.shape[0]
            self._limits = self._limits.repeat_interleave(each)
            self._ended = torch.zeros_like(self._limits)
        made = self.made(input_ids)
        done = (self._limits <= made) | torch.isin(input_ids[:, -1], self._end_tokens)
        if self._stops is not None:
            done |= self._stops(input_ids, scores)
        self._ended = torch.where((self._ended == 0) & done, made, self._ended)
        return done


def end_tokens_of(model: Any, settings: Any = None) -> torch.Tensor:
    """List the tokens that end a sequence of a model.

    Args:
        model: The model.
        settings: Settings of `generate()`, which may name other tokens.
    """
    ends = (settings or {}).get("eos_token_id", model.generation_config.eos_token_id)
    ends = [] if ends is None else [ends] if isinstance(ends, int) else ends
    return torch.tensor(ends, dtype=torch.long)


def lengths_of(new: torch.Tensor, end_tokens: torch.Tensor) -> torch.Tensor:
    """Count the tokens of each sequence, up to its first end token.

    Args:
        new: The new tokens, one row for each sequence.
        end_tokens: The tokens that end a sequence.
    """
    ended = torch.isin(new, end_tokens)
    first = ended.int().argmax(dim=1) + 1
    return torch.where(ended.any(dim=1), first, new.shape[1])
