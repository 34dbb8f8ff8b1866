"""Answers as OpenAI's protocol streams them: server-sent events, the last of which is ``[DONE]``."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from everlearn.service.problems import Problem
from everlearn.service.routes.openai_answers import Answer, Answering
from everlearn.service.routes.openai_errors import error_document
from everlearn.service.routes.openai_logprobs import LogprobsOf, usage_of

__all__ = ["streamed"]

_DONE = b"data: [DONE]\n\n"


async def streamed(
    model: str,
    id_: str | None,
    answers: Sequence[Answering],
    *,
    is_chat: bool,
    with_usage: bool,
    logprobs_of: LogprobsOf,
) -> AsyncGenerator[bytes]:
    """Events that tell answers piece by piece, one answer after the other.

    Args:
        model: As it was asked for.
        id_: Of all events; None: a new one.
        answers: The answers.
        is_chat: Whether they are messages of a chat.
        with_usage: Whether tokens are told at the end.
        logprobs_of: What is told of a label.

    Raises:
        Problem: Something is wrong, before there was any event; later an event tells it.
    """
    chunk: dict[str, Any] = {
        "id": id_ or f"{'chatcmpl' if is_chat else 'cmpl'}-{secrets.token_hex(12)}",
        "object": "chat.completion.chunk" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": None,
        **({"usage": None} if with_usage else {}),
    }
    ends, is_begun = list[Answer](), False
    for index, answer in enumerate(answers):
        texts = list[str]()
        try:
            async with aclosing(answer.pieces) as pieces:
                async for piece in pieces:
                    if is_chat and not texts:
                        begin = {"role": "assistant", "content": ""}
                        yield _event(chunk, {"index": index, "delta": begin, "finish_reason": None})
                    is_begun = True
                    if isinstance(piece, Answer):
                        ends.append(piece)
                    else:
                        texts.append(piece)
                        yield _event(chunk, _choice(index, piece, is_chat))
        except Problem as problem:
            if not is_begun:
                raise
            yield _data(error_document(problem).model_dump())
            return
        end = ends[-1]
        chunk["system_fingerprint"] = end.by
        logprobs = logprobs_of("".join(texts), end)
        yield _event(
            chunk,
            {
                **_choice(index, "", is_chat),
                "finish_reason": end.end,
                "logprobs": None if logprobs is None else logprobs.model_dump(),
                **({} if is_chat else {"prediction_id": answer.id}),
            },
        )
    if with_usage:
        yield _data({**chunk, "choices": [], "usage": usage_of(ends).model_dump()})
    yield _DONE


def _choice(index: int, text: str, is_chat: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"delta": {"content": text} if text else {}} if is_chat else {"text": text}
    return {"index": index, **told, "finish_reason": None}


def _event(chunk: dict[str, Any], choice: dict[str, Any]) -> bytes:
    return _data({**chunk, "choices": [choice]})


def _data(told: Any) -> bytes:
    return f"data: {json.dumps(told, ensure_ascii=False)}\n\n".encode("utf-8", "replace")
