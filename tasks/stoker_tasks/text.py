"""The tasks of a caller with text in hand."""

from typing import Annotated, Any, ClassVar, Literal, TypedDict

from pydantic import Field

from stoker_tasks.job import Job, Parameters
from stoker_tasks.spec import TENSORS, TaskSpec
from stoker_tasks.strict import Strict

Many = Field(min_length=1)
PositiveInt = Annotated[int, Field(ge=1)]
FunctionToApply = Literal["sigmoid", "softmax", "none"]
# What else a format string could name would be for Python, not for a model.
Template = Annotated[
    str, Field(pattern=r"^[^{}]*\{\}[^{}]*$", json_schema_extra={"words": "with one {} in it"})
]
Labels = Annotated[
    list[Annotated[str, Field(pattern=r"\S")]],
    Field(min_length=1, json_schema_extra={"words": "(one label at least, and none blank)"}),
]
LabelsByComma = Annotated[
    str,
    Field(pattern=r"[^\s,]", json_schema_extra={"words": "of labels with commas between them"}),
]


class LabelScore(TypedDict):
    """One label and how sure the model is of it."""

    label: str
    score: float


class TokenizerParameters(Parameters):
    """Settings of the tokenizer's call.

    Attributes:
        truncation: Cut a text that is longer than the model can read; refused as
            `invalid_input` otherwise.
        max_length: Cut to this many tokens rather than to the model's own limit.
    """

    truncation: bool | None = None
    max_length: PositiveInt | None = None


class TextPair(Strict):
    """Two texts that a model reads together, such as a question and an answer."""

    text: str = Field(repr=False)
    text_pair: str = Field(repr=False)


class TextClassificationParameters(TokenizerParameters):
    """What the text-classification pipeline takes.

    Attributes:
        top_k: How many labels to return, best first; None for all. If it is not given, the best.
        function_to_apply: Turns the model's outputs into scores; by default the one that fits
            the model's kind.
    """

    top_k: PositiveInt | None = None
    function_to_apply: FunctionToApply | None = None


class TextClassification(Job):
    """Sort texts, or pairs of texts, into a model's classes."""

    task: ClassVar[str] = "text-classification"
    inputs: str | TextPair | Annotated[list[str | TextPair], Many] = Field(repr=False)
    parameters: TextClassificationParameters = Field(
        default_factory=TextClassificationParameters.unset, repr=False
    )


class TokenClassificationParameters(Parameters):
    """What the token-classification pipeline takes.

    Attributes:
        aggregation_strategy: How tokens are grouped into entities.
        ignore_labels: Labels to leave out; `["O"]` if it is not given.
        stride: Split a text that is too long into chunks that overlap by this many tokens.
        is_split_into_words: The inputs are lists of words.
        delimiter: What stands between the words; a space if it is not given.
        truncation: Cut a text that is longer than the model can read; refused as
            `invalid_input` otherwise.
    """

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = None
    ignore_labels: list[str] | None = None
    stride: Annotated[int, Field(ge=0)] | None = None
    is_split_into_words: bool | None = None
    delimiter: str | None = None
    truncation: bool | None = None


class TokenClassification(Job):
    """Label each token of a text: names, places, parts of speech."""

    task: ClassVar[str] = "token-classification"
    inputs: str | Annotated[list[str] | list[list[str]], Many] = Field(repr=False)
    parameters: TokenClassificationParameters = Field(
        default_factory=TokenClassificationParameters.unset, repr=False
    )


class FillMaskParameters(Parameters):
    """What the fill-mask pipeline takes.

    Attributes:
        top_k: How many fillings to return, best first; 5 if it is not given.
        targets: Choose among these words only.
        tokenizer_kwargs: Settings of the tokenizer's call.
    """

    top_k: PositiveInt | None = None
    targets: str | Annotated[list[str], Many] | None = None
    tokenizer_kwargs: TokenizerParameters | None = None


class FillMask(Job):
    """Fill the masked words of a text."""

    task: ClassVar[str] = "fill-mask"
    inputs: str | Annotated[list[str], Many] = Field(repr=False)
    parameters: FillMaskParameters = Field(default_factory=FillMaskParameters.unset, repr=False)


class MaskFilling(TypedDict):
    """One way to fill a mask."""

    score: float
    token: int
    token_str: str
    sequence: str


