"""A hub to predict by: any number of processes beside the one that has it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from everlearn.errors import StateError
from everlearn.models.encoder.adapter_pool import AdapterPool
from everlearn.runtime.fold.served_learner import Served
from everlearn.runtime.given import given_texts
from everlearn.runtime.hub.asking import Asked, checked_pairs, predict_together
from everlearn.runtime.hub.heads import Heads
from everlearn.runtime.hub.looking import known_settings, tenants_at
from everlearn.runtime.run import Run
from everlearn.settings import RunConfig
from everlearn.sharing.trunk_store import TrunkStore
from everlearn.tasks.classification.recorded_coder import load_text_coder
from everlearn.types import Prediction

__all__ = ["HubReader"]

_LOG = logging.getLogger(__name__)


class HubReader:
    """Predicts by what tenants of a hub have published, and else by what they saved last.

    Encoder and heads are mapped: processes that read the same hub have them in memory once. Any thread may
    ask.

    Args:
        path: The hub's folder.
        budget: Bytes of heads that stay mapped; None: no bound.

    Raises:
        RunError: There is no hub.
        StateError: Its record is damaged.
    """

    def __init__(self, path: Path, budget: int | None = None) -> None:
        self._tenants = tenants_at(path)
        self._config = RunConfig().with_settings(known_settings(path) or {})
        self._models = AdapterPool(TrunkStore().trunk)
        self._heads = Heads(budget, self._models)

    def predict(self, asked: Asked) -> list[Prediction]:
        """What tenants say of examples or texts; see ``Hub.predict``.

        Raises:
            InputError: A text is empty.
            RunError: There is no such tenant.
            StateError: What it saved is damaged.
        """
        pairs = checked_pairs(asked)
        examples = given_texts([example for _, example in pairs])
        tenants = [tenant for tenant, _ in pairs]
        heads = {tenant: self._head(tenant) for tenant in dict.fromkeys(tenants)}
        return predict_together(tenants, examples, heads)

    def predict_published(self, asked: Sequence[tuple[str, str]]) -> list[Prediction | None]:
        """The same for texts, by what is published alone; None where a tenant has published nothing."""
        heads: dict[str, Served] = {}
        for tenant in dict.fromkeys(tenant for tenant, _ in asked):
            head = self._published(tenant)
            if head is not None:
                heads[tenant] = head
        known = [place for place, (tenant, _) in enumerate(asked) if tenant in heads]
        examples = given_texts([asked[place][1] for place in known])
        said = predict_together([asked[place][0] for place in known], examples, heads)
        found: list[Prediction | None] = [None] * len(asked)
        for place, prediction in zip(known, said, strict=True):
            found[place] = prediction
        return found

    def prepare(self) -> None:
        """Load the encoder now, and let it find out how it packs texts: the first one would wait for that."""
        load_text_coder(self._config.model, self._models).encode(["a text", "another one"])

    def _head(self, tenant: str) -> Served | None:
        published, run = self._published(tenant), self._tenants.run_folder(tenant)
        if published is not None or not run.exists():
            return published
        with Run.open(run, mode="read", models=self._models) as opened:
            return opened.predictor()

    def _published(self, tenant: str) -> Served | None:
        if tenant not in self._tenants:
            self._tenants.record(tenant)  # says which there are
        try:
            return self._heads.get(tenant, self._tenants.run_folder(tenant))
        except StateError as error:
            _LOG.warning("%s", error)
            return None
