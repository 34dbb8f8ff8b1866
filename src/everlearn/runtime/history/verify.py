"""``verify``: the journal checked row by row, and folded anew to compare with what is saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everlearn.errors import InputError, RunError, StateError
from everlearn.journal.repair.losses import lost_steps
from everlearn.journal.repair.soundness import require_undamaged
from everlearn.journal.rows.entries import all_ids
from everlearn.journal.rows.rejections import is_naming
from everlearn.journal.standing.held import held_more_than_once
from everlearn.runtime.fold.certificates import CERTIFICATE_FORMAT
from everlearn.runtime.fold.refold import fold_without_state
from everlearn.runtime.folder.run_folder import REJECTED, RunFolder
from everlearn.runtime.listener import SILENT, Listener
from everlearn.runtime.outcomes import figures_of
from everlearn.types import Json

__all__ = ["VerifyOutcome", "verify_run"]

_TRIES = 3


@dataclass(slots=True, kw_only=True)
class VerifyOutcome:
    """What was found.

    Attributes:
        passed: What holds, in sentences.
        failed: What does not.
        unchecked: What is claimed and cannot be told any more.
        fingerprint: Of the independent fold.
    """

    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    fingerprint: str = ""

    @property
    def is_valid(self) -> bool:
        """Whether everything holds."""
        return not self.failed

    def check(self, holds: bool, text: str, otherwise: str) -> None:
        """Note one finding."""
        (self.passed if holds else self.failed).append(text if holds else otherwise)

    def to_json(self) -> dict[str, Json]:
        """As printed by ``verify --json``."""
        return {"valid": self.is_valid, **figures_of(self)}


def verify_run(
    run: Path, *, certificate: Path | None = None, ids: Sequence[str] = (), listener: Listener = SILENT
) -> VerifyOutcome:
    """Fold a run's journal with a fresh learner and compare with what the run, or a certificate, claims.

    Nothing saved is used for it: not a checkpoint, not a version, not a predictor.

    Args:
        run: The run folder; it may be in use.
        certificate: Of a deletion; None: the newest state is compared.
        ids: Ids that the certificate must cover.
        listener: Is told what happens.

    Raises:
        InputError: The certificate cannot be read.
        RunError: Not a run folder, or the certificate is not of this run.
        StateError: The journal is damaged.
    """
    claimed = None if certificate is None else _read_certificate(certificate)
    with RunFolder.open_to_read(run) as folder:
        notes = list(folder.notes)
        for _ in range(_TRIES):
            revision = folder.history.last_revision
            error, outcome = None, VerifyOutcome(failed=list(notes))
            try:
                _verify(folder, claimed, ids, outcome, listener)
            except StateError as found:
                error = found
            if outcome.is_valid and error is None:
                return outcome
            if folder.history.last_revision == revision:
                if error is not None:
                    raise error
                return outcome
            listener.stage("history was changed meanwhile: beginning anew")
    raise RunError(
        f"the history of {run} was changed (examples deleted, or steps set aside) each time while it was "
        "verified; verify it when no other command changes it"
    )


def _verify(
    folder: RunFolder,
    claimed: dict[str, Any] | None,
    ids: Sequence[str],
    outcome: VerifyOutcome,
    listener: Listener,
) -> None:
    listener.stage("checking the journal's pages")
    with folder.snapshot():
        require_undamaged(folder.journal)
        lost = lost_steps(folder.journal)
    if lost:
        outcome.failed.append(
            f"something of {len(lost):,} steps (the first: {lost[0]:,}) was lost to damage: the state "
            "holds them, but no fold can confirm it"
        )
    elif claimed is not None:
        _verify_certificate(folder, claimed, ids, outcome, listener)
    else:
        _verify_newest(folder, outcome, listener)


def _verify_newest(folder: RunFolder, outcome: VerifyOutcome, listener: Listener) -> None:
    checkpoint = folder.newest_checkpoint()
    learner = folder.fresh_learner()
    learner.restore(checkpoint.learner)
    saved = learner.fingerprint()
    listener.stage("folding the journal from its beginning")
    outcome.fingerprint = fold_without_state(folder, checkpoint.step, folder.journal.generation).fingerprint()
    outcome.passed.append(
        f"all {folder.journal.num_examples():,} examples of the journal match their checksums"
    )
    _verify_held_once(folder, outcome)
    outcome.check(
        outcome.fingerprint == saved,
        f"the state after step {checkpoint.step:,} equals a fold of the journal from its beginning",
        f"the state after step {checkpoint.step:,} has fingerprint {saved}, a fold of the journal "
        f"{outcome.fingerprint}",
    )


def _verify_held_once(folder: RunFolder, outcome: VerifyOutcome) -> None:
    with folder.snapshot():
        twice = held_more_than_once(folder.journal)
    ids = ", ".join(map(repr, twice[:10])) + (", …" if len(twice) > 10 else "")
    outcome.check(
        not twice,
        "every example is held at most once",
        f"{len(twice):,} examples were learned more than once and count as often ({ids}); "
        f"`everlearn forget {folder.path} --id …` takes every copy of one out",
    )


def _verify_certificate(
    folder: RunFolder, value: dict[str, Any], ids: Sequence[str], outcome: VerifyOutcome, listener: Listener
) -> None:
    journal = folder.journal
    revisions = {change.revision: change for change in folder.history.revisions()}
    revision = revisions.get(value["revision"])
    if revision is None or revision.kind != "deletion" or journal.last_step < value["step"]:
        raise RunError(f"the certificate is of another run than {folder.path}, or of a later state of it")
    digests = {bytes.fromhex(digest) for digest in value["id_digests"]}
    outcome.check(
        len(digests) == value["num_deleted"],
        f"it names {len(digests):,} deleted examples",
        f"it says {value['num_deleted']:,} examples were deleted, and names {len(digests):,}",
    )
    # No journal holds what was deleted, so nobody can make the state before again.
    outcome.unchecked.append("the fingerprint before the deletion: what it was made of is gone")
    listener.stage("looking for deleted ids")
    present = sum(journal.deleted_ids.digest_of(id_) in digests for id_ in all_ids(journal))
    outcome.check(
        not present,
        f"none of the {len(digests):,} deleted examples is in the journal",
        f"{present:,} of the deleted examples are in the journal",
    )
    _look_into_rejected(folder, lambda id_: journal.deleted_ids.digest_of(id_) in digests, outcome)
    for id_ in ids:
        outcome.check(
            journal.deleted_ids.digest_of(id_) in digests,
            f"the certificate covers id {id_!r}",
            f"the certificate does not cover id {id_!r}",
        )
    generation = journal.generations.known_to(value["revision"])
    later = [
        change
        for change in revisions.values()
        if change.revision > revision.revision and change.first_step <= value["step"]
    ]
    if value.get("num_tuned_before"):
        outcome.unchecked.append(
            f"the trunk, which was tuned when {value['num_tuned_before']:,} of the deleted examples were "
            "there"
        )
    if not value["exact"]:
        outcome.failed.append(
            "the deletion was approximate: the weights keep what they learned, so no fold can prove it"
        )
    elif generation and not folder.generations.last_offset(generation):
        outcome.unchecked.append(
            "the fingerprint after it: the codes of the trunk that counted then were dropped by a "
            "compaction; verify the run itself"
        )
    elif later:
        outcome.unchecked.append(
            f"the fingerprint after it: a later {later[0].kind} ({later[0].time[:19]}) changed what came "
            "before it again; verify the run itself, or the later certificate"
        )
    else:
        listener.stage("folding the journal from its beginning")
        outcome.fingerprint = fold_without_state(folder, value["step"], generation).fingerprint()
        outcome.check(
            outcome.fingerprint == value["fingerprint_after"],
            "a fold of the journal without the deleted examples has the certified fingerprint",
            f"the certificate says {value['fingerprint_after']}, a fold without the deleted examples "
            f"{outcome.fingerprint}",
        )


def _look_into_rejected(folder: RunFolder, is_deleted: Callable[[str], bool], outcome: VerifyOutcome) -> None:
    """Whether a record that was rejected, before the deletion or after it, names a deleted example."""
    path = folder.path / REJECTED
    in_file = 0
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as lines:
            in_file = sum(is_naming(_record_of(line), is_deleted) for line in lines)
    for count, place in (
        (folder.journal.rejections.num_naming(is_deleted), "rejected records in the journal"),
        (in_file, f"records in {path}"),
    ):
        outcome.check(
            not count,
            f"none of the {place} names a deleted example",
            f"{count:,} of the {place} name deleted examples; `everlearn forget` with their ids cleans up",
        )


def _record_of(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    # What is no record of ours is looked at as it stands.
    return value if isinstance(value, dict) else {"excerpt": line}


def _read_certificate(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.json"))) or "none"
        raise InputError(f"there is no certificate {path}; JSON files in its folder: {there}") from None
    except OSError as error:
        raise InputError(f"cannot read the certificate {path}: {error}") from None
    except ValueError:
        value = None
    if not isinstance(value, dict) or value.get("format") != CERTIFICATE_FORMAT:
        raise InputError(
            f"{path} is no deletion certificate; a run keeps its own in certificates/deletion-….json"
        )
    if value.get("format_version") != 1:
        raise InputError(f"{path} is of the newer format version {value.get('format_version')}")
    needed = {
        "revision": int,
        "step": int,
        "num_deleted": int,
        "id_digests": list,
        "exact": bool,
        "fingerprint_after": str,
    }
    for name, kind in needed.items():
        if not isinstance(value.get(name), kind):
            raise InputError(f"{path} is damaged: {name} is missing or not of the right kind")
    return value
