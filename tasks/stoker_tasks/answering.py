"""The tasks of a caller with a question about a text, a table or a document."""

from typing import Annotated, Any, ClassVar, Literal, Self, TypedDict

from pydantic import Field, model_validator

from stoker_tasks.job import Job, Parameters
from stoker_tasks.media import FETCHED, MediaInput
from stoker_tasks.spec import PADDED, TaskSpec
from stoker_tasks.strict import Strict

Words = Annotated[str, Field(min_length=1)]
PositiveInt = Annotated[int, Field(ge=1)]
# A share of the page's width or height, in thousandths.
Thousandths = Annotated[int, Field(ge=0, le=1000)]
# Left, top, right, bottom.
Box = tuple[Thousandths, Thousandths, Thousandths, Thousandths]
Columns = Annotated[dict[str, list[str]], Field(min_length=1)]
Rows = Annotated[list[dict[str, str]], Field(min_length=1)]


class SpanParameters(Parameters):
    """What the pipelines take whose answers are passages of what they read.

    Attributes:
        top_k: How many answers to return, best first; 1 if it is not given.
        max_answer_len: The most tokens of an answer; 15 if it is not given.
        doc_stride: By how many tokens the chunks overlap in which something long is read.
        max_seq_len: The most tokens of a chunk, the question included.
        handle_impossible_answer: Whether an answer may be empty.
    """

    top_k: PositiveInt | None = None
    max_answer_len: PositiveInt | None = None
    doc_stride: Annotated[int, Field(ge=0)] | None = None
    max_seq_len: PositiveInt | None = None
    handle_impossible_answer: bool | None = None


class QuestionAnsweringParameters(SpanParameters):
    """What the question-answering pipeline takes.

    Attributes:
        align_to_words: Widen an answer to whole words; true if it is not given.
    """

    align_to_words: bool | None = None


class TextQuestion(Strict):
    """A question, and the text in which its answer is sought."""

    question: Words = Field(repr=False)
    context: Words = Field(repr=False)


class QuestionAnswering(Job):
    """Find the passage of a text that answers a question."""

    task: ClassVar[str] = "question-answering"
    inputs: TextQuestion | Annotated[list[TextQuestion], Field(min_length=1)] = Field(repr=False)
    parameters: QuestionAnsweringParameters = Field(
        default_factory=QuestionAnsweringParameters.unset, repr=False
    )


class TextAnswer(TypedDict):
    """A passage of the text, by its characters, and how sure the model is of it."""

    score: float
    start: int
    end: int
    answer: str


class TableQuestion(Strict):
    """A table, by columns or by rows, and one question about it or several."""

    table: Columns | Rows = Field(repr=False)
    query: Words | Annotated[list[Words], Field(min_length=1)] = Field(repr=False)

    @model_validator(mode="after")
    def _has_no_holes(self) -> Self:
        lines = self.table if isinstance(self.table, list) else list(self.table.values())
        shapes = {len(each) if isinstance(each, list) else frozenset(each) for each in lines}
        if len(shapes) != 1 or not shapes.pop():
            raise ValueError("a table has a cell for each of its rows and columns, one at least")
        return self


class TableQuestionAnsweringParameters(Parameters):
    """What the table-question-answering pipeline takes.

    Attributes:
        sequential: Read the questions of one table one after the other, each with the answer to the
            one before, for models that hold a conversation. Such a job runs alone.
        truncation: Leave out rows of a table that is larger than the model can read; refused as
            `invalid_input` otherwise.
    """

    sequential: bool | None = None
    truncation: bool | Literal["drop_rows_to_fit", "do_not_truncate"] | None = None


class TableQuestionAnswering(Job):
    """Answer a question about a table: by cells, and by what is to be done with them."""

    task: ClassVar[str] = "table-question-answering"
    inputs: TableQuestion | Annotated[list[TableQuestion], Field(min_length=1)] = Field(repr=False)
    parameters: TableQuestionAnsweringParameters = Field(
        default_factory=TableQuestionAnsweringParameters.unset, repr=False
    )


class _TableAnswer(TypedDict):
    answer: str
    coordinates: list[list[int]]
    cells: list[str]


class TableAnswer(_TableAnswer, total=False):
    """The cells that answer a question, where they are, and what is to be done with them."""

    aggregator: str


