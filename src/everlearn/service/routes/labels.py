"""Labels: how many examples each has, what it is confused with, and other names for them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from everlearn.service.access import Operator, Predictor, TheService
from everlearn.service.problems import Problem
from everlearn.service.schemas_looking import LabelsResponse, RenameRequest, RenameResponse

__all__ = ["router"]

router = APIRouter(tags=["looking"])

_TARGETS_AT_ONCE = 256


@router.get("/v1/labels")
async def labels(
    caller: Predictor,
    service: TheService,
    tenant: Annotated[str | None, Query(min_length=1, max_length=1_000)] = None,
) -> LabelsResponse:
    """All labels, with their counts and what was predicted in their place."""
    name = caller.tenant(service, tenant)
    told = await service.look("labels", name)
    return LabelsResponse.model_validate({"tenant": name, "labels": told["labels"]})


@router.post("/v1/labels/rename")
async def rename(asked: RenameRequest, caller: Operator, service: TheService) -> RenameResponse:
    """Give every example of a label another target, by corrections; in batches, so that others get a turn.

    What is broken off can be sent again: it goes on with what is left.
    """
    tenant = caller.tenant(service, asked.tenant)
    if asked.label == asked.name or not asked.name.strip():
        raise Problem("request-invalid", "to: give another name, which is not blank")
    refused: list[str | None] = []
    bears: dict[str, Any] | None = None
    num_renamed, after = 0, 0
    while True:
        page = await service.look(
            "targets", tenant, label=asked.label, name=asked.name, after=after, limit=_TARGETS_AT_ONCE
        )
        if page["targets"]:
            bears = await service.change(
                "correct", tenant, targets=page["targets"], expected=page["expected"], act="rename"
            )
            num_renamed += sum(one["status"] == "corrected" for one in bears["results"])
            refused += [one["reason"] for one in bears["results"] if one["status"] != "corrected"]
        if page["next"] is None:
            break
        after = page["next"]
    if bears is None:
        raise Problem("label-unknown", f"no example of {tenant!r} has the label {asked.label!r}")
    service.events.tell(
        "label-renamed",
        tenant,
        label=asked.label,
        name=asked.name,
        examples=num_renamed,
        by=caller.name,
    )
    return RenameResponse.model_validate(
        {
            **{name: bears[name] for name in ("tenant", "version", "step", "fingerprint")},
            "renamed": num_renamed,
            "not_renamed": len(refused),
            "reason": refused[0] if refused else None,
        }
    )
