"""Classification as vLLM and SGLang speak it."""

from __future__ import annotations

import secrets
import time

from fastapi import APIRouter

from everlearn.service.access import Predictor, TheService
from everlearn.service.routes.asked import (
    ALL_LABELS,
    TenantAsked,
    labels_of,
    model_asked,
    predicted,
    tokens_in,
)
from everlearn.service.routes.openai_answers import texts_of
from everlearn.service.routes.openai_errors import OpenAIRoute
from everlearn.service.schemas_inference import ClassifiedText, ClassifyRequest, ClassifyResponse
from everlearn.service.schemas_openai import ErrorDocument, Usage

__all__ = ["router"]

router = APIRouter(
    tags=["vllm"],
    route_class=OpenAIRoute,
    responses={"4XX": {"model": ErrorDocument}, "5XX": {"model": ErrorDocument}},
)


@router.post("/classify")
@router.post("/v1/classify")
async def classify(
    asked: ClassifyRequest, caller: Predictor, service: TheService, of: TenantAsked
) -> ClassifyResponse:
    """Labels of texts, with the probabilities of all labels in the order of their names."""
    if asked.model is None:
        tenant, version = caller.tenant(service, of), None
    else:
        tenant, version = model_asked(asked.model, caller, service)
    texts = texts_of(asked.input)
    told = await predicted(service, tenant, texts, top=ALL_LABELS, version=version)
    data = []
    for index, (said, id_) in enumerate(zip(told.said, told.ids, strict=True)):
        ranked = labels_of(said)
        probabilities = [probability for _, probability in sorted(ranked)]
        data.append(
            ClassifiedText(
                index=index, label=ranked[0][0], probs=probabilities, num_classes=len(ranked), id=id_
            )
        )
    num_tokens = sum(await tokens_in(service, tenant, texts))
    return ClassifyResponse(
        id=(told.ids[0] if len(texts) == 1 else None) or f"classify-{secrets.token_hex(16)}",
        created=int(time.time()),
        model=asked.model or tenant,
        data=data,
        usage=Usage(prompt_tokens=num_tokens, total_tokens=num_tokens),
    )
