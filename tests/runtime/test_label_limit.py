"""Labels beyond the limit are refused record by record, and the limit can be raised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.merge import merge_runs
from everlearn.runtime.history.verify import verify_run
from everlearn.tasks.label_limit import LabelLimit
from everlearn.types import Example

Settings = dict[str, Any]
WriteCodes = Callable[..., Path]
LIMIT = "learner.closed_form.max_classes"


def _learn(stream: Path, out: Path, given: Settings | None = None) -> dict[str, Any]:
    return learn_stream(LearnRequest(stream=str(stream), out=out, settings=given or {})).summary


def _taken(examples: Sequence[Example], limit: int) -> list[Example]:
    """By the plain rule: the first ``limit`` labels that come are those that are taken."""
    labels = list(dict.fromkeys(str(one.target) for one in examples))[:limit]
    return [one for one in examples if one.target in labels]


@pytest.mark.parametrize(("batch_size", "delay"), [(7, 0), (32, 40)])
def test_one_label_too_many_is_a_rejected_record(
    tmp_path: Path,
    write_codes: WriteCodes,
    clustered: Callable[..., list[Example]],
    small: Settings,
    batch_size: int,
    delay: int,
) -> None:
    examples = clustered(90)
    taken = _taken(examples, 3)
    limited = small | {LIMIT: 3, "stream.batch_size": batch_size, "stream.delay": delay}
    run, plain = tmp_path / "run", tmp_path / "plain"
    summary = _learn(write_codes("all.parquet", examples), run, limited)
    assert (summary["learned"], summary["rejected"]) == (len(taken), len(examples) - len(taken))
    assert summary["fingerprint"] == _learn(write_codes("taken.parquet", taken), plain, small)["fingerprint"]
    with RunFolder.open_to_read(run) as folder:
        refused = list(folder.journal.rejections.all())
    refused_numbers = [k for k, one in enumerate(examples, start=1) if one not in taken]
    assert [one.place for one in refused] == [f"all.parquet, example {k}" for k in refused_numbers]
    assert all("more than the 3 that the run takes (--max-classes)" in one.reason for one in refused)
    # What was refused is taken once there is room.
    rest = write_codes("rest.parquet", [one for one in examples if one not in taken])
    again = _learn(rest, run, {LIMIT: 5})
    assert (again["learned"], again["classes"]) == (90, 5)
    whole = _learn(write_codes("whole.parquet", examples), tmp_path / "whole", small)
    assert again["fingerprint"] == whole["fingerprint"]
    assert verify_run(run).is_valid
    with RunFolder.open_to_read(run) as folder:
        assert folder.config.learner.closed_form.max_classes == 5


def test_a_correction_to_a_label_too_many_is_refused_and_one_to_a_known_label_is_not(
    tmp_path: Path, write_codes: WriteCodes, clustered: Callable[..., list[Example]], small: Settings
) -> None:
    taken = _taken(clustered(60), 3)
    known = sorted({str(one.target) for one in taken})
    run = tmp_path / "run"
    before = _learn(write_codes("a.parquet", taken), run, small | {LIMIT: 3})
    changed = [taken[0].with_target("another"), taken[1].with_target(_other(known, taken[1]))]
    after = _learn(write_codes("b.parquet", changed), run)
    assert (before["rejected"], after["rejected"], after["classes"]) == (0, 1, 3)
    expected = [taken[0], changed[1], *taken[2:]]
    assert (
        after["fingerprint"]
        == _learn(write_codes("c.parquet", expected), tmp_path / "c", small)["fingerprint"]
    )


def test_merged_runs_may_have_more_labels_than_one_may_take(
    tmp_path: Path, write_codes: WriteCodes, clustered: Callable[..., list[Example]], small: Settings
) -> None:
    examples = clustered(60)
    few = _taken(examples, 3)
    rest = [one for one in examples if one not in few]
    for name, part, limit in (("a", few, 3), ("b", rest, 2)):
        _learn(write_codes(f"{name}.parquet", part), tmp_path / name, small | {LIMIT: limit})
    merged = merge_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    whole = _learn(write_codes("all.parquet", examples), tmp_path / "whole", small)
    assert merged["fingerprint"] == whole["fingerprint"]


@settings(max_examples=60)
@given(
    st.lists(st.none() | st.sampled_from("abcdefg")), st.integers(1, 5), st.sets(st.sampled_from("abcxyz"))
)
def test_the_limit_lets_in_what_is_known_and_the_first_others(
    labels: list[str | None], limit: int, known: set[str]
) -> None:
    room = LabelLimit(limit, known)
    let_in = [label for label in labels if room.problem_of([] if label is None else [label]) is None]
    new = [label for label in dict.fromkeys(labels) if label is not None and label not in known]
    expected = {None, *known, *new[: max(0, limit - len(known))]}
    assert let_in == [label for label in labels if label in expected]


def _other(labels: Sequence[str], example: Example) -> str:
    return next(one for one in labels if one != example.target)
