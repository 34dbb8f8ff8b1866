"""What answers a client of OpenAI's protocol: a classifier's label, or a text that a model writes."""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from everlearn.label_set import written_set
from everlearn.service.problems import Problem
from everlearn.service.routes.asked import (
    ALL_LABELS,
    WRITING,
    labels_of,
    predicted,
    sound_texts,
    task_asked,
    tokens_in,
)
from everlearn.service.schemas_openai import ChatRequest, CompletionRequest, Message, WritingRequest
from everlearn.service.service import Service
from everlearn.service.writers import Written

__all__ = ["Answer", "Answering", "Piece", "answers", "asks_logprobs", "messages_of", "texts_of"]

_LEAST_PROBABILITY = 1e-30
"""Log-probabilities are of numbers above zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The end of an answer.

    Attributes:
        end: "stop", or "length".
        prompt_tokens: Tokens that were read.
        completion_tokens: Tokens that were written.
        by: Version and step of what answered.
        label: Log-probability of the label; None: it is not asked for.
        top: Labels and their log-probabilities, the most probable first.
    """

    end: str
    prompt_tokens: int
    completion_tokens: int
    by: str
    label: float | None = None
    top: Sequence[tuple[str, float]] = ()


Piece = str | Answer
"""A piece of a text; at the end what there is to say of it."""


@dataclass(frozen=True, slots=True)
class Answering:
    """An answer while it is made.

    Attributes:
        id: The prediction's; None: there is none.
        pieces: The answer.
    """

    id: str | None
    pieces: AsyncGenerator[Piece]

    async def whole(self) -> tuple[str, Answer]:
        """The text, and its end. Raises Problem as of the pieces."""
        *texts, end = [piece async for piece in self.pieces]
        assert isinstance(end, Answer), "an answer has an end"
        return "".join(str(text) for text in texts), end


async def answers(
    service: Service,
    tenant: str,
    version: int | None,
    asked: ChatRequest | CompletionRequest,
    prompts: Sequence[str],
) -> list[Answering]:
    """An answer to each prompt, or to a chat, of which the last prompt is the user's message.

    Raises:
        Problem: Something that is asked for cannot be done, or is wrong.
    """
    _refuse_what_nobody_does(asked)
    if await task_asked(service, tenant) not in WRITING:
        return await _labels(service, tenant, version, prompts, with_others=asks_logprobs(asked))
    _refuse_what_only_classifiers_do(asked)
    if isinstance(asked, ChatRequest):  # all of it is read
        sound_texts(["\n".join(one["content"] for one in messages_of(asked.messages))], service)
    sound_texts(prompts, service)
    await service.save_to_write(tenant)
    is_translation = await task_asked(service, tenant) == "seq2seq"
    chat = isinstance(asked, ChatRequest) and not is_translation
    given: Sequence[str | list[dict[str, str]]] = (
        [messages_of(asked.messages)] if isinstance(asked, ChatRequest) and chat else prompts
    )
    settings = _writing_settings(asked)
    return [Answering(None, _written(service, tenant, version, one, settings, chat=chat)) for one in given]


def asks_logprobs(asked: ChatRequest | CompletionRequest) -> bool:
    """Whether log-probabilities are to be told."""
    return bool(asked.logprobs) if isinstance(asked, ChatRequest) else asked.logprobs is not None


