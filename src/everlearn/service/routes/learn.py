"""Telling: examples, feedback for predictions, corrections, deletions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Discriminator, Tag

from everlearn.service.access import Labeller, Operator, TheService
from everlearn.service.problems import Problem
from everlearn.service.routes.given import checked_example, takes_these, written_target
from everlearn.service.schemas import (
    CorrectRequest,
    ExampleIn,
    ExamplesIn,
    FeedbackRequest,
    FeedbackResponse,
    ForgetRequest,
    ForgetResponse,
    LearnResponse,
)

__all__ = ["router"]

router = APIRouter(tags=["learn"])


def _which(given: Any) -> str | None:
    """Whether a body brings one example or several, so that what is wrong is told of that alone."""
    if isinstance(given, dict):
        return "<several>" if "examples" in given else "<one>"
    return None


Examples = Annotated[
    Annotated[ExamplesIn, Tag("<several>")] | Annotated[ExampleIn, Tag("<one>")],
    Discriminator(
        _which,
        custom_error_type="no_examples",
        custom_error_message='send one example, {"text": …, "target": …}, or several, {"examples": […]}',
    ),
]


@router.post("/v1/learn")
async def learn(asked: Examples, caller: Labeller, service: TheService) -> LearnResponse:
    """Learn one example, or several as a batch. What has an offset in the answer is durable.

    Every example has an id; where it brings none it is given one. The same example again does no harm, so a
    request that was not answered can be sent again. A known id with another target is a correction; with a
    target and no text, it is the target for an example that came without one.
    """
    given = asked.examples if isinstance(asked, ExamplesIn) else [asked]
    if len(given) > service.config.max_texts:
        raise Problem(
            "too-many-texts", f"there are {len(given):,} examples, and {service.config.max_texts:,} may be"
        )
    tenant = caller.tenant(service, asked.tenant)
    takes_sets = await takes_these(service, tenant, (one.target for one in given))
    examples = [checked_example(one, service.config, takes_sets=takes_sets) for one in given]
    ids = [one["id"] for one in examples]
    if len(set(ids)) < len(ids):
        twice = next(id_ for id_ in ids if ids.count(id_) > 1)
        raise Problem("request-invalid", f"the id {twice!r} is there twice")
    return LearnResponse.model_validate(await service.learn(tenant, examples))


@router.post("/v1/feedback")
async def feedback(asked: FeedbackRequest, caller: Labeller, service: TheService) -> FeedbackResponse:
    """Say what is right of a prediction, any time later: it is learned, under the prediction's id."""
    if (asked.target is None) == (asked.right is None):
        raise Problem("request-invalid", "give target, or right; not both")
    one = await service.remembered.get(asked.id)
    if one is None:
        raise Problem("prediction-unknown", f"no prediction {asked.id!r} is remembered")
    tenant = caller.tenant(service, one.tenant)
    bears = service.bears(tenant, {"version": one.version, "step": one.step})
    if asked.target is not None:
        takes_sets = await takes_these(service, tenant, [asked.target])
        target: str | None = written_target(asked.target, takes_sets=takes_sets)
    else:
        target = one.label if asked.right else None
    if target is None:
        if one.target is None:
            await service.remembered.decide(one, "wrong", None)
            service.metrics.feedback.labels(tenant, "wrong").inc()
        return FeedbackResponse(**bears, id=one.id, status="known" if one.target is not None else "noted")
    if one.target is not None and one.target != target:
        raise Problem("feedback-given", f"the target given for {one.id!r} before is {one.target!r}")
    if one.text is None and one.target is None:
        raise Problem("prediction-unknown", f"the text of {one.id!r} is not kept")
    example: dict[str, Any] = {"id": one.id, "target": target}
    if one.text is not None:
        example["text"] = one.text
    told = await service.learn(tenant, [example])
    became = told["results"][0]
    if became["status"] != "rejected":
        verdict = "right" if target == one.label else "wrong"
        await service.remembered.decide(one, verdict, target)
        if one.target is None:
            service.metrics.feedback.labels(tenant, verdict).inc()
    return FeedbackResponse.model_validate(told | became)


@router.post("/v1/correct")
async def correct(asked: CorrectRequest, caller: Labeller, service: TheService) -> LearnResponse:
    """Give examples that were learned other targets: what they had is taken back."""
    tenant = caller.tenant(service, asked.tenant)
    takes_sets = await takes_these(service, tenant, asked.targets.values())
    targets = {id_: written_target(target, takes_sets=takes_sets) for id_, target in asked.targets.items()}
    told = await service.change("correct", tenant, targets=targets)
    service.events.tell("corrected", tenant, step=told["step"], examples=len(targets), by=caller.name)
    return LearnResponse.model_validate(told)


@router.post("/v1/forget")
async def forget(asked: ForgetRequest, caller: Operator, service: TheService) -> ForgetResponse:
    """Delete examples from the run and all that it keeps, with a certificate that anybody can check."""
    if not asked.ids and not asked.where:
        raise Problem("request-invalid", "give ids, or where")
    tenant = caller.tenant(service, asked.tenant)
    told = await service.change(
        "forget", tenant, ids=asked.ids, where=list(asked.where.items()), approximate=asked.approximate
    )
    told["predictions_forgotten"] = await service.remembered.forget(asked.ids, tenant)
    service.events.tell("forgotten", tenant, examples=told["forgotten"], by=caller.name)
    return ForgetResponse.model_validate(told)
