"""The settings of `generate()` that jobs may set, shared by all tasks that generate."""

from typing import Annotated

from pydantic import Field

from stoker_tasks.job import Parameters

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class GenerationParameters(Parameters):
    """Settings of a model's `generate()`, with its names and defaults.

    Attributes:
        max_new_tokens: The most tokens to generate, beyond the prompt.
        min_new_tokens: The fewest tokens to generate before the model may stop.
        do_sample: Draw tokens at random by their probability instead of taking the best.
        temperature: Flattens (> 1) or sharpens (< 1) the probabilities that are drawn from.
        top_k: Draw from this many best tokens; 0 for all.
        top_p: Draw from the best tokens that together reach this probability.
        min_p: Draw from tokens at least this likely, relative to the best.
        typical_p: Draw from the tokens of typical surprise that together reach this probability.
        num_beams: Beams of beam search; 1 for none.
        num_return_sequences: How many outputs to return for one input.
        repetition_penalty: Above 1, tokens that occurred are made less likely.
        no_repeat_ngram_size: Sequences of this many tokens occur only once; 0 for no limit.
        length_penalty: Above 0, beam search prefers longer outputs.
        early_stopping: Whether beam search ends at the first `num_beams` complete candidates.
    """

    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    min_new_tokens: Annotated[int, Field(ge=0)] | None = None
    do_sample: bool | None = None
    temperature: Annotated[float, Field(gt=0.0)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    top_p: Fraction | None = None
    min_p: Fraction | None = None
    typical_p: Fraction | None = None
    num_beams: Annotated[int, Field(ge=1)] | None = None
    num_return_sequences: Annotated[int, Field(ge=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0.0)] | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] | None = None
    length_penalty: float | None = None
    early_stopping: bool | None = None


GENERATION = frozenset(GenerationParameters.model_fields)
