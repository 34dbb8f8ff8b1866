"""A hub: a folder of runs (tenants) on one encoder, which is in memory once for all of them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock, RLock
from typing import IO, Any, Self

from everlearn.errors import ConfigError, InUseError, RunError, StateError, StorageError
from everlearn.journal.lock import acquire_lock
from everlearn.models.encoder.adapter_pool import AdapterPool
from everlearn.models.storage.folder import find_model_folder
from everlearn.runtime.fold.published import publication_of
from everlearn.runtime.fold.served_learner import Served
from everlearn.runtime.given import given_examples, given_settings, given_texts
from everlearn.runtime.hub.asking import Asked, checked_pairs, predict_together
from everlearn.runtime.hub.heads import Heads
from everlearn.runtime.hub.looking import TenantStats, stats_of
from everlearn.runtime.hub.opening import (
    budget_bytes,
    check_max_examples,
    check_processes,
    check_tenants_settings,
    open_folder,
)
from everlearn.runtime.hub.pool import PredictionPool
from everlearn.runtime.hub.tenants import TenantRecord, Tenants
from everlearn.runtime.loop.session import FullError
from everlearn.runtime.run import Run
from everlearn.runtime.step_outcome import StepOutcome
from everlearn.sharing.trunk_store import TrunkStore
from everlearn.tasks.classification.recorded_coder import load_text_coder
from everlearn.tasks.table import task_of
from everlearn.types import Example, Json, Prediction

__all__ = ["Hub"]

_LOG = logging.getLogger(__name__)

_MOST_OPEN = 16
"""Runs that are open for learning at once: each holds a journal with its cache, about 5 MB."""


class Hub:
    """Many runs that read texts by one encoder. Open it with :meth:`open`, best in a ``with`` block.

    Each tenant is a run of its own: labels, journal, versions, guard; nothing that one learns, forgets or
    breaks is seen by another. What they share is the encoder, once in the memory of the machine, and the
    forward pass of a batch, whosever texts are in it.

    What tenants predict by is mapped from their folders, within a budget, when it is asked for. One process
    at a time has a hub. Its methods may be called from any thread: tenants learn beside each other, and
    predictions wait for no learning.

    Attributes:
        path: The folder.
        models: Gives the encoder, which all processes of the machine share.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        lock: IO[str],
        budget: int | None,
        pool: PredictionPool | None = None,
    ) -> None:
        self.path = path
        self._settings = dict(settings)
        self._lock_file = lock
        self._turns = Lock()  # for what follows; held for moments only
        self._of_tenant: dict[str, RLock] = {}  # held while a tenant's run is opened, changed or closed
        self._tenants = Tenants(path, is_owner=True)
        self.models = AdapterPool(TrunkStore().trunk)
        self._heads = Heads(budget, self.models)
        self._pool = pool
        self._open: OrderedDict[str, Run] = OrderedDict()
        self._lent: set[str] = set()  # whose runs somebody has within a block
        self._is_closed = False

    @classmethod
    def open(
        cls,
        path: str | Path,
        settings: Mapping[str, Any] | None = None,
        *,
        memory_budget_mb: float | None = None,
        processes: int = 0,
    ) -> Hub:
        """Open a hub; where there is none, one is made.

        Args:
            path: The folder.
            settings: What runs of new tenants are made with, by dotted path or nested, as of ``Run.open``. A
                hub keeps those that it was made with.
            memory_budget_mb: For what tenants predict by, all together, in 10⁶ bytes; None: no bound. The
                encoder comes on top, and what the tenants that learned last learn with.
            processes: Prediction processes, each of one thread; 0: predictions are made in this one, whose
                threads then have to be shared with what learns. They map the encoder, which is not loaded
                once more.

        Raises:
            ConfigError: A setting is wrong, or differs from one that the hub keeps.
            RunError: The folder is in use, or holds something else.
            StateError: ``hub.json`` is damaged.
            StorageError: The folder cannot be made.
        """
        if not isinstance(path, str | Path):
            raise ConfigError(f"give a hub's folder as a path, not {path!r}")
        path, given = Path(path), given_settings(settings)
        check_processes(processes)
        budget = budget_bytes(memory_budget_mb)
        with ExitStack() as opened:
            known, lock = open_folder(path, given)
            opened.callback(lock.close)
            pool = PredictionPool(path, processes, budget) if processes else None
            hub = cls(path, known, lock, budget, pool)
            opened.pop_all()
            return hub

    # Tenants

    def add(
        self,
        tenant: str,
        settings: Mapping[str, Any] | None = None,
        *,
        max_examples: int | None = None,
    ) -> TenantRecord:
        """Add a tenant. It takes no memory, and no room but for a line, until it learns.

        Args:
            tenant: Its name: of one folder.
            settings: Of its run, beside the hub's. ``model.adapter``, a folder, is copied.
            max_examples: Most examples that it may learn; None: no bound.

        Raises:
            ConfigError: The name is none, or a setting is wrong.
            ModelError: There is no such model; or its adapter cannot be read, or is of another one.
            RunError: There is one of this name.
        """
        given = given_settings(settings)
        config = check_tenants_settings({**self._settings, **given})
        adapter = given.pop("model.adapter", None)
        if adapter is not None:
            load_text_coder(config.model, self.models)  # which reads it, and sees whether it fits
        check_max_examples(max_examples)
        find_model_folder(task_of(config).model_name(config))
        with self._turn(tenant):
            return self._tenants.add(
                tenant, given, max_examples, None if adapter is None else Path(adapter).expanduser()
            )

    def set_quota(self, tenant: str, max_examples: int | None) -> None:
        """Let a tenant learn more, or less; what it has learned stays, whatever the quota is.

        Args:
            tenant: Its name.
            max_examples: Most examples that it may learn; None: no bound.

        Raises:
            ConfigError: It cannot be a quota.
            RunError: There is no such tenant.
            StorageError: It cannot be written.
        """
        check_max_examples(max_examples)
        with self._turn(tenant):
            self._tenants.set_quota(tenant, max_examples)

    def tenants(self) -> list[str]:
        """All names, sorted."""
        return self._tenants.names()

    def __contains__(self, tenant: object) -> bool:
        return isinstance(tenant, str) and tenant in self._tenants

    def remove(self, tenant: str) -> None:
        """Delete a tenant and all that it learned. It waits for what the tenant is doing.

        Raises:
            RunError: There is no such tenant, or another process has its run open.
        """
        with self._turn(tenant):
            self._tenants.record(tenant)
            if tenant in self._lent:
                raise RunError(
                    f"{self.path}: the run of {tenant!r} is in use; end the block that has it first"
                )
            self._put_away(tenant)
            folder = self._tenants.run_folder(tenant)
            if not folder.exists():
                self._tenants.remove(tenant)
                return
            with acquire_lock(folder):
                self._tenants.remove(tenant)

    def settings_of(self, tenant: str) -> dict[str, Any]:
        """What its run is made with, by dotted path. Raises RunError if there is no such tenant."""
        own, adapter = self._tenants.record(tenant).settings, self._tenants.adapter_folder(tenant)
        return {**self._settings, **own, **({} if adapter is None else {"model.adapter": str(adapter)})}

    def run_folder(self, tenant: str) -> Path:
        """Where its run is, or will be. Raises RunError if there is no such tenant."""
        return self._tenants.run_folder(self._tenants.record(tenant).name)

    # Learning

    def learn(self, tenant: str, examples: Iterable[Example]) -> StepOutcome:
        """Predict and learn a batch, as ``Run.learn`` does.

        Raises:
            FullError: It is more than the tenant may learn.
            RunError: There is no such tenant.
            Everything that ``Run.learn`` does.
        """
        batch = given_examples(examples)
        with self._turn(tenant):
            record = self._tenants.record(tenant)
            run = self._run(record)
            if record.max_examples is not None:
                held = run.held().num_examples
                if held + len(batch) > record.max_examples:
                    raise FullError(
                        f"tenant {tenant!r} has {held:,} examples and may have {record.max_examples:,}: "
                        f"nothing of this batch of {len(batch):,} was taken"
                    )
            try:
                return run.learn(batch)
            finally:
                self._publish_to_pool(run)

    @contextmanager
    def run(self, tenant: str) -> Iterator[Run]:
        """A tenant's run, for all that a run can do; it is the hub's to close.

        Raises:
            RunError: There is no such tenant.
        """
        with self._turn(tenant):
            run, is_first = self._run(self._tenants.record(tenant)), tenant not in self._lent
            self._lent.add(tenant)
            try:
                yield run
            finally:
                if is_first:
                    self._lent.discard(tenant)
                self._publish_to_pool(run)

    # Predicting

    def predict(self, asked: Asked) -> list[Prediction]:
        """What tenants say of examples or texts; texts of all of them are encoded together.

        Args:
            asked: Tenants and what each is asked.

        Returns:
            One prediction each, in order. A tenant that has learned nothing says nothing (label None).

        Raises:
            InputError: A text is empty.
            RunError: There is no such tenant.
        """
        pairs = checked_pairs(asked)
        examples = given_texts([example for _, example in pairs])
        tenants = [tenant for tenant, _ in pairs]
        with self._turns:
            self._check_open()
        if self._pool is None:
            return self._predict_here(tenants, examples)
        return self._predict_in_pool(self._pool, tenants, examples)

    def predictor(self, tenant: str) -> Served | None:
        """What predicts for a tenant now, published for other processes, too; None: it has learned nothing.

        Raises:
            RunError: There is no such tenant.
        """
        self._tenants.record(tenant)
        return self._head(tenant)

    def _predict_here(self, tenants: Sequence[str], examples: Sequence[Example]) -> list[Prediction]:
        heads = {tenant: self._head(tenant) for tenant in dict.fromkeys(tenants)}
        return predict_together(tenants, examples, heads)

    def _predict_in_pool(
        self, pool: PredictionPool, tenants: Sequence[str], examples: Sequence[Example]
    ) -> list[Prediction]:
        """By prediction processes, where they can: what is learning at the moment predicts here."""
        is_ready = {tenant: self._is_published(tenant) for tenant in dict.fromkeys(tenants)}
        there, here = list[int](), list[int]()
        for place, (tenant, example) in enumerate(zip(tenants, examples, strict=True)):
            is_text = example.text is not None and example.code is None
            (there if is_text and is_ready[tenant] else here).append(place)
        found: dict[int, Prediction] = {}
        if there:
            answers = pool.predict([(tenants[k], str(examples[k].text)) for k in there])
            for place, answer in zip(there, answers, strict=True):
                if answer is None:  # it has begun to learn meanwhile
                    here.append(place)
                else:
                    found[place] = answer
        if here:
            found |= zip(
                here, self._predict_here([tenants[k] for k in here], [examples[k] for k in here]), strict=True
            )
        return [found[place] for place in range(len(tenants))]

    def _is_published(self, tenant: str) -> bool:
        """Whether other processes can predict for a tenant; it is seen to where it is at rest."""
        with self._turns:
            if tenant in self._open:
                return self._is_there(tenant)
        return self._is_there(tenant) or (self._head(tenant) is not None and self._is_there(tenant))

    def _is_there(self, tenant: str) -> bool:
        return tenant in self._tenants and publication_of(self._tenants.run_folder(tenant)).exists()

    # All together

    def stats(self, tenant: str | None = None) -> list[TenantStats]:
        """Figures of one tenant, or of all.

        Raises:
            RunError: There is no such tenant.
        """
        with self._turns:
            runs = dict(self._open)
        return [
            stats_of(self._tenants, name, None if name not in runs else runs[name].stats())
            for name in (self.tenants() if tenant is None else [tenant])
        ]

    def memory(self) -> dict[str, Json]:
        """What is in memory: tenants that predict from there, their bytes (estimated), and runs open.

        ``not_kept`` counts how often a tenant was larger than the whole budget, and was not kept for that.
        ``process_ids`` are of the prediction processes that nobody is asking at the moment.
        """
        with self._turns:
            return {
                "resident_tenants": len(self._heads),
                "resident_mb": round(self._heads.num_bytes / 1e6, 3),
                "open_runs": len(self._open),
                "not_kept": self._heads.num_not_kept,
                "process_ids": [] if self._pool is None else self._pool.process_ids(),
            }

    def save(self) -> None:
        """Write checkpoints of all runs that are open."""
        with self._turns:
            names = list(self._open)
        for name in names:
            with self._turn(name):
                run = self._open.get(name)
                if run is not None:
                    run.save()

    def close(self) -> None:
        """Write checkpoints of what is not saved, and let the folder go. Called twice it does nothing."""
        with self._turns:
            if self._is_closed:
                return
            self._is_closed = True
            runs = list(self._open.items())
        with ExitStack() as closing:
            closing.callback(self._lock_file.close)
            if self._pool is not None:
                closing.callback(self._pool.close)
            for name, run in runs:
                closing.callback(self._let_go, name, run)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _let_go(self, name: str, run: Run) -> None:
        with self._of_tenant[name]:
            if not run.is_closed:
                self._publish(run)
            run.close()

    @contextmanager
    def _turn(self, tenant: str) -> Iterator[None]:
        """One at a time changes a tenant."""
        with self._turns:
            self._check_open()
            own = self._of_tenant.setdefault(tenant, RLock())
        with own:
            with self._turns:
                self._check_open()  # it may have been closed meanwhile
            try:
                yield
            finally:
                if tenant not in self._tenants:
                    with self._turns:
                        self._of_tenant.pop(tenant, None)

    def _check_open(self) -> None:
        if self._is_closed:
            raise RunError(f"{self.path} is closed here; open it again")

    def _run(self, record: TenantRecord) -> Run:
        """A tenant's run, open, in its turn; runs that were not used for longest are closed."""
        name = record.name
        run = self._open.get(name)
        if run is None or run.is_closed:  # it closes itself where it cannot be brought back after a failure
            run = self._opened(record)
        with self._turns:
            self._open[name] = run
            self._open.move_to_end(name)
            self._heads.drop(name)  # what it predicts by is the run's from here on
            others = list(self._open)[: max(0, len(self._open) - _MOST_OPEN)]
        for other in others:
            own = self._of_tenant[other]
            if other != name and own.acquire(blocking=False):  # else it is used after all
                try:
                    self._close(other)
                finally:
                    own.release()
        return run

    def _opened(self, record: TenantRecord) -> Run:
        folder = self._tenants.run_folder(record.name)
        settings = {} if folder.exists() else self.settings_of(record.name)
        return Run.open(folder, settings, models=self.models)

    def _close(self, name: str) -> None:
        """Close a run; what it predicts by stays published."""
        run = self._open.get(name)
        if run is None:
            return
        if not run.is_closed:
            self._publish(run)
        with self._turns:
            del self._open[name]
        run.close()

    def _publish(self, run: Run) -> None:
        try:
            run.publish()
        except StorageError as error:  # it is opened again, then, for each prediction
            _LOG.warning("%s", error)

    def _publish_to_pool(self, run: Run) -> None:
        if self._pool is not None and not run.is_closed:
            self._publish(run)

    def _head(self, name: str) -> Served | None:
        """What a tenant predicts by; None: it has learned nothing."""
        found = self._in_memory(name)
        if found is not None:
            return found
        with self._turn(name):
            record = self._tenants.record(name)
            found, folder = self._in_memory(name), self._tenants.run_folder(name)
            if found is not None or not folder.exists():  # another thread may have brought it back
                return found
            self._put_away(name)  # a run that closed itself
            try:
                # Opened for writing: what a crash left is brought to its newest step.
                with self._opened(record) as run:
                    served = run.predictor() if run.held().num_examples else None
                    self._publish(run)
            except InUseError:  # another process changes it at the moment
                with Run.open(folder, mode="read", models=self.models) as run:
                    return run.predictor()
            return self._heads.get(name, folder) or served

    def _in_memory(self, name: str) -> Served | None:
        """By an open run, or by what a closed one has published."""
        with self._turns:
            self._check_open()
            run = self._open.get(name)
        try:
            if run is not None:
                return run.predictor()  # beside whatever it learns
            return self._heads.get(name, self._tenants.run_folder(name)) if name in self._tenants else None
        except RunError:
            return None  # it has just been closed
        except StateError as error:
            _LOG.warning("%s", error)  # it is made anew
            return None

    def _put_away(self, name: str) -> None:
        with self._turns:
            self._heads.drop(name)
            run = self._open.pop(name, None)
        if run is not None:
            run.close()
