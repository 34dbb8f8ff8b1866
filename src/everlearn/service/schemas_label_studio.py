"""What Label Studio sends to a machine learning backend, and what it is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from everlearn.service.asked_body import AskedBody
from everlearn.service.schemas import Answered, LearnedExample

__all__ = [
    "Annotation",
    "Project",
    "SetupRequest",
    "SetupResponse",
    "StudioPrediction",
    "StudioPredictions",
    "StudioRequest",
    "Task",
    "WebhookEvent",
    "WebhookResponse",
]

Number = int | str


class _Asked(AskedBody, BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


class Task(_Asked):
    """Something to label."""

    id: Number | None = None
    data: dict[str, Any] = {}


class Project(_Asked):
    """A project, as events tell of it."""

    id: Number | None = None
    created_at: datetime | None = None
    label_config: str | None = None
    """XML."""


class Annotation(_Asked):
    """What somebody said of a task."""

    id: Number
    result: list[dict[str, Any]] = []
    was_cancelled: bool | None = False
    """The task was skipped."""
    task: Any = None
    """Its number."""


class StudioRequest(_Asked):
    """Tasks to predict."""

    tasks: list[Task] = Field(min_length=1)
    label_config: str
    """XML: where the text is, and what can be chosen."""


class StudioPrediction(_Told):
    """What is said of a task."""

    id: str | None
    """For feedback."""
    result: list[dict[str, Any]]
    score: float | None
    model_version: str


class StudioPredictions(_Told):
    """What is said of tasks, in their order."""

    results: list[StudioPrediction]
    model_version: str


class SetupRequest(_Asked):
    """A project that is connected."""

    label_config: str | None = Field(None, alias="schema")
    """XML."""


class SetupResponse(_Told):
    """What will predict."""

    model_version: str


class WebhookEvent(_Asked):
    """Something that has happened in a project."""

    action: str = Field(min_length=1, max_length=1_000)
    project: Project | None = None
    annotation: Annotation | list[Annotation] | None = None
    annotations: list[Annotation] | None = None
    task: Task | list[Task] | None = None
    tasks: list[Task] | None = None


class WebhookResponse(Answered):
    """What became of it."""

    action: str
    learned: list[LearnedExample] = Field([])
    forgotten: int = 0
