"""``/predict``, which clients of two protocols ask: they are told apart by what they send."""

from __future__ import annotations

from fastapi import APIRouter

from everlearn.service.access import TheService
from everlearn.service.routes.asked import TenantAsked
from everlearn.service.routes.hugging_face import InferenceRoute, scored_labels
from everlearn.service.routes.label_studio import StudioPredictor, studio_predictions
from everlearn.service.schemas_inference import InferenceProblem, PredictIn, ScoredLabel
from everlearn.service.schemas_label_studio import StudioPredictions, StudioRequest

__all__ = ["router"]

router = APIRouter(
    tags=["hugging face", "label studio"],
    route_class=InferenceRoute,
    responses={"4XX": {"model": InferenceProblem}, "5XX": {"model": InferenceProblem}},
)


@router.post("/predict")
async def predict_texts(
    asked: PredictIn | StudioRequest, caller: StudioPredictor, service: TheService, of: TenantAsked
) -> list[ScoredLabel] | list[list[ScoredLabel]] | StudioPredictions:
    """Labels of ``inputs``, as of Text Embeddings Inference; of ``tasks``, as Label Studio shows them."""
    if isinstance(asked, StudioRequest):
        return await studio_predictions(asked, caller, service, of)
    return await scored_labels(asked, caller, service, of)
