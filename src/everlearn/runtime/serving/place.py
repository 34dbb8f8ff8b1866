"""What a service serves: one run, or a hub of many; to the process that has it open for writing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from everlearn.errors import RunError
from everlearn.models.encoder.adapter_pool import AdapterPool
from everlearn.runtime.fold.served_learner import Served
from everlearn.runtime.folder.run_folder import is_run_folder
from everlearn.runtime.hub.hub import Hub
from everlearn.runtime.hub.looking import TenantStats, known_settings, told_stats
from everlearn.runtime.run import Run
from everlearn.runtime.serving.told import UnknownTenantError, UnknownVersionError
from everlearn.runtime.step_outcome import StepOutcome
from everlearn.settings import RunConfig
from everlearn.sharing.trunk_store import TrunkStore
from everlearn.tasks.classification.recorded_coder import load_text_coder
from everlearn.tasks.table import task_of
from everlearn.types import Example, Json

__all__ = ["HubPlace", "Place", "RunPlace", "open_place"]


class Place(ABC):
    """Runs by the names of tenants. Methods may be called from any thread.

    Attributes:
        path: Its folder.
        is_hub: Whether it may have any number of tenants.
    """

    path: Path
    is_hub: bool

    @abstractmethod
    def tenants(self) -> list[str]:
        """All names, sorted."""

    @abstractmethod
    def folder(self, tenant: str) -> Path:
        """Where a tenant's run is, or will be. Raises UnknownTenantError."""

    @abstractmethod
    def run(self, tenant: str) -> Any:
        """A block that has a tenant's run, one at a time. Raises UnknownTenantError where it is entered."""

    @abstractmethod
    def stats(self, tenant: str) -> TenantStats:
        """Figures of a tenant, as it was saved last where its run is not open. Raises UnknownTenantError."""

    @abstractmethod
    def learn(self, tenant: str, batch: Sequence[Example]) -> StepOutcome:
        """Let a tenant learn a batch, see ``Run.learn``; within its quota."""

    @abstractmethod
    def predictor(self, tenant: str, version: int | None) -> Served | None:
        """What predicts for a tenant now, or as a version; None: it has learned nothing.

        Raises:
            UnknownTenantError: There is no such tenant.
            UnknownVersionError: There is no such version, or its state is gone.
        """

    def make_ready(self) -> None:
        """Do now what the first label would have to wait for, but for the encoder."""

    def load_encoder(self) -> None:
        """Load that, too. Any thread may; whoever needs it meanwhile waits for it.

        Raises:
            EverlearnError: It cannot be loaded, as whoever asks is told.
        """

    def memory(self) -> dict[str, Json]:
        """What is in memory of tenants: how many predict from there, and bytes (estimated)."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Write checkpoints, and let the folder go."""


class RunPlace(Place):
    """One run; its tenant is called as its folder is.

    Args:
        path: The run's folder; it is there.
    """

    is_hub = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._name = path.resolve().name
        self._run = Run.open(path, models=AdapterPool(TrunkStore().trunk))

    def tenants(self) -> list[str]:
        """See Place."""
        return [self._name]

    def folder(self, tenant: str) -> Path:
        """See Place."""
        if tenant != self._name:
            raise UnknownTenantError(f"there is no tenant {tenant!r}; the only one is {self._name!r}")
        return self.path

    @contextmanager
    def run(self, tenant: str) -> Iterator[Run]:
        """See Place."""
        self.folder(tenant)
        if self._run.is_closed:  # it could not be brought back after a failure
            self._run = Run.open(self.path, models=AdapterPool(TrunkStore().trunk))
        yield self._run

    def stats(self, tenant: str) -> TenantStats:
        """See Place."""
        with self.run(tenant) as run:
            return told_stats(tenant, run.stats())

    def learn(self, tenant: str, batch: Sequence[Example]) -> StepOutcome:
        """See Place."""
        with self.run(tenant) as run:
            return run.learn(batch)

    def make_ready(self) -> None:
        """See Place."""
        self._run.make_ready(encoder=False)

    def load_encoder(self) -> None:
        """See Place."""
        self._run.make_ready()

    def predictor(self, tenant: str, version: int | None) -> Served | None:
        """See Place."""
        with self.run(tenant) as run:
            return _of_version(run, version) if run.held().num_examples else None

    def close(self) -> None:
        """See Place."""
        self._run.close()