class FeatureExtractionParameters(Parameters):
    """What the feature-extraction pipeline takes, and two settings of Stoker's own.

    Attributes:
        truncation: Cut a text that is longer than the model can read; refused as
            `invalid_input` otherwise.
        tokenize_kwargs: Further settings of the tokenizer's call.
        pooling: Stoker's own. `mean` of the token vectors or the `cls` (first) token's vector, one
            per text; `none`, the pipeline's behaviour, gives all token vectors.
        normalize: Stoker's own. Scale each vector to length 1 (L2).
    """

    truncation: bool | None = None
    tokenize_kwargs: TokenizerParameters | None = None
    pooling: Literal["mean", "cls", "none"] | None = None
    normalize: bool | None = None


class FeatureExtraction(Job):
    """Turn texts into vectors."""

    task: ClassVar[str] = "feature-extraction"
    inputs: str | Annotated[list[str], Many] = Field(repr=False)
    parameters: FeatureExtractionParameters = Field(
        default_factory=FeatureExtractionParameters.unset, repr=False
    )


class ZeroShotClassificationParameters(Parameters):
    """What the zero-shot-classification pipeline takes.

    Attributes:
        candidate_labels: The classes to choose from: a list, or a string with commas.
        hypothesis_template: The sentence in which `{}` stands for a label.
        multi_label: Whether several labels may be true, each scored by itself.
        truncation: Cut a text that is longer than the model can read; refused as
            `invalid_input` otherwise.
    """

    candidate_labels: LabelsByComma | Labels
    hypothesis_template: Template | None = None
    multi_label: bool | None = None
    truncation: bool | None = None


class ZeroShotClassification(Job):
    """Sort texts into classes that are named with the job."""

    task: ClassVar[str] = "zero-shot-classification"
    inputs: str | Annotated[list[str], Many] = Field(repr=False)
    parameters: ZeroShotClassificationParameters = Field(repr=False)


class LabelRanking(TypedDict):
    """A text and its labels, best first."""

    sequence: str
    labels: list[str]
    scores: list[float]


def _best_sequence(output: Any) -> Any:
    if isinstance(output[0], dict):
        return output[0]["sequence"]
    if isinstance(output[0][0], dict):
        return [_best_sequence(one) for one in output]
    raise ValueError("an input with several masks has several lists of fillings, not one text")


TASKS = (
    TaskSpec(
        job=TextClassification,
        summary="sort texts into a model's classes",
        inputs='a string, {"text", "text_pair"}, or a list of these',
        output=list[LabelScore],
        aliases=("sentiment-analysis",),
        example={"inputs": "I like you. I love you.", "parameters": {"top_k": 2}},
    ),
    TaskSpec(
        job=TokenClassification,
        summary="label each token of a text",
        inputs="a string or a list of strings; with is_split_into_words a list of words or of such "
        "lists",
        output=list[dict[str, Any]],
        aliases=("ner",),
        left_out={"offset_mapping": "the model's tokenizer gives it"},
        example={
            "inputs": "My name is Sarah and I live in London.",
            "parameters": {"aggregation_strategy": "simple"},
        },
    ),
    TaskSpec(
        job=FillMask,
        summary="fill the masked words of a text",
        inputs="a string that holds the model's mask token, or a list of these",
        output=list[MaskFilling],
        hand_over=_best_sequence,
        example={"inputs": "Paris is the [MASK] of France.", "parameters": {"top_k": 3}},
    ),
    TaskSpec(
        job=FeatureExtraction,
        summary="turn texts into vectors",
        inputs="a string or a list of strings",
        output=list[list[list[float]]] | list[float],
        aliases=("embeddings", "sentence-similarity"),
        left_out={"return_tensors": TENSORS},
        example={
            "inputs": "A sentence to compare with others.",
            "parameters": {"pooling": "mean", "normalize": True},
        },
    ),
    TaskSpec(
        job=ZeroShotClassification,
        summary="sort texts into classes that are named with the job",
        inputs="a string or a list of strings",
        output=LabelRanking,
        example={
            "inputs": "I have a problem with my phone that must be resolved at once.",
            "parameters": {"candidate_labels": ["urgent", "not urgent"]},
        },
    ),
)
