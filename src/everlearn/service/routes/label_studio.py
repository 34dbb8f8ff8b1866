"""A machine learning backend for Label Studio: what is annotated is learned, what is deleted is forgotten.

An annotation has the same id whenever an event tells of it, so events that come twice do no harm.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import ValidationError

from everlearn.label_set import written_set
from everlearn.service.access import Caller, TheService, authenticated
from everlearn.service.keys import ROLES, Role
from everlearn.service.label_config import LabelConfig, read_label_config
from everlearn.service.problems import Problem
from everlearn.service.routes.asked import (
    ALL_LABELS,
    TenantAsked,
    labels_of,
    predicted,
    sound_texts,
    task_asked,
)
from everlearn.service.routes.given import checked_example
from everlearn.service.schemas import ExampleIn, LearnedExample
from everlearn.service.schemas_label_studio import (
    Annotation,
    SetupRequest,
    SetupResponse,
    StudioPrediction,
    StudioPredictions,
    StudioRequest,
    Task,
    WebhookEvent,
    WebhookResponse,
)
from everlearn.service.service import Service

__all__ = ["StudioPredictor", "router", "studio_predictions"]

router = APIRouter(tags=["label studio"])

_BEARER = HTTPBearer(auto_error=False, description="A key; Label Studio may send it as a password (Basic).")
_TASK_FIELD = "label_studio_task"


def _studio(role: Role) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """Label Studio sends names and passwords: a key is the password."""

    async def caller(
        request: Request,
        given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None,
    ) -> Caller:
        key = _password_in(request.headers.get("authorization")) if given is None else given.credentials
        return authenticated(request, key, role)

    return caller


StudioPredictor = Annotated[Caller, Depends(_studio("predict"))]
_StudioLabeller = Annotated[Caller, Depends(_studio("label"))]


@router.post("/setup")
async def setup(
    asked: SetupRequest, caller: StudioPredictor, service: TheService, of: TenantAsked
) -> SetupResponse:
    """Connect a project, whose configuration must have a control for the tenant's labels."""
    tenant = caller.tenant(service, of)
    if asked.label_config is not None:
        read_label_config(asked.label_config, writes=await _writes(service, tenant))
    _, bears = await service.predict(tenant, ["a text"], 1, None)
    return SetupResponse(model_version=_version(bears))


async def studio_predictions(
    asked: StudioRequest, caller: Caller, service: Service, tenant: str | None
) -> StudioPredictions:
    """What is said of tasks.

    Raises:
        Problem: The configuration has no text or nothing to choose, or a task has no text.
    """
    name = caller.tenant(service, tenant)
    writes = await _writes(service, name)
    config = read_label_config(asked.label_config, writes=writes)
    texts = [config.text_of(task.data) for task in asked.tasks]
    said: Sequence[Mapping[str, Any]]
    bears: Mapping[str, Any]
    ids: Sequence[str | None]
    if writes:
        said, bears = await service.predict(name, sound_texts(texts, service), 1, None)
        ids = service.remember(name, texts, said, bears)
    else:
        told = await predicted(service, name, texts, top=ALL_LABELS)
        said, bears, ids = told.said, told.bears, told.ids
    version = _version(bears)
    return StudioPredictions(
        results=[
            StudioPrediction(id=id_, model_version=version, **_shown(one, config, writes=writes))
            for one, id_ in zip(said, ids, strict=True)
        ],
        model_version=version,
    )


@router.post("/webhook")
async def webhook(
    event: WebhookEvent, caller: _StudioLabeller, service: TheService, of: TenantAsked
) -> WebhookResponse:
    """Learn what was annotated, and forget what was deleted (which needs the role operate).

    Events of other kinds are taken, and change nothing.
    """
    tenant = caller.tenant(service, of)
    match event.action:
        case "ANNOTATION_CREATED" | "ANNOTATIONS_CREATED" | "ANNOTATION_UPDATED":
            return await _annotated(event, caller, service, tenant)
        case "ANNOTATIONS_DELETED" | "ANNOTATION_DELETED":
            gone = _all(event.annotations) + _all(event.annotation)
            return await _forgotten(event, caller, service, tenant, ids=[_id(event, one) for one in gone])
        case "TASKS_DELETED" | "TASK_DELETED":
            tasks = [_task_name(event, one) for one in _all(event.tasks) + _all(event.task)]
            return await _forgotten(event, caller, service, tenant, tasks=tasks)
    return WebhookResponse(**service.bears(tenant, {}), action=event.action)


