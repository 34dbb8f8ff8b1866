"""A service: its processes and what it knows, put together; what is asked of it, without HTTP."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import psutil

from everlearn.errors import RunError
from everlearn.label_set import written_set
from everlearn.processors import usable_processors
from everlearn.service.author import AUTHOR
from everlearn.service.events import Events
from everlearn.service.fingerprints import Fingerprints
from everlearn.service.folder import service_folder
from everlearn.service.keys import Keys
from everlearn.service.learner import Learner
from everlearn.service.metrics import Metrics
from everlearn.service.problems import Problem
from everlearn.service.process_host import ProcessHost
from everlearn.service.remembered import Remembered, RememberedPredictions
from everlearn.service.telemetry import spans_as_told
from everlearn.service.vectors import Vectors
from everlearn.service.workers import Answered, Workers
from everlearn.service.writers import Writer
from everlearn.settings.service import ServiceConfig

__all__ = ["Service"]

_LOG = logging.getLogger(__name__)

_SECONDS_BETWEEN_SAVES = 30.0
"""Of a run whose model writes; a model may be large."""
_SECONDS_OF_REST = 0.5
"""After so long without a change the fingerprint of the state is computed."""
_REWRITES = frozenset({"forget", "rollback"})
"""After these the same step may mean another state."""


class Service:
    """Serves a run or a hub.

    Args:
        place: Its folder.
        config: Settings.

    Raises:
        RunError: There is neither.

    Attributes:
        is_stopping: Whether it takes nothing new any more.
        failure: Why it could not start; None: it could.
    """

    def __init__(self, place: Path, config: ServiceConfig) -> None:
        self.place = place
        self.config = config
        self.folder = service_folder(place)
        self.keys = Keys(self.folder)
        self.metrics = Metrics()
        self.spans = spans_as_told()
        self.events = Events()
        processors = usable_processors()
        self._host = ProcessHost()
        self.workers = Workers(
            self._host,
            place,
            config.workers or processors,
            budget_mb=config.memory_budget_mb,
            max_batch=config.max_batch,
            max_waiting=config.max_waiting_texts,
            on_batch=self._note_batch,
            on_lost=lambda: self._note_lost("worker"),
        )
        self.vectors = Vectors(self.workers)
        self.learner = Learner(
            self._host,
            place,
            threads=config.learner_threads or max(1, processors // 2),
            publish_share=config.publish_share,
            budget_mb=config.memory_budget_mb,
            max_waiting=config.max_waiting_labels,
            on_published=lambda *told: self._later(self._changed(*told)),
            on_new_parts=lambda *told: self._later(self._verify(*told)),
            on_lost=lambda: self._note_lost("learner"),
        )
        self.writer = Writer(
            self._host,
            place,
            threads=config.learner_threads or max(1, processors // 2),
            timeout_seconds=config.timeout_seconds,
        )
        self.remembered = RememberedPredictions(
            self.folder / "predictions.sqlite",
            keep_days=config.keep_predictions_days,
            most=config.max_kept_predictions,
        )
        self.is_stopping = False
        self.failure: RunError | None = None
        self._asks_learner: set[str] = set()  # tenants that have nothing published
        self._unpublished: set[str] = set()  # tenants whose newest labels are to be published in a moment
        self._fingerprints = Fingerprints()
        self._about: dict[str, dict[str, Any]] = {}
        self._unsaved: set[str] = set()  # tenants that have changed since they were saved to write
        self._saved_at: dict[str, float] = {}
        self._resting: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the processes. Raises RunError where one cannot start; ``failure`` is that error, too."""
        try:
            self.workers.load()
            await self.learner.start()
            for tenant in self.learner.tenants if not self.learner.is_hub else ():
                await self.change("publish", tenant)
            await self.workers.start([] if self.learner.is_hub else list(self.learner.tenants))
        except RunError as error:
            self.failure = error
            await self.stop()
            raise
        self.remembered.start()

    def configure(self, config: ServiceConfig) -> None:
        """Go by other limits from now on; what processes were started with stays."""
        self.config = config
        self.workers.max_batch, self.workers.max_waiting = config.max_batch, config.max_waiting_texts
        self.learner.max_waiting = config.max_waiting_labels
        self.remembered.keep_days = config.keep_predictions_days
        self.remembered.most = config.max_kept_predictions

    def begin_to_stop(self) -> None:
        """Take nothing new any more, and let listeners go."""
        self.is_stopping = True
        for timer in self._resting.values():
            timer.cancel()
        self.events.close()

    async def stop(self) -> None:
        """Do what was accepted, and end the processes."""
        self.begin_to_stop()
        await self.writer.close()
        await self.workers.close()
        await self.learner.close()
        await self._host.close()
        await self.remembered.close()

    def tenant_of(self, name: str | None) -> str:
        """The tenant that is meant.

        Raises:
            Problem: There is no such tenant, or it must be said which.
        """
        tenants = self.learner.tenants
        if name is None:
            if len(tenants) == 1 and not self.learner.is_hub:
                return next(iter(tenants))
            raise Problem("tenant-missing", f"there are {len(tenants):,} tenants")
        if name not in tenants:
            raise Problem("tenant-unknown", f"there is no tenant {name!r}")
        return name

    async def about(self, tenant: str) -> dict[str, Any]:
        """What stays the same of a tenant: its ``task``, and when it was ``created`` (ISO 8601)."""
        if tenant not in self._about:
            await self._learn_about([tenant])
        if tenant not in self._about:
            raise Problem("tenant-unknown", f"there is no tenant {tenant!r}")
        return self._about[tenant]

    async def takes_sets(self, tenant: str) -> bool:
        """Whether the texts of a tenant have several labels each. Raises Problem as ``about``."""
        return bool((await self.about(tenant))["task"] == "multilabel")

    async def about_all(self) -> dict[str, dict[str, Any]]:
        """The same of all tenants, by name."""
        await self._learn_about([name for name in self.learner.tenants if name not in self._about])
        return {name: self._about[name] for name in sorted(self.learner.tenants) if name in self._about}

    async def _learn_about(self, tenants: Sequence[str]) -> None:
        if tenants:
            self._about |= (await self.workers.tell("about", tenants=list(tenants)))["about"]

    # Predicting

    async def predict(
        self, tenant: str, texts: Sequence[str], top: int, version: int | None
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """What a tenant says of texts, and what every answer bears.

        Raises:
            Problem: Something is wrong with a text, too many are waiting, or it took too long.
        """
        moment = self._fingerprints.moment(tenant)
        try:
            async with asyncio.timeout(self.config.timeout_seconds):
                if version is not None or tenant in self._asks_learner:
                    return await self._ask_learner(tenant, texts, top, version)
                answers = self.workers.ask(tenant, texts, top)
                if len(answers) == 1:
                    found = [await answers[0]]
                else:
                    found = await _all(answers)
        except TimeoutError:
            raise Problem(
                "timed-out",
                f"there was no answer within {self.config.timeout_seconds:g} s",
                retry_after=1,
            ) from None
        if any(one.said is None for one in found):
            return await self._ask_learner(tenant, texts, top, None)
        newest = max(found, key=lambda one: one.by["step"])
        await self._know_version(tenant, newest.by["version"])
        borne = self._fingerprints.borne(tenant, newest.by, moment)
        return [one.said for one in found if one.said is not None], borne

    def remember(
        self, tenant: str, texts: Sequence[str], said: Sequence[Mapping[str, Any]], by: Mapping[str, Any]
    ) -> list[str]:
        """Keep predictions for feedback; returns their ids."""
        now = time.time()
        kept = [
            Remembered(
                id=f"p-{secrets.token_hex(12)}",
                tenant=tenant,
                time=now,
                text=text,
                label=_label_of(one),
                probability=one.get("probability"),
                outlier_score=one.get("outlier_score"),
                is_outlier=bool(one.get("is_outlier")),
                version=by["version"],
                step=by["step"],
            )
            for text, one in zip(texts, said, strict=True)
        ]
        self.remembered.note(kept)
        return [one.id for one in kept]

    def note_predictions(self, tenant: str, said: Sequence[Mapping[str, Any]]) -> None:
        """Count predictions, and how sure they are."""
        self.metrics.predictions.labels(tenant).inc(len(said))
        confidence = self.metrics.confidence.labels(tenant)
        for one in said:
            if one.get("probability") is not None:
                confidence.observe(one["probability"])
            if one.get("is_outlier"):
                self.metrics.outliers.labels(tenant).inc()

    def bears(self, tenant: str, by: Mapping[str, Any]) -> dict[str, Any]:
        """What every answer bears."""
        return self._fingerprints.borne(tenant, by)

    async def _ask_learner(
        self, tenant: str, texts: Sequence[str], top: int, version: int | None
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        moment = self._fingerprints.moment(tenant)
        told = await self.learner.ask("answer", tenant, texts=list(texts), top=top, version=version)
        await self._know_version(tenant, told["by"]["version"])
        return told["said"], self._fingerprints.borne(tenant, told["by"], moment)

    # Changing

    async def learn(self, tenant: str, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Let a tenant learn examples; durable when it returns.

        Args:
            tenant: The tenant.
            examples: By the names of ``Example``; those without id get one.

        Raises:
            Problem: Too many are waiting, or the run refuses.
        """
        if self.is_stopping:
            raise Problem("stopping", "the service is stopping", retry_after=5)
        with self.spans.span("learn", {"everlearn.tenant": tenant, "everlearn.examples": len(examples)}):
            told = await self.learner.learn(tenant, examples, AUTHOR.get())
        for one in told["results"]:
            self.metrics.learned.labels(tenant, one["status"]).inc()
        self._unsaved.add(tenant)
        await self._changed(tenant, told)
        self.events.tell(
            "learned",
            tenant,
            step=told["step"],
            examples=len(told["results"]),
            right=sum(
                one.get("predicted") is not None and one["predicted"] == example.get("target")
                for one, example in zip(told["results"], examples, strict=True)
            ),
            version=told["new_version"],
        )
        return _with_step(told) | self.bears(tenant, told.get("by") or {"step": told["step"]})

    async def change(self, op: str, tenant: str, **asked: Any) -> dict[str, Any]:
        """Anything else that changes a tenant.

        Raises:
            Problem: The run refuses, or something cannot be written.
        """
        if self.is_stopping:
            raise Problem("stopping", "the service is stopping", retry_after=5)
        with self._fingerprints.rewriting(tenant) if op in _REWRITES else nullcontext():
            told = await self.learner.ask(op, tenant, author=AUTHOR.get(), **asked)
        self._fingerprints.drop_versions(tenant)
        by = told.get("by")
        if op == "rollback" and by is not None and by["version"] is None:
            moment = self._fingerprints.moment(tenant)
            self._fingerprints.note_newest(tenant, by["step"], told["fingerprint"], moment)
        if op != "publish":
            self._unsaved.add(tenant)
        await self._changed(tenant, told)
        return _with_step(told) | self.bears(tenant, told.get("by") or {"step": told.get("step", 0)})

    async def save_to_write(self, tenant: str) -> None:
        """Save what a tenant has learned since a text was written: that is what models that write go by.

        Not again and again while texts are written and learned.
        """
        since = time.monotonic() - self._saved_at.get(tenant, -_SECONDS_BETWEEN_SAVES)
        if tenant not in self._unsaved or since < _SECONDS_BETWEEN_SAVES:
            return
        self._unsaved.discard(tenant)
        self._saved_at[tenant] = time.monotonic()
        try:
            await self.learner.ask("save", tenant)
        except Problem as problem:  # what was saved before writes
            _LOG.warning("what %s has learned could not be saved: %s", tenant, problem)

    async def look(self, op: str, tenant: str | None = None, **asked: Any) -> dict[str, Any]:
        """Look something up. Raises Problem where there is no such thing."""
        return await self.learner.ask(op, tenant, **asked)

    async def fingerprint(self, tenant: str) -> dict[str, Any]:
        """The fingerprint of a tenant's newest state, computed now."""
        moment = self._fingerprints.moment(tenant)
        told = await self.look("fingerprint", tenant)
        self._fingerprints.note_newest(tenant, told["step"], told["fingerprint"], moment)
        return told

    async def add_tenant(self, name: str, settings: Mapping[str, Any], max_examples: int | None) -> None:
        """Add a tenant to a hub. Raises Problem where there is one of this name, or a setting is wrong."""
        if name in self.learner.tenants:
            raise Problem("tenant-exists", f"there is a tenant {name!r}")
        await self.learner.ask("add", name, settings=dict(settings), max_examples=max_examples)
        self.learner.tenants.add(name)
        self.events.tell("tenant-added", name, by=AUTHOR.get())
        _LOG.info("a tenant was added", extra={"tenant": name, "author": AUTHOR.get()})

    async def set_quota(self, name: str, max_examples: int | None) -> None:
        """Let a tenant of a hub learn so many examples; None: any number."""
        await self.change("quota", name, max_examples=max_examples)
        self.events.tell("quota-set", name, max_examples=max_examples, by=AUTHOR.get())

    async def remove_tenant(self, name: str) -> None:
        """Remove a tenant with all that it learned."""
        with self._fingerprints.rewriting(name):  # another one may get its name
            await self.learner.ask("remove", name)
        self.learner.tenants.discard(name)
        self._about.pop(name, None)
        await self.workers.drop(name)
        await self.remembered.forget_tenant(name)
        self.events.tell("tenant-removed", name, by=AUTHOR.get())
        _LOG.info("a tenant was removed", extra={"tenant": name, "author": AUTHOR.get()})

    async def _changed(self, tenant: str, told: Mapping[str, Any]) -> None:
        """Let predictions be made by what there is now; what is not published yet will be in a moment."""
        if "published" in told:
            self._unpublished.discard(tenant)
        else:
            self._unpublished.add(tenant)
        if told.get("published"):
            self._asks_learner.discard(tenant)
        elif "published" in told and tenant not in self._asks_learner:
            self._asks_learner.add(tenant)
            await self.workers.drop(tenant)
        by = told.get("by")
        if by is not None:
            await self._know_version(tenant, by["version"])
            self.metrics.step.labels(tenant).set(by["step"])
            self.metrics.version.labels(tenant).set(by["version"] or 0)
        timer = self._resting.pop(tenant, None)
        if timer is not None:
            timer.cancel()
        loop = asyncio.get_running_loop()
        self._resting[tenant] = loop.call_later(_SECONDS_OF_REST, self._rest, tenant)

    async def _verify(self, tenant: str, parts: Sequence[str]) -> None:
        """Let those who predict verify what is published in a moment."""
        await self.workers.verify(tenant, parts)
        await self.learner.verified(tenant)

    def _rest(self, tenant: str) -> None:
        """Nothing has changed for a while: there is time for the fingerprint."""
        self._resting.pop(tenant, None)
        self._later(self._note_fingerprint(tenant))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _know_version(self, tenant: str, version: int | None) -> None:
        """See to it that the fingerprint of a version is known."""
        if not self._fingerprints.knows(tenant, version):
            told = await self.look("versions", tenant)
            self._fingerprints.note_versions(tenant, told["versions"])

    async def _note_fingerprint(self, tenant: str) -> None:
        try:
            told = await self.fingerprint(tenant)
            stats, memory = (await self.look("stats", tenant))["stats"], await self.look("memory")
        except Problem as problem:  # it is removed, or the service is stopping
            _LOG.debug("no fingerprint of %s: %s", tenant, problem)
            return
        self.events.tell("state", tenant, step=told["step"], fingerprint=told["fingerprint"])
        self.metrics.held.labels(tenant).set(stats["held"])
        if stats["rolling_accuracy"] is not None:
            self.metrics.accuracy.labels(tenant).set(stats["rolling_accuracy"])
        self.metrics.trunk_memory.set(memory["trunks"])
        self.metrics.tenant_memory.set(memory.get("tenants", 0))

    # Figures

    async def measure(self) -> None:
        """Bring the figures of now up to date."""
        metrics = self.metrics
        metrics.waiting_texts.set(self.workers.num_waiting)
        metrics.waiting_labels.set(self.learner.num_waiting)
        metrics.workers.set(self.workers.num_ready)
        metrics.learner.set(int(self.learner.is_ready))
        for name, pid in self.process_ids().items():
            with suppress(psutil.NoSuchProcess):
                metrics.memory.labels(name).set(await asyncio.to_thread(_memory_of, pid))

    def process_ids(self) -> dict[str, int]:
        """Of all processes, by what they do."""
        found = {"service": psutil.Process().pid}
        found |= {f"worker-{k}": pid for k, pid in enumerate(self.workers.process_ids(), start=1)}
        if self._host.pid is not None:
            found["host"] = self._host.pid
        if self.learner.pid is not None:
            found["learner"] = self.learner.pid
        if self.writer.pid is not None:
            found["writer"] = self.writer.pid
        return found

    def _note_batch(self, num_texts: int, seconds: float) -> None:
        self.metrics.batch_texts.observe(num_texts)
        self.metrics.batch_seconds.observe(seconds)
        self.spans.ended("batch", seconds, {"everlearn.texts": num_texts})

    def _note_lost(self, kind: str) -> None:
        if self.is_stopping:
            return
        self.metrics.lost.labels(kind).inc()
        self.events.tell("process-lost", process=kind)
        _LOG.warning("a process (%s) has ended by itself; it is started again", kind)
        if kind == "learner":
            self._later(self._publish_again())

    async def _publish_again(self) -> None:
        """The process that learned has ended: what it had not published, or has withdrawn, comes anew."""
        tenants = self._unpublished if self.learner.is_hub else self.learner.tenants
        for tenant in list(tenants):
            with suppress(Problem):  # the next change of the tenant does it
                await self.change("publish", tenant)


def _with_step(told: dict[str, Any]) -> dict[str, Any]:
    """What a change came to, with the journal's step apart from that of what answers now."""
    return told | ({"journal_step": told["step"]} if "step" in told else {})


def _memory_of(pid: int) -> int:
    """Bytes of a process; what it shares with others counts by its share of it, where the system tells."""
    told = psutil.Process(pid).memory_full_info()
    return int(getattr(told, "pss", told.rss))


async def _all(answers: Sequence[asyncio.Future[Answered]]) -> list[Answered]:
    """All answers; where one is an error, nobody waits for the others."""
    try:
        return await asyncio.gather(*answers)
    except BaseException:
        for answer in answers:
            answer.cancel()
        raise


def _label_of(said: Mapping[str, Any]) -> str | None:
    """What was said, as a target."""
    if said.get("labels") is not None:
        return written_set(said["labels"])
    label: str | None = said.get("label", said.get("translation"))
    return label
