"""The task of a caller with something to decide: typed questions about a state of affairs."""

from typing import Annotated, Any, ClassVar, Literal, TypedDict

from pydantic import Field

from stoker_tasks.job import Job
from stoker_tasks.media import MediaInput
from stoker_tasks.spec import TaskSpec
from stoker_tasks.strict import Strict

Content = str | dict[str, Any] | list[Any]


class NoulQuestion(Strict):
    """A question to be answered by true or false, with what each of them means."""

    type: Literal["noul"]
    instructions: Content | None = Field(default=None, repr=False)
    criteria: dict[Literal["true", "false"], Content | None] | None = Field(
        default=None, repr=False
    )


class ChoiceQuestion(Strict):
    """A question to be answered by one of several options, with what each of them means."""

    type: Literal["choice"]
    instructions: Content | None = Field(default=None, repr=False)
    criteria: dict[str, Content | None] = Field(min_length=1, repr=False)


class ScoreQuestion(Strict):
    """A question to be answered by a level, lowest first."""

    type: Literal["score"]
    instructions: Content | None = Field(default=None, repr=False)
    criteria: list[Content] = Field(min_length=1, repr=False)


Question = Annotated[NoulQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


class DecisionRequest(Strict):
    """What the case is, and what is asked about it.

    Attributes:
        state: The case, in words or as JSON.
        questions: Each question by a name of the caller's choice.
        assets: Images by a placeholder that stands for them in the state or in a question; for
            models that see.
    """

    state: Content = Field(repr=False)
    questions: dict[str, Question] = Field(min_length=1, repr=False)
    assets: dict[str, MediaInput] | None = Field(default=None, repr=False)


class Decision(Job):
    """Answer typed questions about a case, with a probability for each option."""

    task: ClassVar[str] = "decision"
    inputs: DecisionRequest | Annotated[list[DecisionRequest], Field(min_length=1)] = Field(
        repr=False
    )


class NoulAnswer(TypedDict):
    """How likely it is true."""

    type: Literal["noul"]
    noul: float


class ChoiceAnswer(TypedDict):
    """The best option, and how far it stands out."""

    type: Literal["choice"]
    choice: str
    confidence: float
    probabilities: dict[str, float]


class ScoreAnswer(TypedDict):
    """The mean level, and how close to it the levels gather."""

    type: Literal["score"]
    score: float
    legend: dict[str, Any]
    confidence: float
    probabilities: dict[str, float]


TASKS = (
    TaskSpec(
        job=Decision,
        summary="answer typed questions about a case, with a probability for each option",
        inputs='{"state", "questions"}, or a list of these; a question is {"type", "instructions", '
        '"criteria"}, of type noul (true or false), choice (criteria by option) or score (a list '
        'of levels); "assets" has images by placeholder',
        output=dict[str, NoulAnswer | ChoiceAnswer | ScoreAnswer],
        example={
            "inputs": {
                "state": "I was charged twice for my order and want a refund.",
                "questions": {
                    "refund": {"type": "noul", "instructions": "Is a refund requested?"},
                    "tone": {
                        "type": "choice",
                        "instructions": "What is the tone?",
                        "criteria": {"calm": "a polite message", "angry": None},
                    },
                },
            },
        },
    ),
)
