"""OpenAI's protocol: models, vectors, chats and the continuation of texts."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from everlearn.service.access import Predictor, TheService
from everlearn.service.problems import Problem
from everlearn.service.routes.asked import model_asked, numbers_of, vectors_of
from everlearn.service.routes.openai_answers import (
    Answer,
    Answering,
    answers,
    asks_logprobs,
    messages_of,
    texts_of,
)
from everlearn.service.routes.openai_errors import OpenAIRoute
from everlearn.service.routes.openai_logprobs import LogprobsOf, chat_logprobs, completion_logprobs, usage_of
from everlearn.service.routes.openai_stream import streamed
from everlearn.service.schemas_openai import (
    ChatChoice,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    Completion,
    CompletionChoice,
    CompletionRequest,
    Embedding,
    EmbeddingRequest,
    Embeddings,
    ErrorDocument,
    Model,
    Models,
    Usage,
)

__all__ = ["router"]

router = APIRouter(
    tags=["openai"],
    route_class=OpenAIRoute,
    responses={"4XX": {"model": ErrorDocument}, "5XX": {"model": ErrorDocument}},
)

_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


@router.get("/v1/models")
async def models(caller: Predictor, service: TheService) -> Models:
    """The tenants that the key is for, as models."""
    known = await service.about_all()
    return Models(
        data=[
            Model(id=name, created=_seconds(about["created"]))
            for name, about in known.items()
            if caller.sees(name)
        ]
    )


@router.get("/v1/models/{model}")
async def model(model: str, caller: Predictor, service: TheService) -> Model:
    """A tenant, or one of its versions (``tenant@version``), as a model."""
    tenant, version = model_asked(model, caller, service)
    if version is not None:
        known = (await service.look("versions", tenant))["versions"]
        if all(one["version"] != version for one in known):
            raise Problem("version-unknown", f"{tenant!r} has no version {version}")
    return Model(id=model, created=_seconds((await service.about(tenant))["created"]))


@router.post("/v1/embeddings")
async def embeddings(asked: EmbeddingRequest, caller: Predictor, service: TheService) -> Embeddings:
    """Vectors of texts, of length 1, by the encoder that the tenant reads texts with."""
    tenant, version = model_asked(asked.model, caller, service)
    if version is not None:
        raise Problem("not-honoured", "vectors are by the encoder of now: name the tenant without a version")
    found, num_tokens = await vectors_of(service, tenant, texts_of(asked.input))
    size = len(numbers_of(found[0]))
    if asked.dimensions not in (None, size):
        raise Problem("not-honoured", f"dimensions: vectors of {tenant!r} have {size}")
    as_numbers = asked.encoding_format == "float"
    return Embeddings(
        data=[
            Embedding(index=place, embedding=numbers_of(one) if as_numbers else one)
            for place, one in enumerate(found)
        ],
        model=asked.model,
        usage=Usage(prompt_tokens=num_tokens, total_tokens=num_tokens),
    )


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=_STREAMED)
async def chat(asked: ChatRequest, caller: Predictor, service: TheService) -> Any:
    """Answer a chat: a classifier says the label of the user's last message, other models write."""
    tenant, version = model_asked(asked.model, caller, service)
    own = [one["content"] for one in messages_of(asked.messages) if one["role"] == "user"]
    if not own:
        raise Problem("request-invalid", "messages: there is none of the user's")
    (answer,) = await answers(service, tenant, version, asked, own[-1:])
    if asked.stream:
        return await _streamed(asked, [answer])
    text, end = await answer.whole()
    return ChatCompletion(
        id=answer.id or f"chatcmpl-{secrets.token_hex(12)}",
        created=int(time.time()),
        model=asked.model,
        choices=[
            ChatChoice(
                message=ChatMessage(content=text),
                logprobs=chat_logprobs(text, end, asked.top_logprobs or 0),
                finish_reason=_reason(end),
            )
        ],
        usage=usage_of([end]),
        system_fingerprint=end.by,
    )


@router.post("/v1/completions", response_model=Completion, responses=_STREAMED)
async def completions(asked: CompletionRequest, caller: Predictor, service: TheService) -> Any:
    """Continue texts: a classifier with their labels, other models with what they write."""
    tenant, version = model_asked(asked.model, caller, service)
    prompts = texts_of(asked.prompt)
    if len(prompts) > service.config.max_texts:
        raise Problem("too-many-texts", f"there are {len(prompts):,} texts")
    found = await answers(service, tenant, version, asked, prompts)
    if asked.stream:
        return await _streamed(asked, found)
    told = [await one.whole() for one in found]
    ends = [end for _, end in told]
    return Completion(
        id=_id_of(found) or f"cmpl-{secrets.token_hex(12)}",
        created=int(time.time()),
        model=asked.model,
        choices=[
            CompletionChoice(
                index=place,
                text=text,
                logprobs=completion_logprobs(text, end, asked.logprobs or 0),
                finish_reason=_reason(end),
                prediction_id=answer.id,
            )
            for place, (answer, (text, end)) in enumerate(zip(found, told, strict=True))
        ],
        usage=usage_of(ends),
        system_fingerprint=ends[0].by,
    )


async def _streamed(asked: ChatRequest | CompletionRequest, found: Sequence[Answering]) -> StreamingResponse:
    options = asked.stream_options
    told = streamed(
        asked.model,
        _id_of(found),
        found,
        is_chat=isinstance(asked, ChatRequest),
        with_usage=options is not None and bool(options.include_usage),
        logprobs_of=_logprobs_of(asked),
    )
    first = await anext(told)  # what is wrong from the start is told by the status

    async def all_told() -> AsyncIterator[bytes]:
        async with aclosing(told):
            yield first
            async for event in told:
                yield event

    return StreamingResponse(
        all_told(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


def _logprobs_of(asked: ChatRequest | CompletionRequest) -> LogprobsOf:
    if not asks_logprobs(asked):
        return lambda text, end: None
    if isinstance(asked, ChatRequest):
        most = asked.top_logprobs or 0
        return lambda text, end: chat_logprobs(text, end, most)
    most = asked.logprobs or 0
    return lambda text, end: completion_logprobs(text, end, most)


def _id_of(found: Sequence[Answering]) -> str | None:
    """The prediction's, where there is one only."""
    return found[0].id if len(found) == 1 else None


def _reason(end: Answer) -> Literal["stop", "length"]:
    return "length" if end.end == "length" else "stop"


def _seconds(time_text: str) -> int:
    return int(datetime.fromisoformat(time_text).timestamp())
