"""Where in a rendered chat the messages' contents lie, for any chat template.

A template may cut white space, add a system message, or write a turn differently when others follow. So each
content is found by rendering the chat once more with that content replaced by a marker: what lies before and
behind the marker is the template's (Jinja templates as ``tokenizer.apply_chat_template`` renders them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everlearn.errors import InputError

__all__ = [
    "ChatRegion",
    "Messages",
    "Tools",
    "check_calls",
    "check_messages",
    "check_tools",
    "content_region",
    "render_chat",
    "turn_stop",
]

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]

_MARKER = "marker0of0a0content"


@dataclass(frozen=True, slots=True)
class ChatRegion:
    """Characters of a rendered chat.

    Attributes:
        start: First character.
        stop: The one behind the last.
    """

    start: int
    stop: int


def check_messages(messages: object, *, answered: bool = True) -> Messages:
    """Check that messages are what a chat template takes.

    Args:
        messages: What is to be checked.
        answered: There must be an assistant's turn.

    Raises:
        InputError: They are no list of objects with texts "role" and "content", or have no assistant turn.
    """
    if not isinstance(messages, (list, tuple)):
        raise InputError(
            f"messages: expected a list of objects with 'role' and 'content', got {messages!r:.80}"
        )
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise InputError(f"messages[{number}]: expected an object, got {message!r:.80}")
        for key in ("role", "content"):
            if key not in message:
                raise InputError(f"messages[{number}]: there is no {key!r}")
            if not isinstance(message[key], str):
                raise InputError(f"messages[{number}]: {key!r} is no text but {message[key]!r:.80}")
    if answered and all(message["role"] != "assistant" for message in messages):
        raise InputError("messages: there is no turn of the role 'assistant', so nothing to learn from")
    if not messages:
        raise InputError("messages: the list is empty")
    return messages


def check_tools(tools: object) -> Tools | None:
    """Check the tools of a chat; None where there are none.

    Raises:
        InputError: They are no list of objects.
    """
    if tools is None or tools == []:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise InputError(f"tools: expected a list of objects, got {tools!r:.80}")
    return tools


def render_chat(
    tokenizer: Any, messages: Messages, *, for_answer: bool = False, tools: Tools | None = None
) -> str:
    """The text of a chat.

    Args:
        tokenizer: Has a chat template.
        messages: Of the form that ``check_messages`` checks.
        for_answer: Let it end where the assistant's answer begins.
        tools: That the assistant may call, as the template takes them.

    Raises:
        InputError: There is no chat template, or it does not take these messages.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            "the model's tokenizer has no chat template, so it cannot read 'messages'; give a model that was "
            "made for chats, or the texts as documents"
        )
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=for_answer,
                **({} if tools is None else {"tools": [dict(tool) for tool in tools]}),
            )
        )
    except Exception as error:  # templates raise what they like, by Jinja or through it
        raise InputError(f"messages: the model's chat template does not take them: {error}") from error


def check_calls(tokenizer: Any, messages: Messages, rendered: str, *, tools: Tools | None = None) -> None:
    """Make sure that the template shows calls: one that it leaves out would be learned as silence.

    Raises:
        InputError: It does not; names the message.
    """
    for number, message in enumerate(messages):
        if not message.get("tool_calls"):
            continue
        without = {key: value for key, value in message.items() if key != "tool_calls"}
        changed = [*messages[:number], without, *messages[number + 1 :]]
        if render_chat(tokenizer, changed, tools=tools) == rendered:
            raise InputError(
                f"messages[{number}]: the model's chat template does not show 'tool_calls'; write the call "
                "into 'content', or leave such chats out"
            )


def content_region(
    tokenizer: Any,
    messages: Messages,
    number: int,
    rendered: str,
    *,
    for_answer: bool = False,
    tools: Tools | None = None,
) -> ChatRegion:
    """Where the content of a message lies, as far as the template shows it.

    Args:
        tokenizer: Has a chat template.
        messages: The whole chat.
        number: Which message.
        rendered: The whole chat as ``render_chat`` gives it.
        for_answer: As of ``render_chat``.
        tools: As of ``render_chat``.

    Raises:
        InputError: The template does not show that message's content.
    """
    marker = _MARKER
    while marker in rendered:
        marker += "0"
    changed = [*messages[:number], {**messages[number], "content": marker}, *messages[number + 1 :]]
    shown = render_chat(tokenizer, changed, for_answer=for_answer, tools=tools)
    before, found, behind = shown.partition(marker)
    if not found:
        role = messages[number]["role"]
        raise InputError(f"messages[{number}]: the model's chat template does not show the role {role!r}")
    start = _shared_length(rendered, before)
    stop = len(rendered) - _shared_length(rendered[start:][::-1], behind[::-1])
    return ChatRegion(start, stop)


def turn_stop(
    tokenizer: Any,
    messages: Messages,
    number: int,
    rendered: str,
    content: ChatRegion,
    *,
    tools: Tools | None = None,
) -> int:
    """The character at which a message's turn ends: what follows belongs to the next one.

    Args:
        tokenizer: Has a chat template.
        messages: The whole chat.
        number: Which message.
        rendered: The whole chat as ``render_chat`` gives it.
        content: Where the message's content lies in it.
        tools: As of ``render_chat``.
    """
    if number + 1 == len(messages):
        return len(rendered)
    until = messages[: number + 1]
    try:
        alone = render_chat(tokenizer, until, tools=tools)
    except InputError:  # a chat that ends there may be one that the template does not take
        return content_region(tokenizer, messages, number + 1, rendered, tools=tools).start
    if not alone.startswith(rendered[: content.stop]):
        # What precedes the content of a last turn is written otherwise, by templates of reasoning models.
        own = content_region(tokenizer, until, number, alone, tools=tools)
        alone = rendered[: content.stop] + alone[own.stop :]
    return _shared_length(rendered, alone)


def _shared_length(text: str, other: str) -> int:
    """Characters that two texts begin with alike."""
    if text.startswith(other):
        return len(other)
    low, high = 0, min(len(text), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if text.startswith(other[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low
