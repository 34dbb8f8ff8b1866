"""Looking closely at what a tenant's journal holds: examples page by page, all records, labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from everlearn.journal.records import UNLEARNABLE, Role, shown_target
from everlearn.journal.rows.label_tallies import held_by_target, tested_pairs
from everlearn.journal.rows.pages import Wanted, page_of
from everlearn.journal.standing.standing import Standing
from everlearn.json_text import json_text
from everlearn.label_set import labels_in, written_set
from everlearn.runtime.deletion.matching import conditions_of
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.journal_views import exported_records
from everlearn.runtime.serving.place import Place
from everlearn.runtime.serving.plain import plain
from everlearn.types import Json

__all__ = ["confused_labels", "examples_page", "records_page", "targets_page"]

_ROLES: Mapping[str, Role] = {"unlearnable": UNLEARNABLE}
"""Names of roles that users know by another one."""
_STATUS_OF_ROLE = {"exam": "exam", "held": "held", "thinned": "thinned", UNLEARNABLE: "unlearnable"}
_MOST_CONFUSED = 5
_MOST_CHARS = 2_000_000


def examples_page(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    """Examples that are wanted, with what was predicted of them and how they stand."""
    folder = _folder(place, asked)
    if folder is None:
        return {"items": [], "next": None}
    with RunFolder.snapshot_of(folder) as run:
        wanted = _wanted(run, asked)
        page = page_of(
            run.journal,
            wanted,
            after=asked["after"],
            newest_first=asked["newest"],
            limit=asked["limit"],
            within=(asked["first"], asked["last"]),
        )
        items: list[dict[str, Json]] = []
        times: dict[int, str] = {}
        num_chars = 0
        for offset in page.offsets:
            if num_chars > _MOST_CHARS:  # of long texts fewer fit on a page
                return plain({"items": items, "next": items[-1]["offset"]})
            items.append(_item(run, offset, times))
            num_chars += len(items[-1]["text"] or "")
        return plain({"items": items, "next": page.next})


def records_page(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    """The next lines of an export in JSON lines, and behind which offset it goes on (null: that was all)."""
    folder = _folder(place, asked)
    if folder is None:
        return {"lines": [], "next": None}
    with RunFolder.snapshot_of(folder) as run:
        lines: list[str] = []
        num_chars, last = 0, run.journal.next_offset - 1
        for offset, record in exported_records(run, asked["after"] + 1, last):
            lines.append(json_text(record))
            num_chars += len(lines[-1])
            if len(lines) == asked["limit"] or num_chars > _MOST_CHARS:
                return {"lines": lines, "next": offset if offset < last else None}
        return {"lines": lines, "next": None}


def confused_labels(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    """All labels: how many examples have each, and what was predicted in its place."""
    folder = _folder(place, asked)
    if folder is None:
        return {"labels": []}
    with RunFolder.snapshot_of(folder) as run:
        if not run.task.counts_by_label:
            return {"labels": []}
        labels_of = labels_in if run.task.targets_are_sets else _the_label
        held: Counter[str] = Counter()
        for target, count in held_by_target(run.journal).items():
            for label in labels_of(target):
                held[label] += count
        arrived: Counter[str] = Counter()
        right: Counter[str] = Counter()
        confused: dict[str, Counter[str]] = {}
        for target, predicted, count in tested_pairs(run.journal):
            said = () if predicted is None else labels_of(predicted)
            targets = labels_of(target)
            for label in targets:
                arrived[label] += count
                right[label] += count if label in said else 0
                if label not in said:
                    confused.setdefault(label, Counter()).update(
                        {other: count for other in said if other not in targets}
                    )
    names = sorted({*held, *arrived}, key=lambda label: (-held[label], label))
    return plain(
        {
            "labels": [
                {
                    "label": label,
                    "examples": held[label],
                    "arrived": arrived[label],
                    "right": right[label],
                    "confused_with": [
                        {"label": other, "count": count}
                        for other, count in confused.get(label, Counter()).most_common(_MOST_CONFUSED)
                    ],
                }
                for label in names
            ]
        }
    )


def targets_page(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    """The targets that the next examples with a label get where it takes another name, and theirs now, by id.

    Those that the guard or a rollback has set aside are left out: a new target would have them learned.
    """
    folder = _folder(place, asked)
    if folder is None:
        return {"targets": {}, "expected": {}, "next": None}
    with RunFolder.snapshot_of(folder) as run:
        run.task.check_predicts(str(run.path))
        in_sets = run.task.targets_are_sets
        page = page_of(
            run.journal,
            Wanted(label=asked["label"], in_sets=in_sets),
            after=asked["after"],
            newest_first=False,
            limit=asked["limit"],
        )
        targets: dict[str, str] = {}
        expected: dict[str, str] = {}
        for offset in page.offsets:
            item = _item(run, offset, {})
            if item["status"] != "set_aside":
                expected[item["id"]] = item["target"]
                targets[item["id"]] = (
                    _renamed(item["target"], asked["label"], asked["name"]) if in_sets else asked["name"]
                )
        return {"targets": targets, "expected": expected, "next": page.next}


def _renamed(target: str, label: str, name: str) -> str:
    return written_set(name if one == label else one for one in labels_in(target))


def _wanted(run: RunFolder, asked: Mapping[str, Json]) -> Wanted:
    role = asked["role"]
    return Wanted(
        label=asked["label"],
        predicted=asked["predicted"],
        role=_ROLES.get(role, role),
        text=asked["text"],
        conditions=conditions_of(run, [(name, value) for name, value in asked["where"]]),
        is_wrong=asked["wrong"],
        in_sets=run.task.targets_are_sets,
    )


def _item(run: RunFolder, offset: int, times: dict[int, str]) -> dict[str, Json]:
    """What is told of an example.

    Args:
        run: Its run.
        offset: Where it is.
        times: Of the steps that were told of before.
    """
    journal = run.journal
    arrival = next(found for _, found in journal.examples.arrivals(offset, offset))
    example, said = arrival.example, arrival.prediction
    step = journal.examples.step_of(offset)
    if step not in times:
        times[step] = journal.step(step).time
    standing = journal.standings.of(offset, arrival.role, example.target)
    target = shown_target(journal.standings.present_target(offset, example.target))
    is_answer = said is not None and run.task.predicts
    return {
        "id": example.id,
        "offset": offset,
        "step": step,
        "time": times[step],
        "text": example.text,
        "target": target,
        "predicted": said.label if said is not None and is_answer else None,
        "confidence": said.confidence if said is not None and is_answer and said.label is not None else None,
        "outlier_score": said.outlier_score if said is not None else None,
        "is_outlier": said is not None and said.is_outlier,
        "status": _status(arrival.role, target, standing),
        "domain": example.domain,
        "fields": dict(example.fields),
    }


def _status(role: Role, target: str | None, standing: Standing) -> str:
    if standing.is_held:
        return "learned"
    if role in _STATUS_OF_ROLE:
        return _STATUS_OF_ROLE[role]
    if target is None:
        return "unlabelled"
    return "waiting" if standing.is_waiting else "set_aside"


def _the_label(target: str) -> tuple[str, ...]:
    return (target,)


def _folder(place: Place, asked: Mapping[str, Json]) -> Path | None:
    """A tenant's run; None: it has none yet."""
    folder = place.folder(asked["tenant"])
    return folder if folder.exists() else None