def messages_of(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as chat templates take them."""
    return [
        {"role": "system" if one.role == "developer" else one.role, "content": _text_of(one)}
        for one in messages
    ]


def texts_of(given: str | Sequence[Any]) -> list[str]:
    """Texts, of which there may be one or several. Raises Problem where they are tokens."""
    if isinstance(given, str):
        return [given]
    texts = [one for one in given if isinstance(one, str)]
    if not given or len(texts) < len(given):
        raise Problem("not-honoured", "texts are read here, not tokens: give a string, or a list of strings")
    return texts


def _text_of(message: Message) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    for part in message.content:
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise Problem("not-honoured", f"messages are texts here, not {part.get('type')!r}")
    return "".join(part["text"] for part in message.content)


async def _labels(
    service: Service, tenant: str, version: int | None, texts: Sequence[str], *, with_others: bool
) -> list[Answering]:
    told = await predicted(service, tenant, texts, top=ALL_LABELS if with_others else 1, version=version)
    contents = [
        one["label"] if one.get("labels") is None else written_set(one["labels"]) for one in told.said
    ]
    tokens = await tokens_in(service, tenant, [*texts, *contents])
    return [
        Answering(
            id_,
            _told_label(
                content,
                Answer(
                    end="stop",
                    prompt_tokens=tokens[place],
                    completion_tokens=tokens[len(texts) + place],
                    by=_by(told.bears),
                    label=_log(_probability(said)) if with_others else None,
                    top=[(label, _log(probability)) for label, probability in labels_of(said)],
                ),
            ),
        )
        for place, (content, said, id_) in enumerate(zip(contents, told.said, told.ids, strict=True))
    ]


async def _told_label(content: str, answer: Answer) -> AsyncGenerator[Piece]:
    yield content
    yield answer


def _probability(said: Mapping[str, Any]) -> float:
    """Of the label; of a set of labels, where each is for itself."""
    if said.get("labels") is None:
        return float(said["probability"])
    return math.prod(
        probability if label in said["labels"] else 1 - probability for label, probability in labels_of(said)
    )


async def _written(
    service: Service,
    tenant: str,
    version: int | None,
    prompt: str | list[dict[str, str]],
    settings: dict[str, Any],
    *,
    chat: bool,
) -> AsyncGenerator[Piece]:
    async with aclosing(service.writer.write(tenant, version, prompt, settings, chat=chat)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Written):
                yield Answer(
                    end=piece.end,
                    prompt_tokens=piece.prompt_tokens,
                    completion_tokens=piece.completion_tokens,
                    by=_by(piece.by),
                )
            else:
                yield piece


def _by(bears: Mapping[str, Any]) -> str:
    version = bears["version"]
    return f"step-{bears['step']}" if version is None else f"version-{version}"


def _log(probability: float) -> float:
    return math.log(max(probability, _LEAST_PROBABILITY))


def _writing_settings(asked: WritingRequest) -> dict[str, Any]:
    stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    if isinstance(asked, ChatRequest):
        most = asked.max_completion_tokens or asked.max_tokens
    else:
        most = asked.max_tokens or 16  # as the protocol has it
    greedy = asked.top_p == 0
    return {
        "max_new_tokens": most,
        "temperature": 0.0 if greedy else asked.temperature,
        "top_p": 1.0 if greedy or asked.top_p is None else asked.top_p,
        "seed": secrets.randbelow(2**31) if asked.seed is None else asked.seed,
        "stop": [text for text in stop if text],
    }


def _refuse_what_nobody_does(asked: ChatRequest | CompletionRequest) -> None:
    _refuse("n", asked.n not in (None, 1), "there is one answer")
    if isinstance(asked, ChatRequest):
        _refuse("tools", bool(asked.tools or asked.functions), "nothing is called")
        kind = (asked.response_format or {}).get("type", "text")
        _refuse("response_format", kind != "text", "answers are plain texts")
        _refuse("top_logprobs", bool(asked.top_logprobs) and not asked.logprobs, "it needs logprobs")
    else:
        _refuse("best_of", asked.best_of not in (None, 1), "there is one answer")
        _refuse("echo", bool(asked.echo), "the prompt is not repeated")
        _refuse("suffix", bool(asked.suffix), "nothing is written between two texts")


def _refuse_what_only_classifiers_do(asked: ChatRequest | CompletionRequest) -> None:
    _refuse("logprobs", asks_logprobs(asked), "they are told of labels only")
    _refuse("presence_penalty", bool(asked.presence_penalty), "it is not known")
    _refuse("frequency_penalty", bool(asked.frequency_penalty), "it is not known")
    _refuse("logit_bias", bool(asked.logit_bias), "it is not known")


def _refuse(name: str, is_asked: bool, why: str) -> None:
    if is_asked:
        raise Problem("not-honoured", f"{name}: {why}")
