"""The tasks of a caller who wants a text rewritten: shorter, in another language, or otherwise."""

from typing import Annotated, Any, ClassVar, TypedDict

from pydantic import Field

from stoker_tasks.generation import GENERATION, GenerationParameters
from stoker_tasks.job import Job
from stoker_tasks.spec import TaskSpec

_LENGTHS = frozenset({"max_length", "min_length", "stop_sequence"})
_LEFT_OUT = {
    "return_text": "the pipeline does nothing with it",
    "return_type": "return_tensors says the same",
}


class RewritingParameters(GenerationParameters):
    """What the pipelines take whose model reads a text and writes another.

    Without `max_new_tokens` and `max_length`, up to 256 tokens; without `num_beams`, 4; unless the
    checkpoint says otherwise.

    Attributes:
        max_length: The most tokens of the output, the one that begins it included; of no account
            beside `max_new_tokens`.
        min_length: The fewest tokens of the output, the one that begins it included.
        truncation: Cut a text that is longer than the model can read; refused as
            `invalid_input` otherwise.
        return_tensors: Give the tokens of the output rather than its text.
        clean_up_tokenization_spaces: Remove the spaces that some tokenizers leave.
        stop_sequence: The first token of it ends the output, in place of the model's end token.
    """

    max_length: Annotated[int, Field(ge=2)] | None = None
    min_length: Annotated[int, Field(ge=0)] | None = None
    truncation: bool | None = None
    return_tensors: bool | None = None
    clean_up_tokenization_spaces: bool | None = None
    stop_sequence: Annotated[str, Field(min_length=1)] | None = None


class TranslationParameters(RewritingParameters):
    """What the translation pipeline takes.

    Attributes:
        src_lang: The language of the text, by the code that the model has for it; of no account to
            a model that knows one pair of languages.
        tgt_lang: The language to translate into. Both may stand in the task's name, as in
            `translation_en_to_fr`.
    """

    src_lang: str | None = None
    tgt_lang: str | None = None


class Text2TextGeneration(Job):
    """Have a text rewritten by a model that was trained for it."""

    task: ClassVar[str] = "text2text-generation"
    streams: ClassVar[bool] = True
    inputs: str | Annotated[list[str], Field(min_length=1)] = Field(repr=False)
    parameters: RewritingParameters = Field(default_factory=RewritingParameters.unset, repr=False)


class Summarization(Job):
    """Shorten texts to what matters in them."""

    task: ClassVar[str] = "summarization"
    streams: ClassVar[bool] = True
    inputs: str | Annotated[list[str], Field(min_length=1)] = Field(repr=False)
    parameters: RewritingParameters = Field(default_factory=RewritingParameters.unset, repr=False)


class Translation(Job):
    """Translate texts into another language."""

    task: ClassVar[str] = "translation"
    streams: ClassVar[bool] = True
    inputs: str | Annotated[list[str], Field(min_length=1)] = Field(repr=False)
    parameters: TranslationParameters = Field(
        default_factory=TranslationParameters.unset, repr=False
    )


class RewrittenText(TypedDict, total=False):
    """A text that was written for another; its tokens with `return_tensors`."""

    generated_text: str
    generated_token_ids: list[int]


class SummaryText(TypedDict, total=False):
    """A summary; its tokens with `return_tensors`."""

    summary_text: str
    summary_token_ids: list[int]


class TranslatedText(TypedDict, total=False):
    """A translation; its tokens with `return_tensors`."""

    translation_text: str
    translation_token_ids: list[int]


def _texts(output: Any) -> Any:
    """Give the texts of an output: one for one, a list for several."""
    if isinstance(output, dict):
        [text] = (value for name, value in output.items() if name.endswith("_text"))
        return text
    texts = [_texts(each) for each in output]
    return texts[0] if len(texts) == 1 else texts


TASKS = (
    TaskSpec(
        job=Summarization,
        summary="shorten texts to what matters in them",
        inputs="a string or a list of strings",
        output=list[SummaryText],
        forward_parameters=GENERATION | _LENGTHS,
        left_out=_LEFT_OUT,
        hand_over=_texts,
        example={
            "inputs": "The library in the old harbour was closed for two years. On Monday it "
            "opened again, with twice the number of books, a café, and rooms for school classes.",
            "parameters": {"min_new_tokens": 5, "max_new_tokens": 30},
        },
    ),
    TaskSpec(
        job=Translation,
        summary="translate texts into another language",
        inputs="a string or a list of strings",
        output=list[TranslatedText],
        forward_parameters=GENERATION | _LENGTHS | {"tgt_lang"},
        left_out=_LEFT_OUT,
        hand_over=_texts,
        example={
            "inputs": "The house is small, and the garden is green.",
            "parameters": {"src_lang": "eng_Latn", "tgt_lang": "deu_Latn", "max_new_tokens": 40},
        },
    ),
    TaskSpec(
        job=Text2TextGeneration,
        summary="have a text rewritten by a model that was trained for it",
        inputs="a string or a list of strings",
        output=list[RewrittenText],
        forward_parameters=GENERATION | _LENGTHS,
        left_out=_LEFT_OUT,
        hand_over=_texts,
        example={
            "inputs": "question: Where does Alice live? context: Alice lives in Paris.",
            "parameters": {"max_new_tokens": 20},
        },
    ),
)
