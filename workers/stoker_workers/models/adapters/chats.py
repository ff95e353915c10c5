"""Chats among a job's inputs: told from texts, and as transformers' pipelines take them."""

from collections.abc import Sequence
from typing import Any

from transformers.utils.chat_template_utils import Chat


def is_chat(inputs: Any) -> bool:
    """Tell a chat, which is a list of messages, from a list of several inputs."""
    return isinstance(inputs, list) and hasattr(inputs[0], "role")


def texts_and_chats(inputs: Any) -> list[Any]:
    """List the values of a task that takes texts and chats, one of them or several."""
    if not isinstance(inputs, list):
        return [inputs]
    if is_chat(inputs):
        return [_chat(inputs)]
    return [one if isinstance(one, str) else _chat(one) for one in inputs]


def _chat(messages: Sequence[Any]) -> Any:
    return Chat([message.model_dump() for message in messages])