class DocumentQuestion(Strict):
    """A question about a page: its picture, its words with their places, or both."""

    question: Words = Field(repr=False)
    image: MediaInput | None = Field(default=None, repr=False)
    word_boxes: list[tuple[str, Box]] | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _shows_a_page(self) -> Self:
        if self.image is None and self.word_boxes is None:
            raise ValueError("give image, word_boxes, or both")
        for _, (left, top, right, bottom) in self.word_boxes or ():
            if left > right or top > bottom:
                raise ValueError("a word's box is [left, top, right, bottom]")
        return self


class DocumentQuestionAnsweringParameters(SpanParameters):
    """What the document-question-answering pipeline takes.

    Attributes:
        lang: The language that tesseract reads the page in, such as `eng` or `deu+fra`.
        tesseract_config: Further settings of tesseract: `--psm`, `--oem` and `--dpi`.
    """

    lang: Annotated[str, Field(pattern=r"^\w+(\+\w+)*$", max_length=64)] | None = None
    tesseract_config: (
        Annotated[str, Field(pattern=r"^\s*(--(psm|oem|dpi)\s+\d+\s*)*$", max_length=64)] | None
    ) = None


class DocumentQuestionAnswering(Job):
    """Answer a question about a page: an invoice, a form, a letter."""

    task: ClassVar[str] = "document-question-answering"
    inputs: DocumentQuestion | Annotated[list[DocumentQuestion], Field(min_length=1)] = Field(
        repr=False
    )
    parameters: DocumentQuestionAnsweringParameters = Field(
        default_factory=DocumentQuestionAnsweringParameters.unset, repr=False
    )


class DocumentAnswer(TypedDict, total=False):
    """Some words of the page, by index; of a model that reads its picture, the answer only."""

    score: float
    answer: str
    start: int
    end: int


def _answers(output: Any) -> Any:
    """Give the answers of an output: one for one, a list for several."""
    if isinstance(output, dict):
        return output["answer"]
    answers = [_answers(each) for each in output]
    return answers[0] if len(answers) == 1 else answers


TASKS = (
    TaskSpec(
        job=QuestionAnswering,
        summary="find the passage of a text that answers a question",
        inputs='{"question", "context"}, neither of them empty, or a list of these',
        output=TextAnswer | list[TextAnswer],
        left_out={"padding": PADDED},
        hand_over=_answers,
        example={
            "inputs": {
                "question": "Where does Alice live?",
                "context": "Alice and Bob met in London. Alice lives in Paris now.",
            },
            "parameters": {"max_answer_len": 5},
        },
    ),
    TaskSpec(
        job=TableQuestionAnswering,
        summary="answer a question about a table",
        inputs='{"table", "query"}, or a list of these; a table has lists of strings by column, or '
        "is a list of rows with a string by column; a query is a string or a list of strings",
        output=TableAnswer | list[TableAnswer],
        forward_parameters=frozenset({"sequential"}),
        left_out={"padding": PADDED},
        hand_over=_answers,
        needs=("pandas",),
        example={
            "inputs": {
                "table": {"name": ["Alice", "Bob", "Clara"], "age": ["36", "42", "57"]},
                "query": "How old is Bob?",
            },
        },
    ),
    TaskSpec(
        job=DocumentQuestionAnswering,
        summary="answer a question about a page: an invoice, a form, a letter",
        inputs='{"question", "image", "word_boxes"} with an image (bytes, {"base64"}, {"url"} '
        'or {"uri"}), '
        "[[word, [left, top, right, bottom]], …] in thousandths of the page, or both; or a list of "
        "these",
        output=list[DocumentAnswer],
        left_out={
            **FETCHED,
            "max_question_len": "transformers' pipeline takes it and cuts no question by it",
            "padding": PADDED,
        },
        hand_over=_answers,
        needs=("PIL",),
        example={
            "inputs": {
                "question": "What is the total?",
                "word_boxes": [
                    ["Invoice", [60, 40, 210, 70]],
                    ["2041", [230, 40, 300, 70]],
                    ["Total:", [60, 800, 150, 830]],
                    ["350", [170, 800, 220, 830]],
                    ["dollars", [230, 800, 330, 830]],
                ],
            },
        },
    ),
)
