"""The text of a row while it is generated, for those who follow it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import torch
from transformers.generation import StoppingCriteria

from stoker_workers.engine.model import Follow
from stoker_workers.models.adapters.ends import Ends

# What a tokenizer writes for the bytes of a character that is not complete yet.
_INCOMPLETE: Final = "\ufffd"
# How many tokens before the new ones are decoded with them: a tokenizer treats a text's first token
# in a way of its own, such as leaving out the space before it.
_BEFORE: Final = 5
# The attribute of a tokenizer of BPE that is to take spaces away all the same.
_FORCED: Final = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"

Decode = Callable[[Sequence[int]], str]


class GrowingText:
    """The text of one row. The device's thread adds tokens to it, others read it.

    As in other servers of such models, the last tokens alone are decoded each time, with some that
    were decoded before: `detokenize_incrementally` in vLLM, `decode_token` in text-generation-
    inference. What is given so has mostly no need to be corrected by what the pipeline makes of all
    tokens at the end, but that is what counts.

    Args:
        decode: Turns tokens into text.
        lock: Whoever uses the tokenizer has to hold it.
        before: The tokens of the prompt, where the pipeline decodes these with the new ones.
        cleans: Whether what comes later may take spaces away from a text's last word.
    """

    def __init__(
        self,
        decode: Decode,
        lock: AbstractContextManager[object],
        *,
        before: Sequence[int] = (),
        cleans: bool = False,
    ) -> None:
        self._decode = decode
        self._lock = lock
        self._cleans = cleans
        self._tokens = list(before)
        self._text = ""
        self._first = 0 if cleans else max(0, len(self._tokens) - _BEFORE)
        self._read = len(self._tokens)
        self._whole: Callable[[], str] | None = None

    def add(self, token: int) -> None:
        """Take the next token in."""
        self._tokens.append(token)

    def end(self, whole: Callable[[], str]) -> None:
        """Say what the text is, now that there is all of it."""
        self._whole = whole

    def read(self) -> str:
        """Give the text as far as it is certain by now, and all of it at the end."""
        with self._lock:
            if self._whole is not None:
                return self._whole()
            self._go_on()
            return self._text

    def _go_on(self) -> None:
        count = len(self._tokens)
        if count == self._read:
            return
        known = self._decode(self._tokens[self._first : self._read])
        more = self._decode(self._tokens[self._first : count])
        new = more[len(known) :]
        if self._cleans:
            # All of it is decoded each time, and the word that may still change is left out.
            words = new.rsplit(maxsplit=1)
            self._text = words[0] if len(words) > 1 else ""
        elif new and not new.endswith(_INCOMPLETE):
            self._text += new
            self._first, self._read = self._read, count


def decoder(tokenizer: Any, wanted: Mapping[str, Any]) -> Decode:
    """Give what turns new tokens into text as a task's pipeline does.

    Args:
        tokenizer: The pipeline's tokenizer.
        wanted: The job's settings of it.
    """
    skip = wanted.get("skip_special_tokens")
    settings = {
        "skip_special_tokens": True if skip is None else skip,
        "clean_up_tokenization_spaces": wanted.get("clean_up_tokenization_spaces"),
    }
    return lambda tokens: str(tokenizer.decode(tokens, **settings))


def cleans(tokenizer: Any, wanted: Mapping[str, Any]) -> bool:
    """Tell whether a tokenizer takes spaces out of texts again: those before full stops.

    One of BPE does not though it is asked to, unless it is forced (`TokenizersBackend._decode` in
    transformers).
    """
    asked = wanted.get("clean_up_tokenization_spaces")
    core = getattr(tokenizer, "backend_tokenizer", None)
    own = type(getattr(core, "decoder", None)).__name__ == "WordPiece"
    if type(getattr(core, "model", None)).__name__ == "BPE" and not getattr(
        tokenizer, _FORCED, False
    ):
        return own
    return own or bool(tokenizer.clean_up_tokenization_spaces if asked is None else asked)


def followed(
    follow: Sequence[Follow | None], text_of: Callable[[int], GrowingText]
) -> dict[int, GrowingText]:
    """Begin the texts of those rows of a pass that somebody follows.

    Args:
        follow: For each row who follows it, if anybody does.
        text_of: Makes the text of a row, by its number.

    Returns:
        The texts, by the numbers of their rows.
    """
    texts: dict[int, GrowingText] = {}
    for row, follower in enumerate(follow):
        if follower is not None:
            texts[row] = text_of(row)
            follower(texts[row].read)
    return texts


class Growing(StoppingCriteria):
    """Ends nothing: sees each step's tokens, and adds them to their rows' texts.

    Args:
        texts: The texts, by the numbers of their rows.
        ends: Where each row ends; it has to be asked before.
        rows: How many rows the pass has. Where a row has several sequences, none is the text yet.
    """

    def __init__(self, texts: Mapping[int, GrowingText], ends: Ends, rows: int) -> None:
        self._texts = texts
        self._ends = ends
        self._rows = rows

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Add the last tokens of the rows that had not ended before."""
        if input_ids.shape[0] == self._rows:
            made = self._ends.made(input_ids)
            lengths, last = self._ends.lengths.tolist(), input_ids[:, -1].tolist()
            for row, text in self._texts.items():
                if lengths[row] in (0, made):
                    text.add(last[row])
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
