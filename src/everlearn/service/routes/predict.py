"""Asking: what a run says of texts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from everlearn.service.access import Predictor, TheService
from everlearn.service.lean_route import lean_route
from everlearn.service.problems import Problem
from everlearn.service.routes.given import checked_texts
from everlearn.service.schemas import PredictRequest, PredictResponse

__all__ = ["router"]

router = APIRouter(tags=["predict"], route_class=lean_route(PredictRequest, "predict"))


@router.post("/v1/predict", response_model=PredictResponse)
async def predict(asked: PredictRequest, caller: Predictor, service: TheService) -> dict[str, Any]:
    """What a run says of texts. Nothing is learned; feedback can name a prediction's id later."""
    if (asked.text is None) == (asked.texts is None):
        raise Problem("request-invalid", "give text, or texts; not both")
    texts = checked_texts([asked.text] if asked.text is not None else asked.texts or [], service.config)
    tenant = caller.tenant(service, asked.tenant)
    said, bears = await service.predict(tenant, texts, asked.top, asked.version)
    keeps = asked.remember and service.config.keep_predictions_days > 0
    ids = service.remember(tenant, texts, said, bears) if keeps else [None] * len(texts)
    service.note_predictions(tenant, said)
    return {**bears, "predictions": [{"id": id_, **one} for id_, one in zip(ids, said, strict=True)]}
