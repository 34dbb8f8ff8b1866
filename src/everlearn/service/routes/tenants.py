"""The tenants: which there are, what each has learned and takes; those of a hub come, get quotas, and go."""

from __future__ import annotations

from fastapi import APIRouter

from everlearn.service.access import Admin, Predictor, TheService
from everlearn.service.problems import Problem
from everlearn.service.schemas_operation import (
    QuotaRequest,
    TenantAdded,
    TenantFigures,
    TenantQuota,
    TenantRemoved,
    TenantRequest,
    TenantsResponse,
)

__all__ = ["router"]

router = APIRouter(tags=["operation"])


@router.get("/v1/tenants")
async def tenants(caller: Predictor, service: TheService) -> TenantsResponse:
    """The tenants that the key is for."""
    names = sorted(name for name in service.learner.tenants if caller.sees(name))
    return TenantsResponse(tenants=names, is_hub=service.learner.is_hub)


@router.post("/v1/tenants", status_code=201)
async def add_tenant(asked: TenantRequest, caller: Admin, service: TheService) -> TenantAdded:
    """Add a tenant to a hub."""
    if not caller.sees(asked.name):
        raise Problem("tenant-forbidden", f"the key {caller.name!r} is not for the tenant {asked.name!r}")
    await service.add_tenant(asked.name, asked.settings, asked.max_examples)
    return TenantAdded(tenant=asked.name)


@router.get("/v1/tenants/{name}")
async def show_tenant(name: str, caller: Predictor, service: TheService) -> TenantFigures:
    """What a tenant has learned, how well, what it takes, and its quota."""
    tenant = caller.tenant(service, name)
    return TenantFigures.model_validate({"tenant": tenant, **(await service.look("tenant", tenant))})


@router.patch("/v1/tenants/{name}")
async def set_quota(name: str, asked: QuotaRequest, caller: Admin, service: TheService) -> TenantQuota:
    """Let a tenant of a hub learn more, or less. What it has learned stays, whatever its quota is."""
    tenant = caller.tenant(service, name)
    await service.set_quota(tenant, asked.max_examples)
    return TenantQuota(tenant=tenant, max_examples=asked.max_examples)


@router.delete("/v1/tenants/{name}")
async def remove_tenant(name: str, caller: Admin, service: TheService) -> TenantRemoved:
    """Delete a tenant of a hub, and all that it learned."""
    tenant = caller.tenant(service, name)
    await service.remove_tenant(tenant)
    return TenantRemoved(tenant=tenant)
