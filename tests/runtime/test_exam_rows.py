"""Exams are functions of the journal, however much of it was read before."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.journal.deletion.deletion import delete_examples
from everlearn.journal.deletion.dropped_texts import TextRule, drop_texts
from everlearn.journal.history import History
from everlearn.journal.journal import Journal
from everlearn.journal.records import Arrival, Change, NewStep, Role
from everlearn.tasks.classification.exams import LabelExams
from everlearn.tasks.exam_rows import hash_share
from everlearn.tasks.table import TASKS
from everlearn.tasks.texts.exams import LossExams
from everlearn.types import Example

event = st.one_of(
    st.tuples(st.just("arrive"), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=6)),
    st.tuples(st.just("correct"), st.integers(0, 40), st.integers(0, 3)),
    st.tuples(st.just("set aside"), st.integers(0, 4)),
    st.tuples(st.just("delete"), st.integers(0, 40)),
    st.tuples(st.just("drop"), st.integers(0, 40)),
)


def exam_rows(journal: Journal, *, need_text: bool) -> list[tuple[int, str, str | None, str]]:
    """Offset, id, domain and present target of all that counts, read anew row by row."""
    found = []
    for offset, one in journal.examples.arrivals(1, journal.next_offset - 1):
        target = journal.standings.present_target(offset, one.example.target)
        is_aside = journal.step(journal.examples.step_of(offset)).set_aside is not None
        has_input = one.example.text is not None or not need_text
        if one.role == "exam" and target is not None and not is_aside and has_input:
            found.append((offset, one.example.id, one.example.domain, target))
    return found


def equal_parts(groups: dict[object, list[tuple[float, int]]], size: int) -> list[int]:
    """As many as there is room for of each group, the smallest groups first."""
    chosen: list[int] = []
    waiting = sorted(groups.values(), key=len)
    while waiting:
        group = sorted(waiting[0])
        room = (size - len(chosen)) // len(waiting)
        chosen += [offset for _, offset in group[:room]]
        waiting = waiting[1:]
    return sorted(chosen)


def happen(journal: Journal, what: tuple[object, ...], *, documents: bool) -> None:
    history = History(journal.database)
    offsets = [offset for offset, _ in journal.examples.arrivals(1, journal.next_offset - 1)]
    if what[0] == "arrive":
        assert isinstance(what[1], list)
        arrivals = []
        for k, (label, domain) in enumerate(what[1]):
            number = journal.next_offset + k
            role: Role = "learn" if number % 5 == 0 else "exam"
            fields = {"document": f"d{number // 3}", "part": number % 3, "last": number % 3 == 2}
            arrivals.append(
                Arrival(
                    Example(
                        id=f"m{number}",
                        text=f"text {number}",
                        target=None if label == 3 else f"label {label}",
                        domain=None if domain == 2 else f"domain {domain}",
                        fields=fields if documents else {},
                    ),
                    role,
                    None,
                )
            )
        journal.append(NewStep(arrivals=arrivals), keep_text=True)
    elif what[0] == "correct" and offsets:
        offset = offsets[int(str(what[1])) % len(offsets)]
        change = Change(offset, "pending", None, f"label {what[2]}")
        journal.append(NewStep(changes=[change]), keep_text=False)
    elif what[0] == "set aside" and journal.last_step:
        first = max(1, journal.last_step - int(str(what[1])))
        revision = history.revise("quarantine", first, journal.last_step, "test", {})
        history.set_aside(first, journal.last_step, revision)
    elif what[0] == "delete" and offsets:
        delete_examples(journal, [offsets[int(str(what[1])) % len(offsets)]], reason="test", detail={})
    elif what[0] == "drop" and offsets:
        step = journal.examples.step_of(offsets[int(str(what[1])) % len(offsets)])
        drop_texts(journal, journal.last_offset_of(step), TextRule())


@settings(max_examples=20, deadline=None)
@given(st.lists(event, min_size=1, max_size=14), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_exams_are_those_of_the_whole_journal(
    events: list[tuple[object, ...]], num_recent: int, num_long_term: int, reads_text: bool
) -> None:
    with TemporaryDirectory() as folder, Journal.create(Path(folder) / "journal.sqlite") as journal:
        exams = LabelExams(journal, num_recent, num_long_term, reads_text=reads_text)
        for what in events:
            happen(journal, what, documents=False)
            recent, long_term = exams.choose()
            rows = exam_rows(journal, need_text=reads_text)
            pairs = {offset: target for offset, _, _, target in rows}
            groups: dict[object, list[tuple[float, int]]] = {}
            for offset, id_, domain, target in rows:
                groups.setdefault((target, domain), []).append((hash_share(id_, "long-term"), offset))
            assert recent == list(pairs.items())[-num_recent:]
            assert long_term == [(k, pairs[k]) for k in equal_parts(groups, num_long_term)]
            middle = journal.next_offset // 2
            assert exams.since(middle) == [(k, target) for k, target in pairs.items() if k >= middle]


@settings(max_examples=15, deadline=None)
@given(st.lists(event, min_size=1, max_size=12), st.booleans())
def test_exams_of_texts_are_those_of_the_whole_journal(
    events: list[tuple[object, ...]], documents: bool
) -> None:
    with TemporaryDirectory() as folder, Journal.create(Path(folder) / "journal.sqlite") as journal:
        exams = LossExams(journal, 3, 4, group_of=TASKS["lm" if documents else "seq2seq"].group_of)
        for what in events:
            happen(journal, what, documents=documents)
            recent, long_term = exams.choose()
            items: dict[str, list[tuple[int, str | None, str]]] = {}
            for offset, id_, domain, target in exam_rows(journal, need_text=True):
                name = f"d{int(id_[1:]) // 3}" if documents else id_
                items.setdefault(name, []).append((offset, domain, target))
            expected = {
                pieces[0][0]: (name, pieces[0][1], tuple(one[0] for one in pieces), pieces[0][2])
                for name, pieces in items.items()
            }
            groups: dict[object, list[tuple[float, int]]] = {}
            for offset, (name, domain, _, _) in expected.items():
                groups.setdefault(domain, []).append((hash_share(name, "long-term"), offset))
            found = [(one.name, one.domain, one.offsets, one.target) for one in recent]
            assert found == [expected[k] for k in sorted(expected)[-3:]]
            found = [(one.name, one.domain, one.offsets, one.target) for one in long_term]
            assert found == [expected[k] for k in equal_parts(groups, 4)]
            middle = journal.next_offset // 2
            assert [one.offsets[0] for one in exams.since(middle)] == [
                k for k in sorted(expected) if k >= middle
            ]
