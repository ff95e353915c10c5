"""The task of a caller who wants a text continued, or a chat answered."""

from typing import Annotated, Any, ClassVar, Literal, TypedDict

from pydantic import Field

from stoker_tasks.chat import BesideChat
from stoker_tasks.generation import GENERATION, GenerationParameters
from stoker_tasks.job import Job
from stoker_tasks.spec import PADDED, TaskSpec
from stoker_tasks.strict import Strict
from stoker_tasks.text import Many, PositiveInt, TokenizerParameters


class ChatMessage(Strict, extra="allow"):
    """One message of a chat; a model's template may read more keys than these two."""

    role: str
    content: str = Field(repr=False)

    def __repr__(self) -> str:
        # The extra keys of a chat message hold the caller's words too.
        return f"ChatMessage(role={self.role!r})"


class TextGenerationParameters(GenerationParameters):
    """What the text-generation pipeline takes.

    Attributes:
        return_full_text: Whether the prompt is part of the output; true if it is not given.
        clean_up_tokenization_spaces: Remove the spaces that some tokenizers leave.
        skip_special_tokens: Leave special tokens out of the text; true if it is not given.
        stop_sequence: Strings that end the output once they are generated.
        continue_final_message: Continue the last message of a chat rather than answer it.
        add_special_tokens: Let the tokenizer add its special tokens to a prompt.
        truncation: Cut a prompt that is longer than the model can read; refused as
            `invalid_input` otherwise.
        prefix: Text to put before the prompt.
        max_length: The most tokens of the prompt and the output together, unless `max_new_tokens`
            is given. A text, but no chat, is cut to it.
        handle_long_generation: `hole` cuts the beginning off a prompt that leaves too little room
            for the new tokens.
        tokenizer_encode_kwargs: Settings of the tokenizer's call, or of the chat template's; they
            win over `truncation` and `max_length`.
        tools: What an answer to a chat may call: JSON schemas of functions, for the model's chat
            template.
        documents: What an answer to a chat is to be drawn from, such as objects of `title` and
            `text`, for the model's chat template.
    """

    return_full_text: bool | None = None
    clean_up_tokenization_spaces: bool | None = None
    skip_special_tokens: bool | None = None
    stop_sequence: str | Annotated[list[str], Many] | None = None
    continue_final_message: bool | None = None
    add_special_tokens: bool | None = None
    truncation: bool | None = None
    prefix: str | None = None
    max_length: PositiveInt | None = None
    handle_long_generation: Literal["hole"] | None = None
    tokenizer_encode_kwargs: TokenizerParameters | None = None
    tools: BesideChat | None = None
    documents: BesideChat | None = None


Chat = Annotated[list[ChatMessage], Many]


class TextGeneration(Job):
    """Continue a text, or answer a chat."""

    task: ClassVar[str] = "text-generation"
    streams: ClassVar[bool] = True
    inputs: str | Chat | Annotated[list[str] | list[Chat], Many] = Field(repr=False)
    parameters: TextGenerationParameters = Field(
        default_factory=TextGenerationParameters.unset, repr=False
    )


class GeneratedText(TypedDict):
    """One generated output: a text, or a chat with the answer as its last message."""

    generated_text: str | list[dict[str, Any]]


def _generated_text(output: Any) -> Any:
    first = output[0]
    if isinstance(first, list):
        return [_generated_text(one) for one in output]
    text = first["generated_text"]
    return text if isinstance(text, str) else text[-1]["content"]


TASKS = (
    TaskSpec(
        job=TextGeneration,
        summary="continue a text, or answer a chat",
        inputs='a string, a chat (a list of {"role", "content"}), or a list of either',
        output=list[GeneratedText],
        aliases=("conversational",),
        forward_parameters=GENERATION | {"stop_sequence", "prefix", "max_length"},
        left_out={
            "padding": PADDED,
            "return_tensors": "a job's output is text; numbers of tokens say nothing without the "
            "model's tokenizer",
            "return_text": "the pipeline does nothing with it",
            "return_type": "return_full_text says the same",
            "stop_strings": "stop_sequence does the same; with this name the pipeline gives "
            "generate() no tokenizer, and fails",
        },
        hand_over=_generated_text,
        example={
            "inputs": [{"role": "user", "content": "What is the capital of France?"}],
            "parameters": {"max_new_tokens": 16, "do_sample": False},
        },
    ),
)
