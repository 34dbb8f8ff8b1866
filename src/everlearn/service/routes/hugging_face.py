"""Text Embeddings Inference and the endpoints of Hugging Face."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic_core import to_json
from starlette.responses import Response

from everlearn.service.access import Caller, Predictor, TheService
from everlearn.service.problems import Problem
from everlearn.service.responses import problem_headers
from everlearn.service.routes.asked import (
    ALL_LABELS,
    WRITING,
    TenantAsked,
    labels_of,
    numbers_of,
    predicted,
    sound_texts,
    task_asked,
    vectors_of,
)
from everlearn.service.routes.openai_answers import texts_of
from everlearn.service.routes.operation import ready
from everlearn.service.schemas_inference import (
    ClassifierLabels,
    EmbedIn,
    EndpointIn,
    EndpointParameters,
    InferenceProblem,
    Info,
    ModelType,
    PredictIn,
    ScoredLabel,
    Token,
    TokenizeIn,
    WrittenText,
)
from everlearn.service.service import Service
from everlearn.service.telling_route import telling_route
from everlearn.service.writers import Written
from everlearn.version import __version__

__all__ = ["InferenceRoute", "at_the_path", "router", "scored_labels"]

_LEAST_PROBABILITY = 1e-30
_AS_USUAL = EndpointParameters.model_validate({})


def _response(problem: Problem) -> JSONResponse:
    status = problem.kind.status
    kind = "Overloaded" if status == 429 else "Validation" if status < 500 else "Backend"
    document = InferenceProblem.model_validate(
        {**problem.document().model_dump(), "error": problem.detail, "error_type": kind}
    )
    return JSONResponse(
        document.model_dump(),
        status,
        headers=problem_headers(problem),
        media_type="application/problem+json",
    )


InferenceRoute = telling_route(_response)
"""A route that adds to problem documents what these clients look for."""

router = APIRouter(
    tags=["hugging face"],
    route_class=InferenceRoute,
    responses={"4XX": {"model": InferenceProblem}, "5XX": {"model": InferenceProblem}},
)
at_the_path = APIRouter(route_class=InferenceRoute)
"""What is asked at ``/``, where that is behind a tenant's path."""


@at_the_path.post("")
@router.post("/")
async def endpoint(
    asked: EndpointIn, caller: Predictor, service: TheService, of: TenantAsked
) -> list[list[ScoredLabel]] | list[WrittenText]:
    """Labels of texts, the most probable first; models that write go on from them, or translate them."""
    tenant, parameters = caller.tenant(service, of), asked.parameters or _AS_USUAL
    texts = texts_of(asked.inputs)
    task = await task_asked(service, tenant)
    if task in WRITING:
        if asked.stream:
            raise Problem("not-honoured", "stream: ask /v1/completions for a stream")
        return [await _written(service, tenant, text, parameters, task) for text in texts_of(asked.inputs)]
    told = await predicted(service, tenant, texts, top=parameters.top_k or ALL_LABELS)
    is_raw = parameters.function_to_apply == "none"
    return [_scored(said, is_raw=is_raw) for said in told.said]


async def scored_labels(
    asked: PredictIn, caller: Caller, service: Service, tenant: str | None
) -> list[ScoredLabel] | list[list[ScoredLabel]]:
    """Labels of a text or of several, as Text Embeddings Inference answers /predict.

    Raises:
        Problem: There are pairs of texts, or as of ``predicted``.
    """
    name = caller.tenant(service, tenant)
    _refuse_left(asked.truncation_direction)
    batch = [[asked.inputs]] if isinstance(asked.inputs, str) else asked.inputs
    if not batch or any(isinstance(one, str) or len(one) != 1 for one in batch):
        raise Problem(
            "not-honoured", "inputs: pairs of texts are not classified; a batch is [[text], [text], …]"
        )
    told = await predicted(service, name, [one[0] for one in batch], top=ALL_LABELS)
    scored = [_scored(said, is_raw=asked.raw_scores) for said in told.said]
    return scored[0] if isinstance(asked.inputs, str) else scored


@router.post("/embed")
async def embed(asked: EmbedIn, caller: Predictor, service: TheService, of: TenantAsked) -> list[list[float]]:
    """Vectors of texts by the encoder that the tenant reads texts with."""
    tenant = caller.tenant(service, of)
    _refuse_left(asked.truncation_direction)
    _refuse_prompt(asked.prompt_name)
    vectors, _ = await vectors_of(
        service, tenant, texts_of(asked.inputs), normalize=asked.normalize is not False
    )
    numbers = [numbers_of(vector) for vector in vectors]
    if asked.dimensions not in (None, len(numbers[0])):
        raise Problem("not-honoured", f"dimensions: vectors of {tenant!r} have {len(numbers[0])}")
    return numbers


