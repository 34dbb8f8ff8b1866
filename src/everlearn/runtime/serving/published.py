"""Predicting by what runs have published: what a service's prediction processes do."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from everlearn.errors import EverlearnError, RunError, StateError
from everlearn.models.encoder.adapter_pool import AdapterPool
from everlearn.models.encoder.coder import TextCoder
from everlearn.runtime.fold.served_learner import Served
from everlearn.runtime.folder.run_folder import RunFolder, is_run_folder
from everlearn.runtime.folder.run_record import read_record
from everlearn.runtime.given import given_texts
from everlearn.runtime.hub.asking import answer_together, places_by_tenant
from everlearn.runtime.hub.heads import Heads
from everlearn.runtime.hub.looking import known_settings, tenants_at
from everlearn.runtime.serving.told import answer_told, error_told
from everlearn.settings import RunConfig
from everlearn.sharing.trunk_store import TrunkStore
from everlearn.tasks.classification.recorded_coder import load_text_coder
from everlearn.tasks.table import task_of
from everlearn.types import Json

__all__ = ["PublishedPredictions"]

_LOG = logging.getLogger(__name__)

_RECORD = "run.json"

Asked = tuple[str, str, int]
"""Tenant, text, and how many labels to name."""


class PublishedPredictions:
    """Answers for the runs of a place, by what they have published.

    A run withdraws what it publishes while it changes. Until something else takes its place, or ``drop`` is
    called, what was read last goes on answering: so nobody waits for learning.

    Args:
        path: A hub, or a run.
        budget: Bytes of heads that stay mapped; None: no bound.

    Raises:
        RunError: There is neither.
        StateError: Its record is damaged.
    """

    def __init__(self, path: Path, budget: int | None = None) -> None:
        self._path = path
        self._models = AdapterPool(TrunkStore().trunk)
        self._heads = Heads(budget, self._models, keeps_withdrawn=True)
        if is_run_folder(path):
            self._tenants = None
            with RunFolder.open_to_read(path) as folder:
                self._config = folder.config
        else:
            self._tenants = tenants_at(path)
            self._config = RunConfig().with_settings(known_settings(path) or {})

    def prepare(self) -> None:
        """Load the encoder now, and let it find out how it packs texts: the first one would wait for that."""
        if task_of(self._config).counts_by_label:
            load_text_coder(self._config.model, self._models).encode(["a text", "another one"])

    def map(self, tenants: Sequence[str]) -> None:
        """Map what tenants have published now: the first text would wait for it."""
        for tenant in tenants:
            with suppress(EverlearnError):  # whoever asks is told
                self._head(tenant)

    def verify_parts(self, tenant: str, parts: Sequence[str]) -> None:
        """Verify now parts of what a tenant will publish in a moment: the next text would wait for it."""
        with suppress(EverlearnError):  # whoever asks is told
            self._heads.verify_parts(tenant, parts)

    def drop(self, tenant: str) -> None:
        """Use what a tenant has published before no longer."""
        self._heads.drop(tenant)

    def answers(self, asked: Sequence[Asked]) -> dict[str, Json]:
        """What is said of texts, and by what.

        Returns:
            ``said``: for each text an answer; an error, where one of its tenant's things is damaged; None
            where the tenant has published nothing. ``by``: for each tenant that answered, version and step.
        """
        heads = dict[str, Served]()
        errors = dict[str, Json]()
        for tenant in dict.fromkeys(tenant for tenant, _, _ in asked):
            try:
                head = self._head(tenant)
            except EverlearnError as error:
                errors[tenant] = error_told(error)
                continue
            if head is not None:
                heads[tenant] = head
        said: list[Json] = [errors.get(tenant) for tenant, _, _ in asked]
        known = [place for place, (tenant, _, _) in enumerate(asked) if tenant in heads]
        for place, answer in zip(known, self._answers([asked[k] for k in known], heads), strict=True):
            said[place] = answer
        by = {tenant: {"version": head.version, "step": head.step} for tenant, head in heads.items()}
        return {"said": said, "by": by}

    def coder(self, tenant: str) -> TextCoder:
        """What reads a tenant's texts.

        Raises:
            RunError: It is no encoder.
            ModelError: It cannot be loaded.
        """
        head = self._head(tenant)
        if head is not None and head.coder is not None:
            return head.coder.text_coder()
        config = self._settings(tenant)[0]
        if not task_of(config).counts_by_label:
            raise RunError(f"{tenant!r} has no encoder: its run is of the task {config.task!r}")
        return load_text_coder(config.model, self._models)

    def about(self, tenants: Sequence[str]) -> dict[str, Json]:
        """What tenants are: their tasks, and when they were made (ISO 8601)."""
        told = {}
        for tenant in tenants:
            with suppress(EverlearnError):  # it was removed a moment ago, or whoever asks it is told
                config, created = self._settings(tenant)
                told[tenant] = {"task": task_of(config).name, "created": created}
        return {"about": told}

    def _settings(self, tenant: str) -> tuple[RunConfig, str]:
        """A tenant's settings, and when it was made."""
        path = self._folder(tenant)
        if is_run_folder(path):
            record = read_record(path / _RECORD)
            return RunConfig.from_mapping(record.config, place=str(path / _RECORD)), record.created
        assert self._tenants is not None, "a run that is served is there"
        tenant_record = self._tenants.record(tenant)
        return self._config.with_settings(tenant_record.settings), tenant_record.created

    def _answers(self, asked: Sequence[Asked], heads: Mapping[str, Served]) -> list[Json]:
        """One answer a text; where a tenant's fail, its alone do."""
        try:
            return _answered(asked, heads)
        except EverlearnError as error:
            places = places_by_tenant(asked)
            if len(places) < 2:
                return [error_told(error)] * len(asked)
        found: list[Json] = [None] * len(asked)
        for own in places.values():
            for place, answer in zip(own, self._answers([asked[k] for k in own], heads), strict=True):
                found[place] = answer
        return found

    def _head(self, tenant: str) -> Served | None:
        try:
            return self._heads.get(tenant, self._folder(tenant))
        except StateError as error:
            _LOG.warning("%s", error)  # it is published anew by whoever has the run
            return None

    def _folder(self, tenant: str) -> Path:
        return self._path if self._tenants is None else self._tenants.run_folder(tenant)


def _answered(asked: Sequence[Asked], heads: Mapping[str, Served]) -> list[Json]:
    examples = given_texts([text for _, text, _ in asked])
    tops = [top for _, _, top in asked]
    answers = answer_together([tenant for tenant, _, _ in asked], examples, heads, tops)
    return [answer_told(answer) for answer in answers]
