"""A scoring server of MLflow: tables of texts in, a table of labels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from everlearn.service.access import Predictor, TheService
from everlearn.service.asked_body import AskedBody
from everlearn.service.csv_route import CSV, CsvRoute
from everlearn.service.problems import Problem
from everlearn.service.routes.asked import TenantAsked, labels_of, model_asked, predicted
from everlearn.service.routes.operation import ready
from everlearn.version import __version__

__all__ = ["router"]

router = APIRouter(tags=["mlflow"], route_class=CsvRoute)

_TEXT = "text"


class _Asked(AskedBody, BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)


class SplitTable(_Asked):
    """A table, as pandas splits it."""

    columns: list[Any]
    data: list[list[Any]]


class ScoringParams(_Asked):
    """How it is to be answered."""

    model: str | None = Field(None, min_length=1, max_length=1_000)
    """The tenant, or ``tenant@version``; may be left out where there is one only."""
    top: int = Field(1, ge=1, le=1_000)
    """How many labels are told."""


class ScoringRequest(_Asked):
    """Texts, in one of MLflow's shapes: the column ``text``, or the only one."""

    dataframe_split: SplitTable | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | dict[str, list[Any]] | None = None
    inputs: str | list[Any] | dict[str, Any] | None = None
    params: ScoringParams | None = None


class ScoredText(BaseModel):
    """What is said of a text."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    label: str
    """The most probable one."""
    probability: float
    labels: list[str] | None = None
    """All that are predicted, where there may be several."""
    top: dict[str, float] | None = None
    """Labels and their probabilities, where more than one is asked for."""
    id: str | None
    """For feedback."""


class ScoringResponse(BaseModel):
    """What is said of texts, in their order."""

    predictions: list[ScoredText]


@router.get("/ping", response_class=PlainTextResponse)
async def ping(service: TheService) -> str:
    """Whether it can predict; 503 where it cannot at the moment."""
    await ready(service)
    return "\n"


@router.get("/version", response_class=PlainTextResponse)
async def version() -> str:
    """The version of everlearn."""
    return __version__


@router.post(
    "/invocations",
    response_model_exclude_unset=True,
    openapi_extra={"requestBody": {"content": {CSV: {"schema": {"type": "string"}}}}},
)
async def invocations(
    asked: ScoringRequest, caller: Predictor, service: TheService, of: TenantAsked
) -> ScoringResponse:
    """Labels of texts: of a table as JSON, or as CSV with a header line."""
    params = asked.params or _AS_USUAL
    if params.model is None:
        tenant, number = caller.tenant(service, of), None
    else:
        tenant, number = model_asked(params.model, caller, service)
    told = await predicted(service, tenant, _texts_in(asked), top=params.top, version=number)
    return ScoringResponse(
        predictions=[_scored(said, id_, params.top) for said, id_ in zip(told.said, told.ids, strict=True)]
    )


_AS_USUAL = ScoringParams.model_validate({})


def _scored(said: Mapping[str, Any], id_: str | None, top: int) -> ScoredText:
    ranked = labels_of(said)
    told: dict[str, Any] = {"label": ranked[0][0], "probability": ranked[0][1], "id": id_}
    if said.get("labels") is not None:
        told["labels"] = said["labels"]
    if top > 1:
        told["top"] = dict(ranked)
    return ScoredText(**told)


def _texts_in(asked: ScoringRequest) -> list[str]:
    given = {
        name: value
        for name in ("dataframe_split", "dataframe_records", "instances", "inputs")
        if (value := getattr(asked, name)) is not None
    }
    if len(given) != 1:
        raise Problem(
            "request-invalid", "give one of dataframe_split, dataframe_records, instances and inputs"
        )
    (value,) = given.values()
    if isinstance(value, SplitTable):
        value = [dict(zip(value.columns, row, strict=False)) for row in value.data]
    if isinstance(value, dict):
        value = _column(value)
    texts = [_text_in(one) for one in ([value] if isinstance(value, str) else value)]
    if not texts:
        raise Problem("request-invalid", "there is no text")
    return texts


def _text_in(row: Any) -> str:
    """The text of a row, which is one itself, has one cell only, or one named text."""
    if isinstance(row, Mapping):
        row = _column(row)
    elif isinstance(row, Sequence) and not isinstance(row, str) and len(row) == 1:
        (row,) = row
    if not isinstance(row, str):
        raise Problem("request-invalid", f"a row has no text: give the column {_TEXT!r}, or one column only")
    return row


def _column(table: Mapping[Any, Any]) -> Any:
    if _TEXT in table:
        return table[_TEXT]
    if len(table) != 1:
        raise Problem("request-invalid", f"give the column {_TEXT!r}, or one column only")
    return next(iter(table.values()))
