"""What the commands of ``everlearn hub`` do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from everlearn.errors import ConfigError, RunError
from everlearn.models.encoder.adapter_pool import AdapterPool
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.commands.predict import predict_stream, predict_texts
from everlearn.runtime.hub.hub import Hub
from everlearn.runtime.hub.looking import TenantStats, known_settings, stats_of, tenants_at
from everlearn.runtime.hub.tenants import Tenants
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.listener import SILENT, Listener
from everlearn.sharing.trunk_store import TrunkStore
from everlearn.stream.source import Rejection
from everlearn.tasks.answer import PredictedText

__all__ = ["add_tenants", "learn_tenant", "predict_tenant", "remove_tenants", "tenant_stats"]


_OF_TENANTS = frozenset({"model.adapter"})
"""Settings that are never a hub's."""


def add_tenants(
    path: Path, tenants: Sequence[str], settings: Mapping[str, Any], *, max_examples: int | None = None
) -> None:
    """Add tenants; a hub that is not there is made with the settings, else they are the tenants' own.

    Args:
        path: The hub.
        tenants: Names.
        settings: By dotted path.
        max_examples: Most examples that each may learn; None: no bound.

    Raises:
        ConfigError: A name is none, or a setting is wrong.
        ModelError: An adapter cannot be read, or is of another model.
        RunError: There is one of this name, or the folder is in use or holds something else.
    """
    is_new = known_settings(path) is None
    names = Tenants(path, is_owner=False)
    for k, tenant in enumerate(tenants):
        names.check_new(tenant)
        if tenant in tenants[:k]:
            raise ConfigError(f"{tenant!r} is named twice; nothing was added")
    own = {name: value for name, value in settings.items() if not is_new or name in _OF_TENANTS}
    of_hub = {name: value for name, value in settings.items() if name not in own} if is_new else None
    with Hub.open(path, of_hub) as hub:
        for tenant in tenants:
            hub.add(tenant, own, max_examples=max_examples)


def learn_tenant(
    path: Path,
    tenant: str,
    request: LearnRequest,
    *,
    listener: Listener = SILENT,
    stop: StopFlag | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> LearnOutcome:
    """Let a tenant learn a stream; raises as ``learn_stream``, and RunError if there is no such tenant.

    Args:
        path: The hub.
        tenant: Its name.
        request: What to learn; where, is known here.
        listener: See ``learn_stream``.
        stop: The same.
        on_ready: The same.
    """
    tenants_at(path)
    with Hub.open(path) as hub:
        folder = hub.run_folder(tenant)
        made_with = {} if folder.exists() else hub.settings_of(tenant)
        record = tenants_at(path).record(tenant)
        request = replace(
            request,
            out=folder,
            settings={**made_with, **request.settings},
            max_examples=record.max_examples,
        )
        return learn_stream(request, listener=listener, stop=stop, on_ready=on_ready, models=hub.models)


def predict_tenant(
    path: Path,
    tenant: str,
    texts: Sequence[str] | None,
    spec: str | None,
    *,
    top: int,
    settings: Mapping[str, Any],
    on_rejected: Callable[[Rejection], None],
    on_note: Callable[[str], None],
) -> Iterator[PredictedText]:
    """What a tenant says of texts; the hub may be in use. Raises as ``predict_stream``.

    Args:
        path: The hub.
        tenant: Its name.
        texts: The texts; None: those of a stream.
        spec: The stream.
        top: How many labels to name for each.
        settings: Dotted settings of how the stream is read.
        on_rejected: Is told of each record that could not be used.
        on_note: Is told what of the run was found damaged and passed over, and how the stream was read.
    """
    tenants = tenants_at(path)
    folder = tenants.run_folder(tenants.record(tenant).name)
    if not folder.exists():
        raise RunError(f"tenant {tenant!r} has learned nothing yet: everlearn hub learn {path} {tenant} FILE")
    models = AdapterPool(TrunkStore().trunk)
    if texts is not None:
        yield from predict_texts(folder, texts, top=top, settings=settings, on_note=on_note, models=models)
    else:
        yield from predict_stream(
            folder,
            spec or "-",
            top=top,
            settings=settings,
            on_rejected=on_rejected,
            on_note=on_note,
            models=models,
        )


def tenant_stats(path: Path, tenant: str | None) -> list[TenantStats]:
    """Figures of one tenant, or of all; the hub may be in use.

    Raises:
        RunError: There is no hub, or no such tenant.
    """
    tenants = tenants_at(path)
    return [stats_of(tenants, name) for name in (tenants.names() if tenant is None else [tenant])]


def remove_tenants(path: Path, tenants: Sequence[str]) -> None:
    """Delete tenants with all that they learned.

    Raises:
        RunError: There is no such hub or tenant (then nothing was removed), or one is in use.
    """
    known = tenants_at(path)
    for tenant in tenants:
        known.record(tenant)
    with Hub.open(path) as hub:
        for tenant in dict.fromkeys(tenants):
            hub.remove(tenant)
