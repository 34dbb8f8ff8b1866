"""The report: complete, self-contained, safe against any text, and drawn by a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import StorageError
from everlearn.evaluation import AccuracyMatrix, MetricsLog, MetricsRow, ReportedRun, report_html, write_page
from everlearn.evaluation.confusion import Confusion
from everlearn.evaluation.report.confusion import confused_pairs, confusion_chart
from everlearn.evaluation.report.decisions import decisions_section
from everlearn.evaluation.report.words import count, duration, flat, json_for_script, percent, shortened

NASTY = "</script><img src=x onerror=alert(1)>\u2028&\"'%{x}<b>\x00\ud800"
STREAM_CHARTS = {"accuracy", "log-loss", "calibration", "classes", "throughput", "memory", "outliers"}


def metrics(num_rows: int) -> pa.Table:
    log = MetricsLog()
    for i in range(1, num_rows + 1):
        log.add(
            MetricsRow(
                examples=32 * i, seconds=0.1 * i, accuracy=0.9, rolling_accuracy=0.91, macro_f1=0.88,
                log_loss=1.0 / i, log_loss_known=0.5 / i, calibration_error=0.02, num_classes=i,
                examples_per_second=320.0, memory_mb=900.0, outlier_share=0.05,
            )
        )  # fmt: skip
    return log.table()


def confusion(num: int) -> tuple[list[str], npt.NDArray[np.int64]]:
    counts = np.random.default_rng(0).integers(0, 3, (num, num)) + 50 * np.eye(num, dtype=np.int64)
    return [f"label {i}" for i in range(num)], counts.astype(np.int64)


def matrix(num: int, name: str = "experience") -> AccuracyMatrix:
    result = AccuracyMatrix([f"{name} {i + 1}" for i in range(num)])
    for i in range(num):
        for j in range(num):
            result.record(i, j, 0.9 if j <= i else 0.0)
    return result


def full_report(num_classes: int = 6, text: str = "plain") -> str:
    labels, counts = confusion(num_classes)
    return report_html(
        ReportedRun(
            title=f"run {text}",
            summary={
                "prequential_accuracy": 0.957,
                "forgetting": -0.004,
                "examples": 15000,
                "seconds": 65.2,
                "fingerprint": "0123456789abcdef" * 4,
                "test_accuracy": None,
                "rejected": 0,
            },
            metrics=metrics(20),
            config={"model": {"name": text}, "seed": 0},
            notes=[text],
        ),
        confusion=Confusion.from_matrix([text, *labels[1:]], counts),
        matrix=matrix(3, text),
    )


class Page(HTMLParser):
    """Collects elements, the JSON of the figures and visible text; leaves out plotly."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.text = ""
        self.figures: dict[str, Any] = {}
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self._inside = attributes.get("id") or tag
        if attributes.get("class") == "plot":
            self.ids.append(str(attributes["id"]))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "figures":
            self.figures = json.loads(data)
        elif self._inside not in ("script", "style"):
            self.text += data + "\n"


def test_every_part_is_there() -> None:
    page = Page(full_report())
    assert set(page.ids) == set(page.figures) == {*STREAM_CHARTS, "experiences", "confusion"}
    for words in (
        "95.7\u00a0%",
        "15,000",
        "1\u00a0min 05\u00a0s",
        "0123456789…",
        "model.name",
        "−0.4\u00a0pp",
    ):
        assert words in page.text
    assert any(a.get("title") == "0123456789abcdef" * 4 for _, a in page.elements)
    assert "test accuracy" not in page.text
    assert "rejected" not in re.findall(r"<dt>(.*?)</dt>", full_report())


def test_figures_are_valid_plotly_with_titled_axes() -> None:
    for num_classes in (6, 60):
        for figure in Page(full_report(num_classes)).figures.values():
            text = re.sub(r'"@heat"', '"Blues"', json.dumps(figure))
            plain = json.loads(re.sub(r'"@[a-z-]+"', '"#123456"', text))
            drawn = go.Figure(data=plain["data"], layout=plain["layout"])
            assert drawn.layout.xaxis.title.text
            assert drawn.layout.yaxis.title.text
            assert all(trace.hovertemplate for trace in drawn.data)


def test_nothing_to_show_gives_no_chart() -> None:
    page = report_html(
        ReportedRun(title="empty", summary={}, metrics=metrics(0)),
        matrix=AccuracyMatrix(["a"]),
        confusion=Confusion.from_matrix([], []),
    )
    assert Page(page).ids == []
    assert "<details" not in page
    one_column = metrics(5).select(["examples", "accuracy"])
    assert Page(report_html(ReportedRun(title="x", summary={}, metrics=one_column))).ids == ["accuracy"]


def test_the_page_needs_nothing_else() -> None:
    page = full_report()
    assert page.count("plotly.js v") == 1
    for tag, attributes in Page(page).elements:
        assert tag not in ("link", "iframe", "img", "object")
        assert "src" not in attributes
        assert "href" not in attributes
    assert "default-src 'none'" in page