async def _annotated(event: WebhookEvent, caller: Caller, service: Service, tenant: str) -> WebhookResponse:
    annotations, tasks = _all(event.annotation), _all(event.task)
    if not annotations or len(annotations) != len(tasks):
        raise Problem("request-invalid", "the event must bring an annotation and its task (send_payload)")
    if event.project is None or event.project.label_config is None:
        raise Problem("request-invalid", "the event has no project.label_config")
    config = read_label_config(event.project.label_config, writes=await _writes(service, tenant))
    examples, withdrawn = list[dict[str, Any]](), list[str]()
    for annotation, task in zip(annotations, tasks, strict=True):
        targets = [] if annotation.was_cancelled else config.targets_in(annotation.result)
        if not targets:
            withdrawn.append(_id(event, annotation))
            continue
        given = {
            "id": _id(event, annotation),
            "text": config.text_of(task.data),
            "target": await _target(service, tenant, targets),
            "fields": {_TASK_FIELD: _task_name(event, task)},
        }
        try:
            examples.append(checked_example(ExampleIn.model_validate(given), service.config))
        except ValidationError as error:
            raise Problem(
                "request-invalid", f"annotation {annotation.id}: {error.errors()[0]['msg']}"
            ) from None
    forgotten = 0
    if withdrawn and event.action == "ANNOTATION_UPDATED":  # it said something before
        forgotten = (await _forgotten(event, caller, service, tenant, ids=withdrawn)).forgotten
    if not examples:
        return WebhookResponse(**service.bears(tenant, {}), action=event.action, forgotten=forgotten)
    told = await service.learn(tenant, examples)
    learned = [LearnedExample.model_validate(one) for one in told["results"]]
    return WebhookResponse.model_validate(
        told | {"action": event.action, "learned": learned, "forgotten": forgotten}
    )


async def _forgotten(
    event: WebhookEvent,
    caller: Caller,
    service: Service,
    tenant: str,
    *,
    ids: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> WebhookResponse:
    if ROLES.index(caller.role) < ROLES.index("operate"):
        raise Problem("role-too-low", f"to forget needs the role 'operate'; the key has {caller.role!r}")
    if len(ids) + len(tasks) > service.config.max_texts:
        raise Problem("too-many-texts", f"{service.config.max_texts:,} may be deleted at once")
    asked: list[dict[str, Any]] = [{"ids": list(ids), "where": []}] if ids else []
    asked += [{"ids": [], "where": [(_TASK_FIELD, task)]} for task in tasks]
    forgotten, bears = 0, service.bears(tenant, {})
    for one in asked:
        try:
            told = await service.change("forget", tenant, **one, approximate=False)
        except Problem as problem:
            if problem.code == "setting-wrong" and one["where"]:  # nothing annotated was learned yet
                continue
            raise
        forgotten += told["forgotten"]
        bears = {name: told[name] for name in bears}
    if forgotten:
        service.events.tell("forgotten", tenant, examples=forgotten, by=caller.name)
    return WebhookResponse(**bears, action=event.action, forgotten=forgotten)


async def _target(service: Service, tenant: str, targets: Sequence[str]) -> str:
    if await task_asked(service, tenant) == "multilabel":
        return written_set(targets)
    if len(targets) > 1:
        raise Problem("request-invalid", f"{len(targets)} choices: texts of {tenant!r} have one label each")
    return targets[0]


async def _writes(service: Service, tenant: str) -> bool:
    return await task_asked(service, tenant) == "seq2seq"


def _shown(said: Mapping[str, Any], config: LabelConfig, *, writes: bool) -> dict[str, Any]:
    """A prediction as Label Studio shows it: of labels those that can be chosen there."""
    if writes:
        return {"result": config.result_of([said["translation"]]), "score": said["probability"]}
    chosen = [
        (choice, probability)
        for label, probability in labels_of(said)
        if (choice := config.choice_of(label)) is not None
        and (said.get("labels") is None or label in said["labels"])
    ]
    if said.get("labels") is None:
        chosen = chosen[:1]
    values = list(dict.fromkeys(choice for choice, _ in chosen))
    return {
        "result": config.result_of(values) if values else [],
        "score": min((probability for _, probability in chosen), default=None),
    }


def _id(event: WebhookEvent, annotation: Annotation) -> str:
    return f"ls-{_project(event)}-{annotation.id}"


def _task_name(event: WebhookEvent, task: Task) -> str:
    return f"{_project(event)}-{task.id}"


def _project(event: WebhookEvent) -> str:
    """A project's name among those of all installations, as Label Studio itself makes it: number and time."""
    if event.project is None or event.project.id is None:
        raise Problem("request-invalid", "the event has no project.id")
    made = event.project.created_at
    if made is None:
        return f"{event.project.id}"
    return f"{event.project.id}.{int((made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp())}"


def _all(given: Any) -> list[Any]:
    return [] if given is None else given if isinstance(given, list) else [given]


def _version(bears: Mapping[str, Any]) -> str:
    return f"step-{bears['step']}" if bears["version"] is None else f"version-{bears['version']}"


def _password_in(header: str | None) -> str | None:
    """The password of ``Authorization: Basic``; None: nothing was sent."""
    if header is None:
        return None
    scheme, _, told = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(told, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Problem("key-unknown", "Authorization: Basic is not readable") from None
        return password or name
    if scheme.lower() == "token":
        return told.strip()
    raise Problem("key-unknown", "keys are sent as Authorization: Bearer KEY, or as the password of Basic")
