"""The open inference protocol (KServe v2): texts as BYTES in, labels out."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from everlearn.service.access import Predictor, TheService
from everlearn.service.asked_body import AskedBody
from everlearn.service.problems import Problem
from everlearn.service.routes.asked import labels_of, model_asked, predicted, task_asked
from everlearn.service.routes.operation import ready
from everlearn.service.service import Service
from everlearn.version import __version__

__all__ = ["router"]

router = APIRouter(tags=["kserve"])

_INPUT = "text"


class Tensor(AskedBody, BaseModel):
    """A tensor of one dimension, or of one column."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class InferRequest(AskedBody, BaseModel):
    """Texts: one tensor of BYTES."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    id: str | None = Field(None, max_length=1_000)
    """Is repeated in the answer."""
    inputs: list[Tensor] = Field(min_length=1, max_length=1)


class InferResponse(BaseModel):
    """Labels, their probabilities, and ids for feedback."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())

    id: str | None = None
    model_name: str
    model_version: str | None
    outputs: list[Tensor]


class TensorMetadata(BaseModel):
    """What a tensor has to be."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """A tenant."""

    name: str
    versions: list[str]
    platform: Literal["everlearn"] = "everlearn"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


@router.get("/v2")
async def server() -> dict[str, Any]:
    """What answers."""
    return {"name": "everlearn", "version": __version__, "extensions": []}


@router.get("/v2/health/live")
async def live() -> dict[str, bool]:
    """Whether the service runs."""
    return {"live": True}


@router.get("/v2/health/ready")
async def is_ready(service: TheService) -> dict[str, bool]:
    """Whether it can predict; 503 where it cannot at the moment."""
    await ready(service)
    return {"ready": True}


@router.get("/v2/models/{model}/ready")
async def model_ready(model: str, caller: Predictor, service: TheService) -> dict[str, Any]:
    """Whether a tenant can predict; 503 where it cannot at the moment."""
    model_asked(model, caller, service)
    await ready(service)
    return {"name": model, "ready": True}


@router.get("/v2/models/{model}")
async def metadata(model: str, caller: Predictor, service: TheService) -> ModelMetadata:
    """A tenant, its versions, and what it is given and gives."""
    tenant, _ = model_asked(model, caller, service)
    await task_asked(service, tenant)
    known = (await service.look("versions", tenant))["versions"]
    text = TensorMetadata(name=_INPUT, datatype="BYTES", shape=[-1])
    return ModelMetadata(
        name=tenant,
        versions=[str(one["version"]) for one in known],
        inputs=[text],
        outputs=[
            TensorMetadata(name="label", datatype="BYTES", shape=[-1]),
            TensorMetadata(name="probability", datatype="FP64", shape=[-1]),
            TensorMetadata(name="id", datatype="BYTES", shape=[-1]),
        ],
    )


@router.post("/v2/models/{model}/infer")
async def infer(model: str, asked: InferRequest, caller: Predictor, service: TheService) -> InferResponse:
    """Labels of texts by a tenant (``tenant@version``: by a version)."""
    tenant, version = model_asked(model, caller, service)
    return await _inferred(tenant, version, asked, service)


@router.post("/v2/models/{model}/versions/{version}/infer")
async def infer_version(
    model: str, version: int, asked: InferRequest, caller: Predictor, service: TheService
) -> InferResponse:
    """Labels of texts by a version of a tenant."""
    return await _inferred(caller.tenant(service, model), version, asked, service)


async def _inferred(tenant: str, version: int | None, asked: InferRequest, service: Service) -> InferResponse:
    (given,) = asked.inputs
    texts = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in given.data]
    if given.datatype != "BYTES" or not texts or not all(isinstance(text, str) for text in texts):
        raise Problem("request-invalid", "inputs: give one tensor of the datatype BYTES, a text an element")
    told = await predicted(service, tenant, texts, top=1, version=version)
    ranked = [labels_of(said)[0] for said in told.said]
    shape = [len(texts)]

    def output(name: str, datatype: str, data: list[Any]) -> Tensor:
        return Tensor(name=name, shape=shape, datatype=datatype, data=data)

    outputs = [
        output("label", "BYTES", [label for label, _ in ranked]),
        output("probability", "FP64", [probability for _, probability in ranked]),
    ]
    if all(id_ is not None for id_ in told.ids):
        outputs.append(output("id", "BYTES", list(told.ids)))
    number = told.bears["version"]
    return InferResponse(
        id=asked.id,
        model_name=tenant,
        model_version=None if number is None else str(number),
        outputs=outputs,
    )