def test_any_text_stays_text() -> None:
    plain, nasty = Page(full_report()), Page(full_report(text=NASTY))
    assert [t for t, _ in nasty.elements] == [t for t, _ in plain.elements]
    assert not any(name.startswith("on") for _, a in nasty.elements for name in a)
    assert "</script><img src=x onerror=alert(1)>" in nasty.text
    hover = nasty.figures["confusion"]["data"][0]["customdata"][0][0][0]
    assert hover.startswith("&lt;/script&gt;&lt;img")


@given(st.text())
def test_json_in_a_script_cannot_end_it(text: str) -> None:
    written = json_for_script({"text": text})
    assert not set("<>&\u2028") & set(written)
    assert json.loads(written) == {"text": text}


def test_confused_pairs_are_sorted() -> None:
    counts = np.array([[8, 2, 0], [0, 5, 5], [1, 0, 9]])
    pairs = confused_pairs(Confusion.from_matrix(["a", "b", "c"], counts))
    assert [(p.target, p.predicted, p.count, p.share) for p in pairs] == [
        ("b", "c", 5, 0.5), ("a", "b", 2, 0.2), ("c", "a", 1, 0.1)]  # fmt: skip
    assert confused_pairs(Confusion.from_matrix(["a"], [[3]])) == []


def test_many_classes_show_only_the_confused() -> None:
    labels = [f"label {i:03}" for i in range(150)]
    counts = 20 * np.eye(150, dtype=np.int64)
    assert confusion_chart(Confusion.from_matrix(labels, counts)) is None
    counts[10, 20] = counts[30, 20] = 3
    chart = confusion_chart(Confusion.from_matrix(labels, counts))
    assert chart is not None
    assert chart.figure["layout"]["yaxis"]["ticktext"] == ["label 010", "label 020", "label 030"]
    assert chart.caption.startswith("The 3 of 150 classes")
    assert confusion_chart(Confusion.from_matrix(*confusion(150))) is not None


def test_texts() -> None:
    assert [percent(0.9571), count(1234567), count(3.21), count(3)] == [
        "95.7\u00a0%",
        "1,234,567",
        "3.2",
        "3",
    ]
    assert duration(11220) == "3\u00a0h 07\u00a0min"
    assert shortened("a" * 50 + "z", 12) == "a" * 8 + "…" + "aaz"
    assert len(shortened("x" * 99, 7)) == 7
    assert flat({"a": {"b": 1, "c": {}}, "d": None, "e": [1, "x"]}) == [
        ("a.b", "1"), ("a.c", "{}"), ("d", "–"), ("e", '[1, "x"]')]  # fmt: skip


def test_writing_is_atomic_and_failure_is_named(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(path, report_html(ReportedRun(title=NASTY, summary={}, metrics=metrics(3))))
    first = path.read_bytes()
    write_page(path, report_html(ReportedRun(title=NASTY, summary={}, metrics=metrics(3))))
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StorageError, match="report"):
        write_page(
            tmp_path / "missing" / "report.html",
            report_html(ReportedRun(title="x", summary={}, metrics=metrics(3))),
        )


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to draw the page")
def test_a_browser_draws_every_chart(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    change = "<script>document.documentElement.dataset.theme = 'dark';</script></body>"
    page = full_report(60, NASTY).replace("</body>\n</html>", f"{change}</html>")
    path.write_text(page, encoding="utf-8", errors="replace")
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--enable-logging=stderr",
         "--dump-dom", f"{path.as_uri()}?theme=light"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    assert "rgb(111, 183, 234)" in done.stdout, "lines follow a change of the colour scheme"
    assert "rgb(11, 95, 156)" not in done.stdout
    assert done.stdout.count("main-svg") >= 2 * len(Page(full_report()).ids)
    assert "<img src=" not in re.sub(r"<script.*?</script>", "", done.stdout, flags=re.S)


def test_decisions_are_listed_newest_first_and_escaped() -> None:
    exam = {"live_accuracy": 0.9, "candidate_accuracy": 0.8, "examples": 1200, "p_value": 0.001}
    decisions = [
        {
            "decision": number,
            "first_step": number,
            "step": number + 1,
            "kind": "guard",
            "verdict": "rejected" if number % 2 else "accepted",
            "reason": NASTY,
            "numbers": {"recent": exam} if number else {},
        }
        for number in range(60)
    ]
    assert decisions_section([]) == ""
    page = decisions_section(decisions)
    assert page.index("<td>59</td>") < page.index("<td>58</td>")
    assert "<td>9</td>" not in page
    assert "60 decisions, 30 candidates rejected; the newest 50 are shown" in page
    assert f"90.0{chr(160)}% → 80.0{chr(160)}% (1,200)" in page
    assert "<img" not in page