@router.post("/tokenize", response_model=list[list[Token]])
async def tokenize(asked: TokenizeIn, caller: Predictor, service: TheService, of: TenantAsked) -> Response:
    """Tokens of texts by the encoder that the tenant reads texts with."""
    tenant = caller.tenant(service, of)
    _refuse_prompt(asked.prompt_name)
    texts = sound_texts(texts_of(asked.inputs), service)
    found: list[list[dict[str, Any]]] = []
    for start in range(0, len(texts), service.config.max_batch):
        part = list(texts[start : start + service.config.max_batch])
        told = await service.workers.tell(
            "tokenize", tenant=tenant, texts=part, special=asked.add_special_tokens
        )
        found += told["tokens"]
    # As it came: there may be a hundred thousand tokens, and checking each would hold others up.
    return Response(to_json(found), media_type="application/json")


@router.get("/info")
async def info(caller: Predictor, service: TheService, of: TenantAsked) -> Info:
    """The tenant, its labels, and the service's limits."""
    tenant = caller.tenant(service, of)
    if await task_asked(service, tenant) in WRITING:
        raise Problem("no-answers", f"the run of {tenant!r} writes texts; it has no labels")
    encoder = await service.workers.tell("encoder", tenant=tenant)
    (said,), bears = await service.predict(tenant, ["a text"], ALL_LABELS, None)
    labels = sorted(label for label, _ in labels_of(said))
    config = service.config
    return Info(
        model_id=tenant,
        model_sha=bears["fingerprint"],
        model_dtype=encoder["dtype"],
        model_type=ModelType(
            classifier=ClassifierLabels(
                id2label={str(number): label for number, label in enumerate(labels)},
                label2id={label: number for number, label in enumerate(labels)},
            )
        ),
        max_concurrent_requests=config.max_waiting_texts,
        max_input_length=encoder["max_length"],
        max_batch_tokens=encoder["max_length"] * config.max_batch,
        max_batch_requests=config.max_batch,
        max_client_batch_size=config.max_texts,
        tokenization_workers=service.workers.num_ready,
        version=__version__,
    )


@router.get("/health")
async def health(service: TheService) -> dict[str, str]:
    """Whether it can predict and learn; 503 where it cannot at the moment."""
    await ready(service)
    return {"status": "UP"}


async def _written(
    service: Service, tenant: str, text: str, parameters: EndpointParameters, task: str
) -> WrittenText:
    sound_texts([text], service)
    await service.save_to_write(tenant)
    is_drawn = parameters.do_sample or (parameters.do_sample is None and bool(parameters.temperature))
    settings = {
        "max_new_tokens": parameters.max_new_tokens,
        "temperature": (parameters.temperature or 1.0) if is_drawn else 0.0,
        "top_p": 1.0 if parameters.top_p is None else parameters.top_p,
        "seed": secrets.randbelow(2**31) if parameters.seed is None else parameters.seed,
        "stop": [one for one in parameters.stop or [] if one],
    }
    pieces = [
        piece
        async for piece in service.writer.write(tenant, None, text, settings, chat=False)
        if not isinstance(piece, Written)
    ]
    written = "".join(pieces)
    if task == "seq2seq":
        return WrittenText(generated_text=written, translation_text=written)
    return WrittenText(generated_text=text + written if parameters.return_full_text else written)


def _scored(said: Mapping[str, Any], *, is_raw: bool) -> list[ScoredLabel]:
    several = said.get("labels") is not None
    return [
        ScoredLabel(label=label, score=_raw(probability, several) if is_raw else probability)
        for label, probability in labels_of(said)
    ]


def _raw(probability: float, several: bool) -> float:
    """A score that softmax (where there are several labels the logistic function) makes the probability."""
    told = math.log(max(probability, _LEAST_PROBABILITY))
    return told - math.log(max(1 - probability, _LEAST_PROBABILITY)) if several else told


def _refuse_left(direction: str | None) -> None:
    if direction is not None and direction.lower() == "left":
        raise Problem(
            "not-honoured", "truncation_direction: long texts lose their ends, not their beginnings"
        )


def _refuse_prompt(name: str | None) -> None:
    if name is not None:
        raise Problem("not-honoured", f"prompt_name: there is no prompt {name!r}")
