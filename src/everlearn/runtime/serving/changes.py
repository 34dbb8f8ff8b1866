"""What changes a tenant, but for labels: by the names that a service asks for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from everlearn.errors import ConfigError
from everlearn.journal.records import KnownExample
from everlearn.runtime.deletion.forget import ForgetOutcome
from everlearn.runtime.history.lineage import list_versions
from everlearn.runtime.run import Run
from everlearn.runtime.serving.labels import SET_ASIDE
from everlearn.runtime.serving.place import HubPlace, Place
from everlearn.runtime.serving.told import UnknownExampleError, UnknownVersionError
from everlearn.types import Json

__all__ = ["CHANGES"]

Change = Callable[[Place, str, Mapping[str, Json]], dict[str, Json]]


def _correct(place: Place, tenant: str, asked: Mapping[str, Json]) -> dict[str, Json]:
    run: Run
    with place.run(tenant) as run:
        targets = asked["targets"]
        if asked.get("expected") is not None:
            targets = _still_as_expected(run, targets, asked["expected"])
        _check_known(run, targets)
        outcome = run.correct(targets)
        refused = {one.id: one.reason for one in outcome.rejected}
        known = run.known(list(targets))
    results = [
        {"id": id_, **_corrected(target, known.get(id_), refused.get(id_))} for id_, target in targets.items()
    ]
    return {"results": results, "step": outcome.step, "notes": list(outcome.notes)}


def _still_as_expected(
    run: Run, targets: Mapping[str, Json], expected: Mapping[str, Json]
) -> dict[str, Json]:
    """Without those that were deleted, or corrected by somebody, since their targets were looked up."""
    known = run.known(list(targets))
    return {
        id_: target for id_, target in targets.items() if id_ in known and known[id_].target == expected[id_]
    }


def _corrected(target: str, now: KnownExample | None, refused: str | None) -> dict[str, Json]:
    """What became of an example, which the journal may know no more."""
    offset = None if now is None else now.offset
    if now is None or now.target != target:
        return {"status": "rejected", "offset": offset, "reason": refused}
    if now.is_set_aside:
        return {"status": "set_aside", "offset": offset, "reason": SET_ASIDE}
    return {"status": "corrected", "offset": offset, "reason": None}


def _check_known(run: Run, ids: Mapping[str, Json]) -> None:
    known = run.known(list(ids))
    unknown = next((id_ for id_ in ids if id_ not in known), None)
    if unknown is not None:
        raise UnknownExampleError(f"no example has the id {unknown!r}, or it was deleted")


def _forget(place: Place, tenant: str, asked: Mapping[str, Json]) -> dict[str, Json]:
    run: Run
    with place.run(tenant) as run:
        outcome = run.forget(
            asked.get("ids", ()), where=asked.get("where") or (), approximate=bool(asked.get("approximate"))
        )
    return outcome.to_json() | {"certificate": _certificate(outcome), "notes": list(outcome.notes)}


def _certificate(outcome: ForgetOutcome) -> Json:
    if outcome.certificate is None:
        return None
    return json.loads(Path(outcome.certificate).read_text(encoding="utf-8"))


def _rollback(place: Place, tenant: str, asked: Mapping[str, Json]) -> dict[str, Json]:
    version, folder = asked["version"], place.folder(tenant)
    run: Run
    with place.run(tenant) as run:
        known = [one.version for one in list_versions(folder).versions]
        if version is not None and version not in known:
            raise UnknownVersionError(f"there is no version {version}; there are: {known or 'none'}")
        told = run.rollback(version, keep_learned=bool(asked.get("keep_learned"))).to_json()
        told |= {"went_back_to": version, "serving": list_versions(folder).serving}
        if told["serving"] is None:
            told["fingerprint"] = run.newest()[1]
        return told


def _review(place: Place, tenant: str, asked: Mapping[str, Json]) -> dict[str, Json]:
    run: Run
    with place.run(tenant) as run:
        return run.review(
            accept=asked.get("accept", ()), reject=asked.get("reject", ()), readmit=asked.get("readmit")
        ).to_json()


def _settle(place: Place, tenant: str, asked: Mapping[str, Json]) -> dict[str, Json]:
    run: Run
    with place.run(tenant) as run:
        return {"step": run.settle().step}


def _save(place: Place, tenant: str, asked: Mapping[str, Json]) -> dict[str, Json]:
    run: Run
    with place.run(tenant) as run:
        run.save()
    return {}


def _publish(place: Place, tenant: str, asked: Mapping[str, Json]) -> dict[str, Json]:
    return {}  # which is done after every change


def _add(place: Place, tenant: str, asked: Mapping[str, Json]) -> dict[str, Json]:
    _hub(place).add(tenant, asked.get("settings") or {}, asked.get("max_examples"))
    return {}


def _quota(place: Place, tenant: str, asked: Mapping[str, Json]) -> dict[str, Json]:
    _hub(place).set_quota(tenant, asked["max_examples"])
    return {}


def _remove(place: Place, tenant: str, asked: Mapping[str, Json]) -> dict[str, Json]:
    _hub(place).remove(tenant)
    return {}


def _hub(place: Place) -> HubPlace:
    if not isinstance(place, HubPlace):
        raise ConfigError(f"{place.path} is one run; only a hub has tenants to add, bound or remove")
    return place


CHANGES: Mapping[str, Change] = {
    "add": _add,
    "correct": _correct,
    "forget": _forget,
    "publish": _publish,
    "quota": _quota,
    "remove": _remove,
    "review": _review,
    "rollback": _rollback,
    "save": _save,
    "settle": _settle,
}
