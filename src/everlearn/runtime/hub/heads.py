"""What tenants predict by, mapped from what their runs publish, as many as fit a budget.

A tenant is hot where its head is mapped here, warm where it is published, and cold where there are only its
journal and saved states: then somebody has to open the run, and to publish.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from everlearn.models.encoder.pool import ModelPool
from everlearn.models.storage.adapters import stored_bytes
from everlearn.runtime.fold.published import HeadOpener, publication_of
from everlearn.runtime.fold.served_learner import Served
from everlearn.sharing.publication import Publication
from everlearn.sharing.residency import Residency
from everlearn.sharing.weight_file import MappedWeights

__all__ = ["Heads"]

_OBJECTS_BYTES = 60_000
"""About what a head takes beside its file: the objects that compute on it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    publication: Publication
    mapped: MappedWeights
    served: Served


class Heads:
    """Heads by the names of tenants. Any thread may use it.

    Args:
        budget: Bytes of all that are mapped; None: no bound. What is larger than all of it is mapped anew for
            each prediction.
        models: Gives encoders.
        keeps_withdrawn: Whether what was withdrawn is used until something else takes its place.
    """

    def __init__(self, budget: int | None, models: ModelPool, *, keeps_withdrawn: bool = False) -> None:
        self._keeps_withdrawn = keeps_withdrawn
        self._opener = HeadOpener(models)
        self._lock = Lock()
        self._resident: Residency[_Head] = Residency(budget)
        self.num_not_kept = 0

    def __len__(self) -> int:
        return len(self._resident)

    @property
    def num_bytes(self) -> int:
        """Of all that are mapped."""
        return self._resident.num_bytes

    def get(self, tenant: str, run: Path) -> Served | None:
        """What a tenant predicts by; None: nothing is published that this version of everlearn can read.

        Args:
            tenant: Its name.
            run: The folder of its run.

        Raises:
            StateError: What is published is damaged.
        """
        with self._lock:
            known = self._resident.get(tenant)
        publication = publication_of(run) if known is None else known.publication
        started = time.perf_counter()
        mapped = publication.now()
        if known is not None and (mapped is known.mapped or (mapped is None and self._keeps_withdrawn)):
            return known.served
        served = None if mapped is None else self._opener.served(run, mapped)
        with self._lock:
            if mapped is None or served is None:
                self._resident.drop(tenant)
                return None
            head = _Head(publication, mapped, served)
            size, seconds = _num_bytes(run, mapped), time.perf_counter() - started
            self.num_not_kept += any(
                gone is head for gone in self._resident.put(tenant, head, size, cost=seconds)
            )
        return served

    def verify_parts(self, tenant: str, parts: Sequence[str]) -> None:
        """Verify parts of what a tenant that is hot will publish, see ``Publication.verify_parts``."""
        with self._lock:
            known = self._resident.get(tenant)
        if known is not None:
            known.publication.verify_parts(parts)

    def drop(self, tenant: str) -> None:
        """Map a tenant's head no longer."""
        with self._lock:
            self._resident.drop(tenant)


def _num_bytes(run: Path, head: MappedWeights) -> int:
    adapter = head.about["adapter"]
    return head.num_bytes + _OBJECTS_BYTES + (0 if adapter is None else stored_bytes(run / adapter))
