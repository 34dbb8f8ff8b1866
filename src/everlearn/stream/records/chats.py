"""Records that are chats without saying so: ShareGPT, instructions as of Alpaca, prompts with completions."""

from __future__ import annotations

from collections.abc import Collection

from everlearn.stream.records.record_error import RecordError
from everlearn.types import Json

__all__ = ["CHAT_FIELDS", "holds_chat", "take_chat"]

Record = dict[str, Json]

_CONVERSATIONS = "conversations"
_INSTRUCTION, _INPUT, _OUTPUT = "instruction", "input", "output"
_PROMPT, _COMPLETIONS = "prompt", ("completion", "response")
CHAT_FIELDS = frozenset({_CONVERSATIONS, _INSTRUCTION, _INPUT, _OUTPUT, _PROMPT, *_COMPLETIONS, "system"})
"""The fields that chats of these shapes are written in."""
_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "model", "bot"), "assistant"),
    "system": "system",
    **dict.fromkeys(("tool", "function", "observation"), "tool"),
}


def holds_chat(names: Collection[str]) -> bool:
    """Whether fields of these names may be a chat."""
    return (
        _CONVERSATIONS in names
        or (_INSTRUCTION in names and _OUTPUT in names)
        or (_PROMPT in names and any(each in names for each in _COMPLETIONS))
    )


def take_chat(record: Record) -> list[Json] | None:
    """Take the messages (``role``, ``content``) of a chat out of a record; None: it has none.

    >>> take_chat({"instruction": "Add.", "input": "1 and 2", "output": "3"})
    [{'role': 'user', 'content': 'Add.\\n\\n1 and 2'}, {'role': 'assistant', 'content': '3'}]

    Raises:
        RecordError: It is malformed.
    """
    if record.get(_CONVERSATIONS) is not None:
        messages = _turns(record.pop(_CONVERSATIONS))
    elif record.get(_INSTRUCTION) is not None and record.get(_OUTPUT) is not None:
        question, more = _text(record, _INSTRUCTION), record.pop(_INPUT, None)
        if more is not None and not isinstance(more, str):
            raise RecordError(f"field {_INPUT!r} must be a string, not {type(more).__name__}")
        asked = f"{question}\n\n{more}" if more and not more.isspace() else question
        messages = [*_message("user", asked), *_message("assistant", _text(record, _OUTPUT))]
    elif record.get(_PROMPT) is not None:
        answer = next((each for each in _COMPLETIONS if record.get(each) is not None), None)
        if answer is None:
            return None
        messages = [*_side(record, _PROMPT, "user"), *_side(record, answer, "assistant")]
    else:
        return None
    if isinstance(record.get("system"), str):
        system = str(record.pop("system"))
        if system and not system.isspace():
            messages = [*_message("system", system), *messages]
    return messages


def _turns(turns: Json) -> list[Json]:
    if not isinstance(turns, list) or not turns:
        raise RecordError(f"field {_CONVERSATIONS!r} must be a list of turns with 'from' and 'value'")
    messages: list[Json] = []
    for number, turn in enumerate(turns, start=1):
        place = f"field {_CONVERSATIONS!r}: turn {number}"
        if not isinstance(turn, dict):
            raise RecordError(f"{place} must be an object with 'from' and 'value', not {type(turn).__name__}")
        if "role" in turn:
            messages.append(turn)
            continue
        speaker, value = turn.get("from"), turn.get("value")
        role = _ROLES.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            raise RecordError(f"{place}: 'from' must be one of {', '.join(_ROLES)}, not {speaker!r:.60}")
        if not isinstance(value, str):
            raise RecordError(f"{place}: 'value' must be a string")
        messages += _message(role, value)
    return messages


def _side(record: Record, name: str, role: str) -> list[Json]:
    if isinstance(record[name], list):
        given: Json = record.pop(name)
        return list(given)
    return _message(role, _text(record, name))


def _message(role: str, content: str) -> list[Json]:
    return [{"role": role, "content": content}]


def _text(record: Record, name: str) -> str:
    text = record.pop(name)
    if not isinstance(text, str):
        raise RecordError(f"field {name!r} must be a string, not {type(text).__name__}")
    if not text or text.isspace():
        raise RecordError(f"field {name!r} is blank")
    return text