class HubPlace(Place):
    """A hub.

    Args:
        path: Its folder; it is there.
        memory_budget_mb: As of ``Hub.open``.
    """

    is_hub = True

    def __init__(self, path: Path, memory_budget_mb: float | None = None) -> None:
        self.path = path
        self.hub = Hub.open(path, memory_budget_mb=memory_budget_mb)

    def tenants(self) -> list[str]:
        """See Place."""
        return self.hub.tenants()

    def folder(self, tenant: str) -> Path:
        """See Place."""
        self._check(tenant)
        return self.hub.run_folder(tenant)

    @contextmanager
    def run(self, tenant: str) -> Iterator[Run]:
        """See Place."""
        self._check(tenant)
        with self.hub.run(tenant) as run:
            yield run

    def stats(self, tenant: str) -> TenantStats:
        """See Place."""
        self._check(tenant)
        (told,) = self.hub.stats(tenant)
        return told

    def learn(self, tenant: str, batch: Sequence[Example]) -> StepOutcome:
        """See Place."""
        self._check(tenant)
        return self.hub.learn(tenant, batch)

    def load_encoder(self) -> None:
        """See Place."""
        config = RunConfig().with_settings(known_settings(self.path) or {})
        if task_of(config).counts_by_label:
            load_text_coder(config.model, self.hub.models).make_ready()

    def predictor(self, tenant: str, version: int | None) -> Served | None:
        """See Place."""
        self._check(tenant)
        if version is None:
            return self.hub.predictor(tenant)
        with self.hub.run(tenant) as run:
            return _of_version(run, version)

    def memory(self) -> dict[str, Json]:
        """See Place."""
        told = self.hub.memory()
        return {
            "resident_tenants": told["resident_tenants"],
            "tenants": round(told["resident_mb"] * 1e6),
            "open_runs": told["open_runs"],
        }

    def add(self, tenant: str, settings: Mapping[str, Any], max_examples: int | None) -> None:
        """See ``Hub.add``."""
        self.hub.add(tenant, settings, max_examples=max_examples)

    def set_quota(self, tenant: str, max_examples: int | None) -> None:
        """See ``Hub.set_quota``."""
        self._check(tenant)
        self.hub.set_quota(tenant, max_examples)

    def remove(self, tenant: str) -> None:
        """See ``Hub.remove``."""
        self._check(tenant)
        self.hub.remove(tenant)

    def close(self) -> None:
        """See Place."""
        self.hub.close()

    def _check(self, tenant: str) -> None:
        if tenant not in self.hub:
            raise UnknownTenantError(f"there is no tenant {tenant!r} in {self.path}")


def _of_version(run: Run, version: int | None) -> Served:
    try:
        return run.predictor(version)
    except RunError as error:
        if version is None:
            raise
        raise UnknownVersionError(str(error)) from None


def open_place(path: Path, memory_budget_mb: float | None = None) -> Place:
    """Open a run or a hub for writing.

    Raises:
        RunError: There is neither, or another process has it.
        StateError: Something saved is damaged.
        ModelError: The run's model cannot be loaded.
    """
    if is_run_folder(path):
        return RunPlace(path)
    if known_settings(path) is not None:
        return HubPlace(path, memory_budget_mb)
    raise RunError(
        f"{path} is neither a run nor a hub: `everlearn learn STREAM --out {path}` makes a run, "
        f"`everlearn hub add {path} TENANT` a hub"
    )
