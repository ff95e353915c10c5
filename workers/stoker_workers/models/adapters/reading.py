"""How a model reads text: how much of it, padded on which side, and with what."""

import inspect
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from stoker_tasks.errors import InvalidInput
from stoker_workers.models.adapters.collate import Side

# Tokenizers without a limit of their own say 10 ** 30.
_NO_LIMIT: Final = 1_000_000
_POSITION_TABLES: Final = ("position_embeddings", "position_embedding", "embed_positions", "wpe")

# Their attention looks at blocks, hashes or samples of the padded length, so that padding changes
# the answer in spite of the mask.
_PADDING_CHANGES_ANSWERS: Final = frozenset(
    {"big_bird", "bigbird_pegasus", "funnel", "mra", "nystromformer", "reformer", "yoso"}
)
# Its classifier reads the last position.
_READS_LAST_POSITION: Final = frozenset({"xlnet"})


@dataclass(frozen=True, slots=True)
class Reading:
    """How one model reads text.

    Attributes:
        limit: The most tokens it can read at once; None if it has no limit.
        positions: The most tokens for which it has positions: one more makes the forward pass
            fail, which on a GPU ends the process. None if its positions are computed.
        paddable: Whether texts of different length may share a forward pass.
        side: Where padding goes.
        fill: What to pad each of the tokenizer's outputs with.
    """

    limit: int | None
    positions: int | None
    paddable: bool
    side: Side
    fill: dict[str, float]

    def check_length(self, tokens: int, cure: str) -> None:
        """Refuse a text that is longer than the model can read.

        Args:
            tokens: The text's length.
            cure: What the caller can do about it, as the end of the sentence "shorten it, …".

        Raises:
            InvalidInput: It is too long; the message names both lengths.
        """
        if self.limit is not None and tokens > self.limit:
            raise InvalidInput(
                f"the text has {tokens} tokens and this model reads at most {self.limit}: "
                f"shorten it, {cure}",
                {"tokens": tokens, "limit": self.limit},
            )


def reading_of(model: Any, tokenizer: Any, *, generates: bool = False) -> Reading:
    """Find out how a model reads text.

    Args:
        model: The model.
        tokenizer: Its tokenizer. One that knows no limit, or too large a one, is given the
            model's, so that truncating a text really makes it short enough.
        generates: Whether it continues its input, whose end must then not be padding.
    """
    config = model.config.get_text_config()
    positions = _positions(model)
    limits = [positions if positions else getattr(config, "max_position_embeddings", None)]
    limits.append(tokenizer.model_max_length)
    known = [limit for limit in limits if isinstance(limit, int) and 0 < limit < _NO_LIMIT]
    limit = min(known, default=None)
    if limit is not None:
        tokenizer.model_max_length = limit
    parameters = inspect.signature(model.forward).parameters
    left = generates or config.model_type in _READS_LAST_POSITION
    return Reading(
        limit=limit,
        positions=positions,
        paddable="attention_mask" in parameters
        and config.model_type not in _PADDING_CHANGES_ANSWERS,
        side="left" if left else "right",
        fill={
            "input_ids": tokenizer.pad_token_id or 0,
            "token_type_ids": tokenizer.pad_token_type_id,
        },
    )


def check_room(prompt: int, limit: int, held: int | None) -> None:
    """Refuse a prompt that a model cannot continue as far as is asked for.

    Args:
        prompt: Its tokens.
        limit: The most tokens that are to be generated.
        held: The most tokens that the model holds; any number if None.

    Raises:
        InvalidInput: Both together are more than the model holds.
    """
    if held is not None and prompt + limit > held:
        raise InvalidInput(
            f"the prompt has {prompt} tokens and up to {limit} are to be generated, but this "
            f"model holds {held}: set max_new_tokens to at most {held - prompt}, or shorten "
            "the prompt",
            {"tokens": prompt, "max_new_tokens": limit, "limit": held},
        )


def _positions(model: Any) -> int | None:
    sizes = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in _POSITION_TABLES:
            # RoBERTa's positions begin after the padding token's, BART's after an offset.
            unused = 0 if module.padding_idx is None else module.padding_idx + 1
            sizes.append(module.num_embeddings - unused - int(getattr(module, "offset", 0)))
    return min(sizes, default=None)
