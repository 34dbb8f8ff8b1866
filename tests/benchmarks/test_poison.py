"""Faults of the poison benchmark change what they say, and only there; its table and chart show all."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks.poison import BURST, SCENARIOS, SHARES, num_wrong, panels, table, with_fault
from benchmarks.poison_chart import Course, write_chart

from everlearn.types import Example


def stream() -> list[Example]:
    return [Example(id=str(k), text="", target=f"label{k % 7}") for k in range(15_000)]


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("share", SHARES)
def test_labels_change_in_bursts_only(name: str, share: float) -> None:
    clean, scenario = stream(), SCENARIOS[name]
    changed = with_fault(clean, scenario, share, seed=0)
    burst_of = {k for start in scenario.starts for k in range(start, start + BURST)}
    different = [k for k, (a, b) in enumerate(zip(clean, changed, strict=True)) if a.target != b.target]
    assert set(different) <= burst_of
    # Some that are permuted, or the default, have their own label again.
    assert 0.8 * share * len(burst_of) <= len(different) <= share * len(burst_of)
    assert num_wrong(clean, changed) == len(different)
    again = with_fault(clean, scenario, share, seed=0)
    assert [one.target for one in again] == [one.target for one in changed]


def test_kinds_of_faults() -> None:
    clean = stream()
    start = SCENARIOS["default"].starts[0]
    permuted = with_fault(clean, SCENARIOS["permuted"], 1.0, seed=0)[start : start + BURST]
    right = sorted(str(one.target) for one in clean[start : start + BURST])
    assert sorted(str(one.target) for one in permuted) == right
    default = with_fault(clean, SCENARIOS["default"], 1.0, seed=0)[start : start + BURST]
    assert {one.target for one in default} == {"label0"}
    shifted = with_fault(clean, SCENARIOS["shifted"], 1.0, seed=0)[start : start + BURST]
    assert [one.target for one in shifted] == [f"label{(int(one.id) + 1) % 7}" for one in shifted]


def test_table_and_chart(tmp_path: Path) -> None:
    courses = []
    for seed, lost in ((0, 1.0), (1, 20.0)):
        for name, share in [("clean", 0.0), *((name, share) for name in SCENARIOS for share in SHARES)]:
            for has_guard in (False, True):
                drop = 0.0 if has_guard or name == "clean" else lost
                scores = {at: 95.0 - drop * (at > 6_000) for at in range(3_500, 15_001, 500)}
                courses.append(Course(name, share, has_guard, seed, scores, 7, has_guard, 30 * has_guard))
    rows = table(courses).split("\n")
    assert len(rows) == 2 + 1 + len(SCENARIOS) * len(SHARES)
    assert rows[5].startswith("| bursts | 100% | 20.00 → 0.00 |")
    assert rows[5].endswith("| 2 of 60 |")
    chart = tmp_path / "chart.svg"
    write_chart(chart, panels(courses), BURST)
    lines = [one for one in ElementTree.parse(chart).iter() if one.tag.endswith("polyline")]
    assert len(lines) == 2 * len(SHARES) * 3
