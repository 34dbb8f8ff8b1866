"""The service's benchmark without a service: its charts, and what hostile senders draw."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmarks.service.charts import draw
from benchmarks.service.hostile_requests import KINDS, SLOW, Attack, Routes, targets_in

LOAD = {"per_second": 300.0, "p50_ms": 100.0, "p99_ms": 150.0, "max_ms": 200.0, "errors": 0, "requests": 9}
ROWS: dict[str, list[dict[str, Any]]] = {
    "load": [
        {"what": "forward passes alone, batches of 16", "per_second": 600.0},
        *(
            {"what": name, "callers": callers, **LOAD}
            for name in ("everlearn serve", "rival")
            for callers in (1, 32)
        ),
    ],
    "learning": [{"callers": callers, "without": LOAD, "beside": LOAD} for callers in (1, 1, 8, 8)],
    "corrections": [{"ms": [3.0, 1.0, 2.0, 1_900.0], "p50_ms": 2.0, "p95_ms": 3.0}],
    "soak": [
        {
            "minutes": [0.5, 1.0],
            "pss_mb": [1_400, 1_410],
            "open_files": [60, 61],
            "open_files_before": 56,
            "open_files_at_rest": 56,
            "connections": [5, 5],
            "connections_before": 0,
            "connections_at_rest": 0,
        }
    ],
    "changes": [
        {"course": [{"seconds": at, "p50_ms": 7.0, "p99_ms": 9.0, "failed": 0} for at in (10.0, 20.0)]}
    ],
}
DESCRIPTION = {
    "paths": {
        "/v1/predict": {
            "post": {
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Asked"}}}
                }
            }
        },
        "/v1/jobs/{id}": {"get": {"parameters": [{"name": "tenant", "in": "query"}]}},
    },
    "components": {
        "schemas": {
            "Asked": {
                "type": "object",
                "properties": {"text": {"type": "string"}, "top": {"type": "integer"}},
                "required": ["text"],
            }
        }
    },
}


@pytest.mark.parametrize("part", list(ROWS))
def test_a_part_is_drawn_from_its_rows(tmp_path: Path, part: str) -> None:
    path = draw(tmp_path / "charts", part, ROWS[part])
    assert path is not None
    drawing = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    lines = [one.attrib["points"] for one in drawing.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(lines) >= 1
    assert all("nan" not in points for points in lines)
    assert drawing.find("{http://www.w3.org/2000/svg}title") is not None


def test_what_has_no_chart_is_passed_over(tmp_path: Path) -> None:
    assert draw(tmp_path, "hub", []) is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [*KINDS, *SLOW])
def test_hostile_senders_draw_the_same_again(kind: str) -> None:
    def drawn() -> list[Attack]:
        targets, schemas = targets_in(DESCRIPTION)
        routes = Routes(targets, schemas, random.Random(7))
        return [{**KINDS, **SLOW}[kind](routes) for _ in range(5)]

    first = drawn()
    assert first == drawn()
    assert all(any(attack.pieces) for attack in first)
