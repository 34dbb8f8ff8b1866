"""What OpenAI's protocol tells of an answer beside its text: log-probabilities and tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from everlearn.service.routes.openai_answers import Answer
from everlearn.service.schemas_openai import (
    ChatLogprobs,
    CompletionLogprobs,
    TokenLogprob,
    TopLogprob,
    Usage,
)

__all__ = ["LogprobsOf", "chat_logprobs", "completion_logprobs", "usage_of"]

LogprobsOf = Callable[[str, Answer], ChatLogprobs | CompletionLogprobs | None]
"""What is told of an answer with this text."""


def chat_logprobs(text: str, end: Answer, most: int) -> ChatLogprobs | None:
    """Log-probabilities of a label and of ``most`` labels; None: they are not asked for."""
    if end.label is None:
        return None
    return ChatLogprobs(
        content=[
            TokenLogprob(
                token=text,
                logprob=end.label,
                bytes=list(text.encode("utf-8", "replace")),
                top_logprobs=[
                    TopLogprob(token=label, logprob=logprob, bytes=list(label.encode("utf-8", "replace")))
                    for label, logprob in end.top[:most]
                ],
            )
        ]
    )


def completion_logprobs(text: str, end: Answer, most: int) -> CompletionLogprobs | None:
    """The same, as completions have it."""
    if end.label is None:
        return None
    return CompletionLogprobs(
        tokens=[text],
        token_logprobs=[end.label],
        top_logprobs=[dict(end.top[:most])],
        text_offset=[0],
    )


def usage_of(ends: Sequence[Answer]) -> Usage:
    """Tokens of all answers."""
    read, written = sum(end.prompt_tokens for end in ends), sum(end.completion_tokens for end in ends)
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)
