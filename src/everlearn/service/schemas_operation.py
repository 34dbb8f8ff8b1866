"""What is asked of the service about tenants and about who has changed what, and what it answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from everlearn.service.asked_body import AskedBody
from everlearn.service.schemas import Name

__all__ = [
    "Act",
    "AuditResponse",
    "QuotaRequest",
    "TenantAdded",
    "TenantFigures",
    "TenantQuota",
    "TenantRemoved",
    "TenantRequest",
    "TenantsResponse",
]


class _Asked(AskedBody, BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class TenantRequest(_Asked):
    """A new tenant of a hub."""

    name: Name
    settings: dict[str, Any] = {}
    """Of its run, beside the hub's, by dotted path."""
    max_examples: int | None = Field(None, ge=1, le=2**53)
    """Most examples that it may learn; null: no bound."""


class QuotaRequest(_Asked):
    """Another quota for a tenant of a hub."""

    max_examples: int | None = Field(ge=1, le=2**53)
    """Most examples that it may learn; null: no bound. What it has learned stays."""


class TenantsResponse(_Told):
    """The tenants that a key is for."""

    tenants: list[str]
    """Their names, sorted."""
    is_hub: bool
    """Whether tenants can be added and removed; a run is one tenant."""


class TenantFigures(_Told):
    """A tenant: what it has learned, how well, and what it takes."""

    tenant: str
    """Its name."""
    examples: int | None
    """That are learned now; null: nothing has been saved that tells it."""
    labels: int | None
    """That these have; null where what is learned has none."""
    accuracy: float | None
    """Of predictions before learning, from 0 to 1 (of sets of labels, micro-F1), of an open run as of now,
    else as it was saved last; null: none yet."""
    memory_bytes: int | None
    """Of what it predicts by, which all processes map while somebody asks; null: nothing is published at the
    moment."""
    max_examples: int | None
    """Its quota: most examples that it may learn; null: no bound."""
    problem: str | None
    """Why the rest cannot be told; null: nothing is wrong."""


class TenantAdded(_Told):
    """A tenant was added."""

    tenant: str
    """Its name."""


class TenantQuota(_Told):
    """A tenant has another quota."""

    tenant: str
    """Its name."""
    max_examples: int | None
    """Most examples that it may learn; null: no bound."""


class TenantRemoved(_Told):
    """A tenant was deleted, with all that it learned."""

    tenant: str
    """Its name."""
    removed: bool = True
    """It is."""


class Act(_Told):
    """What somebody has done."""

    number: int
    """Its place in the tenant's journal; grows."""
    time: str
    """When (ISO 8601, UTC)."""
    author: str
    """Who: the name of a key; "anybody" where there are none."""
    kind: str
    """What: learn, correct, rename, forget, rollback, review or quota."""
    step: int
    """The journal's newest step then."""
    examples: int
    """How many it concerned."""
    ids: list[str]
    """Of the first of these, at most twenty, but for those that are deleted by now."""
    detail: dict[str, Any]
    """The rest: the version that was rolled back to, say, or how many ids were to be deleted. No texts."""


class AuditResponse(_Told):
    """A page of the audit log."""

    tenant: str
    """Whose it is."""
    acts: list[Act]
    """In the order that was asked for."""
    next: int | None
    """Where the next page goes on (as ``after``); null: there is nothing more."""
