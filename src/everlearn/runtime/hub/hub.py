"""A hub: a folder of runs (tenants) on one encoder, which is in memory once for all of them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock, RLock
from typing import IO, Any, Self

import numpy as np

from everlearn.errors import ConfigError, InputError, RunError
from everlearn.journal.durable_files import make_folder, storage_errors, write_json
from everlearn.journal.lock import LOCK_NAME, acquire_lock
from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.models.encoder.pool import ModelPool
from everlearn.runtime.fold.served_learner import Served
from everlearn.runtime.given import given_settings, given_texts
from everlearn.runtime.hub.looking import FORMAT, RECORD, TenantStats, known_settings, stats_of
from everlearn.runtime.hub.sizes import head_bytes
from everlearn.runtime.hub.tenants import TenantRecord, Tenants
from everlearn.runtime.run import Run
from everlearn.runtime.step_outcome import StepOutcome
from everlearn.settings import RunConfig
from everlearn.sharing.residency import Residency
from everlearn.sharing.trunk_store import TrunkStore
from everlearn.tasks.classification.recorded_coder import load_text_coder
from everlearn.types import Example, Json, Prediction

__all__ = ["Hub"]

_MOST_OPEN = 16
"""Runs that are open for learning at once: each holds a journal with its cache, about 5 MB."""
_SECONDS, _SECONDS_EACH = 0.03, 0.0005
"""About what it takes to bring a tenant back: by itself, and for each of its examples."""
_TASKS = frozenset({"classify", "multilabel"})


class Hub:
    """Many runs that read texts by one encoder. Open it with :meth:`open`, best in a ``with`` block.

    Each tenant is a run of its own: labels, journal, versions, guard; nothing that one learns, forgets or
    breaks is seen by another. What they share is the encoder, once in the memory of the machine, and the
    forward pass of a batch, whosever texts are in it.

    What tenants predict by is kept in memory within a budget, and brought back from their folders when it is
    asked for. One process at a time has a hub. Its methods may be called from any thread: tenants learn
    beside each other, and predictions wait for no learning.

    Attributes:
        path: The folder.
        models: Gives the encoder, which all processes of the machine share.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], lock: IO[str], budget: int | None) -> None:
        self.path = path
        self._settings = dict(settings)
        self._config = RunConfig().with_settings(self._settings)
        self._lock_file = lock
        self._turns = Lock()  # for what follows; held for moments only
        self._of_tenant: dict[str, RLock] = {}  # held while a tenant's run is opened, changed or closed
        self._tenants = Tenants(path, is_owner=True)
        self.models = ModelPool(TrunkStore().trunk)
        self._heads: Residency[Served] = Residency(budget)
        self._open: OrderedDict[str, Run] = OrderedDict()
        self._lent: set[str] = set()  # whose runs somebody has within a block
        self._num_not_kept = 0
        self._is_closed = False

    @classmethod
    def open(
        cls,
        path: str | Path,
        settings: Mapping[str, Any] | None = None,
        *,
        memory_budget_mb: float | None = None,
    ) -> Hub:
        """Open a hub; where there is none, one is made.

        Args:
            path: The folder.
            settings: What runs of new tenants are made with, by dotted path or nested, as of ``Run.open``. A
                hub keeps those that it was made with.
            memory_budget_mb: For what tenants predict by, all together, in 10⁶ bytes; None: no bound. The
                encoder comes on top.

        Raises:
            ConfigError: A setting is wrong, or differs from one that the hub keeps.
            RunError: The folder is in use, or holds something else.
            StateError: ``hub.json`` is damaged.
            StorageError: The folder cannot be made.
        """
        path, given = Path(path), given_settings(settings)
        budget = None
        if memory_budget_mb is not None:
            if isinstance(memory_budget_mb, bool) or not isinstance(memory_budget_mb, int | float):
                raise ConfigError(f"memory_budget_mb must be a number, not {memory_budget_mb!r}")
            budget = int(memory_budget_mb * 1e6)
            if budget <= 0:
                raise ConfigError(f"a memory budget of {memory_budget_mb} MB holds nothing")
        with ExitStack() as opened:
            if not (path / RECORD).exists():
                _check_settings(given)
            with storage_errors(path):
                try:
                    make_folder(path)
                except FileExistsError:
                    raise RunError(f"{path} exists and is not a folder; choose another for the hub") from None
                record = path / RECORD
                if not record.exists() and (foreign := _foreign(path)):
                    raise RunError(f"{path} is not empty and no hub (it holds {foreign}); choose another")
                lock = opened.enter_context(acquire_lock(path))
            known = known_settings(path)
            if known is None:
                with storage_errors(record):
                    write_json(record, {"format": FORMAT, "settings": given}, indent=1)
                known = given
            for name, value in given.items():
                if known.get(name) != value:
                    has = f"has {known[name]!r}" if name in known else "was made without it"
                    raise ConfigError(f"{name}: {value!r}, but {path} {has}, and keeps what it was made with")
            hub = cls(path, known, lock, budget)
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
            settings: Of its run, beside the hub's.
            max_examples: Most examples that it may learn; None: no bound.

        Raises:
            ConfigError: The name is none, or a setting is wrong.
            RunError: There is one of this name.
        """
        given = given_settings(settings)
        _check_settings({**self._settings, **given})
        if max_examples is not None and max_examples < 1:
            raise ConfigError(f"max_examples must be at least 1, not {max_examples}")
        with self._turn(tenant):
            return self._tenants.add(tenant, given, max_examples)

    def tenants(self) -> list[str]:
        """All names, sorted."""
        return self._tenants.names()

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
        return {**self._settings, **self._tenants.record(tenant).settings}

    def run_folder(self, tenant: str) -> Path:
        """Where its run is, or will be. Raises RunError if there is no such tenant."""
        return self._tenants.run_folder(self._tenants.record(tenant).name)

    # Learning

    def learn(self, tenant: str, examples: Iterable[Example]) -> StepOutcome:
        """Predict and learn a batch, as ``Run.learn`` does.

        Raises:
            InputError: It is more than the tenant may learn; or see ``Run.learn``.
            RunError: There is no such tenant.
        """
        batch = list(examples)
        with self._turn(tenant):
            record = self._tenants.record(tenant)
            run = self._run(record)
            if record.max_examples is not None:
                held = run.held().num_examples
                if held + len(batch) > record.max_examples:
                    raise InputError(
                        f"tenant {tenant!r} has {held:,} examples and may have {record.max_examples:,}: "
                        f"nothing of this batch of {len(batch):,} was taken"
                    )
            return run.learn(batch)

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

    # Predicting

    def predict(self, asked: Sequence[tuple[str, Example | str]]) -> list[Prediction]:
        """What tenants say of examples or texts; texts of all of them are encoded together.

        Args:
            asked: Tenants and what each is asked.

        Returns:
            One prediction each, in order. A tenant that has learned nothing says nothing (label None).

        Raises:
            InputError: A text is empty.
            RunError: There is no such tenant.
        """
        asked = [_pair(one) for one in asked]
        examples = given_texts([example for _, example in asked])
        places: dict[str, list[int]] = {}
        for place, (tenant, _) in enumerate(asked):
            places.setdefault(tenant, []).append(place)
        with self._turns:
            self._check_open()
        heads = {tenant: self._head(tenant) for tenant in places}
        examples = self._with_codes(examples, [heads[tenant] for tenant, _ in asked])
        found: list[Prediction | None] = [None] * len(examples)
        for tenant, own in places.items():
            head = heads[tenant]
            said = _nothing(len(own)) if head is None else head.predict([examples[k] for k in own])
            for place, prediction in zip(own, said, strict=True):
                found[place] = prediction
        return [prediction for prediction in found if prediction is not None]

    def _with_codes(self, examples: Sequence[Example], heads: Sequence[Served | None]) -> list[Example]:
        """Texts of tenants that read by the hub's encoder, encoded in one pass."""
        ready = list(examples)
        wanting = [
            place
            for place, (example, head) in enumerate(zip(examples, heads, strict=True))
            if head is not None
            and head.coder is not None
            and example.code is None
            and example.text is not None
        ]
        if not wanting:
            return ready
        coder = load_text_coder(self._config.model, self.models)
        own = [place for place in wanting if _coder_of(heads[place]) == coder.fingerprint]
        codes = coder.encode_examples([examples[place] for place in own])
        for place, code in zip(own, codes, strict=True):
            ready[place] = replace(examples[place], code=code)
        return ready

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
        """
        with self._turns:
            return {
                "resident_tenants": len(self._heads),
                "resident_mb": round(self._heads.num_bytes / 1e6, 3),
                "open_runs": len(self._open),
                "not_kept": self._num_not_kept,
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
            for name, run in runs:
                closing.callback(self._let_go, name, run)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _let_go(self, name: str, run: Run) -> None:
        with self._of_tenant[name]:
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
            self._heads.drop(name)  # what it predicts by changes now
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
        settings = {} if folder.exists() else {**self._settings, **record.settings}
        return Run.open(folder, settings, models=self.models)

    def _close(self, name: str) -> None:
        """Close a run, which goes on predicting from memory."""
        run = self._open.get(name)
        if run is None:
            return
        head = None
        if not run.is_closed and (num := run.held().num_examples):
            head = self._kept(name, run, _SECONDS + num * _SECONDS_EACH)
        with self._turns:
            del self._open[name]
        if head is None:
            self._put_away(name)
        run.close()

    def _kept(self, name: str, run: Run, seconds: float) -> Served:
        """What a run predicts by, in memory from now on if there is room.

        Args:
            name: The tenant's.
            run: Its run.
            seconds: What it takes to bring it back.
        """
        head, held = run.predictor(), run.held()
        config = ClosedFormConfig.from_json(held.learner.config)
        size = head_bytes(held.num_examples, held.num_labels, held.learner.dense_size or 0, config)
        with self._turns:
            gone = self._heads.put(name, head, size, cost=seconds)
            self._num_not_kept += any(one is head for one in gone)
        return head

    def _head(self, name: str) -> Served | None:
        """What a tenant predicts by; None: it has learned nothing."""
        found = self._in_memory(name)
        if found is not None:
            return found
        with self._turn(name):
            record = self._tenants.record(name)
            found = self._in_memory(name)  # another thread may have brought it back
            if found is not None or not self._tenants.run_folder(name).exists():
                return found
            self._put_away(name)  # a run that closed itself
            started = time.perf_counter()
            # Opened for writing: what a crash left is brought to its newest step.
            with self._opened(record) as run:
                seconds = time.perf_counter() - started
                return self._kept(name, run, seconds) if run.held().num_examples else None

    def _in_memory(self, name: str) -> Served | None:
        with self._turns:
            self._check_open()
            run = self._open.get(name)
            if run is None:
                return self._heads.get(name)
        try:
            return run.predictor()  # beside whatever it learns
        except RunError:
            return None  # it has just been closed

    def _put_away(self, name: str) -> None:
        with self._turns:
            self._heads.drop(name)
            run = self._open.pop(name, None)
        if run is not None:
            run.close()


def _pair(asked: tuple[str, Example | str]) -> tuple[str, Example | str]:
    if not isinstance(asked, tuple | list) or len(asked) != 2:
        raise InputError(f"give pairs of a tenant and a text or example, not {asked!r}")
    return asked[0], asked[1]


def _coder_of(head: Served | None) -> str | None:
    return None if head is None else head.coder


def _nothing(num: int) -> list[Prediction]:
    return [Prediction(None, (), np.zeros(0)) for _ in range(num)]


def _foreign(path: Path) -> str | None:
    return next((entry.name for entry in sorted(path.iterdir()) if entry.name != LOCK_NAME), None)


def _check_settings(settings: Mapping[str, Any]) -> None:
    config = RunConfig().with_settings(settings)
    if config.task not in _TASKS or config.learner.kind != "closed-form":
        raise ConfigError(
            "tenants of a hub classify by the closed-form learner (task classify or multilabel); "
            f"not task {config.task!r} with learner {config.learner.kind!r}"
        )
