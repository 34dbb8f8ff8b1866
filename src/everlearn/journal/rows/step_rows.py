"""Steps and what comes with them as rows of the journal's tables, and steps back from rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from everlearn.journal.checksums import canonical_json, checksum
from everlearn.journal.database import Database, Row
from everlearn.journal.records import After, Arrival, Flag, KeptRejection, NewStep, Step
from everlearn.journal.rows.example_rows import code_row, example_row, prediction_row, text_row, verified
from everlearn.journal.rows.fields import fields_without

__all__ = [
    "STEP_COLUMNS",
    "ArrivalRows",
    "insert_flags",
    "insert_rejections",
    "insert_step",
    "step_of",
    "stored_after",
]

STEP_COLUMNS = (
    "step, source, progress, first_offset, last_offset, learned_first, learned_last, num_rejected, after, "
    "set_aside, time, chain, crc"
)


@dataclass(frozen=True, slots=True)
class ArrivalRows:
    """Rows of the examples that come with a step.

    Attributes:
        examples: Of all.
        codes: Of those that have one.
        texts: Of those whose text is kept.
        predictions: Of those that were predicted.
    """

    examples: list[Row]
    codes: list[Row]
    texts: list[Row]
    predictions: list[Row]

    @classmethod
    def of(cls, new: NewStep, step: int, first: int, *, keep_text: bool) -> ArrivalRows:
        """The rows of a step, whose examples begin at offset ``first``."""
        arrivals = list(enumerate(new.arrivals, start=first))
        kept = [(offset, arrival if keep_text else _without_text(arrival)) for offset, arrival in arrivals]
        return cls(
            examples=[example_row(offset, step, arrival.example, arrival.role) for offset, arrival in kept],
            codes=[
                code_row(offset, arrival.example.code)
                for offset, arrival in arrivals
                if arrival.example.code is not None
            ],
            texts=[
                text_row(offset, arrival.example.text)
                for offset, arrival in arrivals
                if keep_text and arrival.example.text is not None
            ],
            predictions=[
                prediction_row(offset, arrival.prediction)
                for offset, arrival in arrivals
                if arrival.prediction is not None
            ],
        )

    def insert(self, database: Database) -> None:
        """Write them."""
        for table, rows in (
            ("examples", self.examples),
            ("codes", self.codes),
            ("texts", self.texts),
            ("predictions", self.predictions),
        ):
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


def _without_text(arrival: Arrival) -> Arrival:
    """Without fields that repeat the example's text."""
    example = arrival.example
    if not example.fields or example.text is None:
        return arrival
    return replace(arrival, example=replace(example, fields=fields_without(example.fields, [example.text])))


def insert_step(database: Database, step: Step, source: int | None) -> None:
    """Write a step's own row.

    Args:
        database: The journal's.
        step: The step.
        source: Number of the stream that it took from.
    """
    values = (
        step.step,
        source,
        None if step.progress is None else canonical_json(dict(step.progress)),
        *(step.arrived or (None, None)),
        *(step.learned or (None, None)),
        step.num_rejected,
        stored_after(step.after),
        step.set_aside,
        step.time,
        step.chain,
    )
    database.execute(
        f"INSERT INTO steps ({STEP_COLUMNS}) VALUES ({', '.join('?' * 13)})", (*values, checksum(*values))
    )


def stored_after(after: After) -> str | None:
    """What is done after a step, in the form that its chain is made of; None: nothing."""
    value = after.to_json()
    return canonical_json(value) if value else None


def insert_flags(database: Database, step: int, flags: Sequence[Flag]) -> None:
    """Write what looks suspicious."""
    if flags:
        database.executemany(
            "INSERT INTO flags VALUES (?,?,?,?,?,?)",
            [(flag.offset, step, flag.reason, flag.score, flag.policy, flag.resolved) for flag in flags],
        )


def insert_rejections(database: Database, step: int, rejected: Sequence[KeptRejection]) -> None:
    """Write the records that gave no example."""
    if rejected:
        database.executemany(
            "INSERT INTO rejections (step, place, reason, excerpt, id) VALUES (?,?,?,?,?)",
            [
                (step, record.place, record.reason, _storable(record.excerpt), record.id)
                for record in rejected
            ],
        )


def step_of(row: Row, source: str | None) -> Step:
    """A step from a row of ``STEP_COLUMNS``.

    Args:
        row: The row.
        source: Key of the stream that it took from.
    """
    number, _, progress, first, last, learned_first, learned_last, num_rejected, after, aside, time, chain = (
        verified(row, "steps")
    )
    return Step(
        step=number,  # type: ignore[arg-type]
        source=source,
        progress=json.loads(str(progress)) if progress else None,
        arrived=None if first is None else (first, last),  # type: ignore[arg-type]
        learned=None if learned_first is None else (learned_first, learned_last),  # type: ignore[arg-type]
        num_rejected=num_rejected,  # type: ignore[arg-type]
        after=After.from_json(json.loads(str(after))) if after else After(),
        set_aside=aside,  # type: ignore[arg-type]
        time=time,  # type: ignore[arg-type]
        chain=chain,  # type: ignore[arg-type]
    )


def _storable(text: str) -> str:
    # An excerpt of a binary file may hold lone surrogates, which have no UTF-8 form.
    return text.encode("utf-8", "replace").decode()
