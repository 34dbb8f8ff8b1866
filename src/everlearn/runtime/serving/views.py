"""What a service looks up: by the names that it asks for it. Nothing is changed, and no learning waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from everlearn.errors import RunError
from everlearn.runtime.given import given_texts
from everlearn.runtime.history.journal_views import show_journal
from everlearn.runtime.history.lineage import blame_example, diff_versions, list_versions
from everlearn.runtime.history.review import flagged_examples
from everlearn.runtime.history.rollback import num_to_set_aside
from everlearn.runtime.run import Run
from everlearn.runtime.serving.charts import history_series
from everlearn.runtime.serving.explaining import explain
from everlearn.runtime.serving.looking import confused_labels, examples_page, records_page, targets_page
from everlearn.runtime.serving.place import Place
from everlearn.runtime.serving.tenant_figures import tenant_figures
from everlearn.runtime.serving.told import UnknownExampleError, UnknownVersionError, answer_told
from everlearn.sharing.trunk_store import TrunkStore
from everlearn.types import Json

__all__ = ["VIEWS"]

_NOTHING: Mapping[str, Json] = {
    "label": None,
    "probability": None,
    "top": [],
    "outlier_score": None,
    "is_outlier": False,
}
"""What a tenant says that has learned nothing."""

View = Callable[[Place, Mapping[str, Json]], dict[str, Json]]


def _answer(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    """What a tenant says of texts, by its newest state or by a version; also where nothing is published."""
    served = place.predictor(asked["tenant"], asked.get("version"))
    texts = given_texts(asked["texts"])
    if served is None:
        return {"said": [_NOTHING for _ in texts], "by": {"version": None, "step": 0}}
    return {
        "said": [answer_told(answer) for answer in served.answers(texts, asked["top"])],
        "by": {"version": served.version, "step": served.step},
    }


def _stats(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    run: Run
    with place.run(asked["tenant"]) as run:
        held = run.held()
        now = {
            "held": held.num_examples,
            "labels": held.num_labels,
            "rolling_accuracy": held.rolling_accuracy,
        }
        stats = run.stats()
        return {"stats": stats | now | {"fingerprint": stats["fingerprint"] or None}}


def _memory(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    """Bytes of the trunks that this machine's processes share, and of what tenants predict by."""
    return {"trunks": sum(one.num_bytes for one in TrunkStore().stored() if one.is_used), **place.memory()}


def _fingerprint(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    run: Run
    with place.run(asked["tenant"]) as run:
        step, fingerprint = run.newest()
        return {"version": None, "step": step, "fingerprint": fingerprint}


def _flagged(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    folder = _folder(place, asked)
    flagged = [] if folder is None else flagged_examples(folder, limit=asked["limit"])
    return {"flagged": [one.to_json() for one in flagged]}


def _versions(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    folder = _folder(place, asked)
    if folder is None:
        return {"serving": None, "versions": [], "decisions": []}
    return list_versions(folder).to_json()


def _diff(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    folder = _folder(place, asked)
    try:
        if folder is None:
            raise RunError("there are no versions yet")
        return diff_versions(folder, asked["first"], asked["second"]).to_json()
    except RunError as error:
        raise UnknownVersionError(str(error)) from None


def _set_aside(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    folder = _folder(place, asked)
    try:
        if folder is None:
            raise RunError("there are no versions yet")
        return {"examples_set_aside": num_to_set_aside(folder, asked["version"])}
    except RunError as error:
        raise UnknownVersionError(str(error)) from None


def _blame(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    folder = _folder(place, asked)
    try:
        if folder is None:
            raise RunError(f"no example has the id {asked['id']!r}")
        return blame_example(folder, asked["id"]).to_json()
    except RunError as error:
        raise UnknownExampleError(str(error)) from None


def _journal(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    folder = _folder(place, asked)
    return {} if folder is None else show_journal(folder, num_steps=asked["steps"]).to_json()


def _acts(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    """Who has changed a tenant: a page, and behind which act the next one goes on (null: that was all)."""
    if _folder(place, asked) is None:
        return {"acts": [], "next": None}
    limit = asked["limit"]
    run: Run
    with place.run(asked["tenant"]) as run:
        found = run.acts(
            after=asked["after"],
            limit=limit + 1,
            kind=asked["kind"],
            author=asked["author"],
            newest_first=asked["newest"],
        )
    acts = found[:limit]
    return {
        "acts": [act.to_json() for act in acts],
        "next": acts[-1].number if len(found) > limit else None,
    }


def _tenants(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    return {"tenants": place.tenants(), "is_hub": place.is_hub}


def _folder(place: Place, asked: Mapping[str, Json]) -> Path | None:
    """A tenant's run; None: it has none yet."""
    folder = place.folder(asked["tenant"])
    return folder if folder.exists() else None


VIEWS: Mapping[str, View] = {
    "acts": _acts,
    "answer": _answer,
    "blame": _blame,
    "diff": _diff,
    "examples": examples_page,
    "explain": explain,
    "fingerprint": _fingerprint,
    "flagged": _flagged,
    "history": history_series,
    "journal": _journal,
    "memory": _memory,
    "labels": confused_labels,
    "records": records_page,
    "set_aside": _set_aside,
    "stats": _stats,
    "targets": targets_page,
    "tenant": tenant_figures,
    "tenants": _tenants,
    "versions": _versions,
}
