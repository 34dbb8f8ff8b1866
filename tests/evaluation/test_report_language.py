"""The report of language models and its metrics table."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from everlearn.errors import ConfigError, StateError, StorageError
from everlearn.evaluation.report.page import write_page
from everlearn.evaluation.report.reported_run import ReportedRun
from everlearn.evaluation.report.texts import language_report_html
from everlearn.evaluation.text_metrics import TextMetricsLog, TextMetricsRow, summary_columns
from everlearn.evaluation.text_scores import DomainMatrix, TextScores
from everlearn.evaluation.translation_scores import TranslationScores
from everlearn.types import TextLoss

NASTY = "</script><img src=x onerror=alert(1)>\u2028&\"'%{x}<b>\x00\ud800"


def row(number: int, **figures: Any) -> TextMetricsRow:
    return TextMetricsRow(
        examples=number, tokens=30 * number, bytes=100 * number, seconds=0.1 * number, **figures
    )


def metrics(num_rows: int, domains: tuple[str, ...] = ("news", "law")) -> pa.Table:
    log = TextMetricsLog()
    for i in range(1, num_rows + 1):
        log.add(
            row(
                i, skipped=i // 5, bits_per_byte=1 + 1 / i, rolling_bits_per_byte=1 + 0.9 / i, loss=3.0 / i,
                gradient_norm=0.5, tokens_per_second=600.0, memory_mb=900.0, bleu=20.0, chrf=40.0,
                rolling_bleu=21.0, rolling_chrf=41.0,
                domain_bits_per_byte=dict.fromkeys(domains[: 1 + i // 2], 1.0 + 1 / i),
            )
        )  # fmt: skip
    return log.table()


def matrix(text: str = "law") -> DomainMatrix:
    result = DomainMatrix()
    result.add(None, {"news": 1.5, text: 1.4})
    result.add("news", {"news": 1.0, text: 1.3})
    result.add(text, {"news": 1.2, text: 0.9})
    return result


def full_report(text: str = "law") -> str:
    return language_report_html(
        ReportedRun(
            title=f"run {text}",
            summary={
                "prequential_bits_per_byte": 1.0234,
                "prequential_bleu": 23.456,
                "examples": 20,
                "tokens": 600,
                "bytes": 1_234_000,
                "skipped": 0,
                "rejected": 3,
                "fingerprint": "0123456789abcdef" * 4,
                "domains": {"x": 1},
            },
            metrics=metrics(20, ("news", text.replace("\ud800", ""))),
            config={"model": {"name": text}},
            notes=[text],
        ),
        domains={
            "news": {"bytes": 1000, "tokens": 300, "bits_per_byte": 1.05, "bleu": None},
            text: {"bytes": 500, "tokens": 150, "bits_per_byte": None, "bleu": None},
        },
        matrix=matrix(text),
        samples=[
            {"examples": 1000, "input": f"Once upon\n{text}", "output": "a time"},
            {"input": "der Hund", "output": "the dog", "target": "the hound"},
        ],
    )


class Page(HTMLParser):
    """Collects elements, figures and visible text; leaves out scripts."""

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


CHARTS = [
    "bits-per-byte", "domains", "translation", "loss", "throughput", "gradient-norm", "skipped", "memory",
    "domain-matrix",
]  # fmt: skip


def test_every_part_is_there() -> None:
    page = Page(full_report())
    assert page.ids == list(page.figures) == CHARTS
    for words in (
        "1.023",
        "23.5",
        "1.23\u00a0MB",
        "0.200",
        "1.050",
        "Once upon",
        "the hound",
        "1,000",
        "model.name",
    ):
        assert words in page.text, words
    cards = re.findall(r"<dt>(.*?)</dt>", full_report())
    assert "rejected" in cards
    assert "skipped steps" not in cards
    assert [t["x"][-1] for t in page.figures["bits-per-byte"]["data"]] == [2000, 2000]
    assert page.figures["translation"]["data"][0]["x"][-1] == 20
    assert page.figures["bits-per-byte"]["layout"]["xaxis"]["title"]["text"] == "bytes"
    assert [t["name"] for t in page.figures["domains"]["data"]] == ["news", "law"]
    assert "domains.x" not in page.text


def test_figures_are_valid_plotly_with_titled_axes() -> None:
    for figure in Page(full_report()).figures.values():
        text = re.sub(r'"@heat"', '"Blues"', json.dumps(figure))
        plain = json.loads(re.sub(r'"@[a-z-]+"', '"#123456"', text))
        drawn = go.Figure(data=plain["data"], layout=plain["layout"])
        assert drawn.layout.xaxis.title.text
        assert drawn.layout.yaxis.title.text
        assert all(trace.hovertemplate for trace in drawn.data)


def test_nothing_to_show_gives_no_chart() -> None:
    page = language_report_html(
        ReportedRun(title="empty", summary={}, metrics=metrics(0)), matrix=DomainMatrix()
    )
    assert Page(page).ids == []
    assert "<details" not in page
    few = metrics(5).select(["examples", "bits_per_byte"])
    assert Page(language_report_html(ReportedRun(title="x", summary={}, metrics=few))).ids == [
        "bits-per-byte"
    ]


def test_many_domains_are_cut_and_said() -> None:
    names = tuple(f"domain {i}" for i in range(15))
    page = Page(language_report_html(ReportedRun(title="x", summary={}, metrics=metrics(40, names))))
    assert len(page.figures["domains"]["data"]) == 10
    assert "The 10 longest of 15 domains." in page.text


def test_any_text_stays_text_and_nothing_is_fetched() -> None:
    plain, nasty = Page(full_report()), Page(full_report(NASTY))
    assert [t for t, _ in nasty.elements] == [t for t, _ in plain.elements]
    for tag, attributes in nasty.elements:
        assert tag not in ("link", "iframe", "img", "object")
        assert not {"src", "href"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "default-src 'none'" in full_report()
    assert nasty.figures["domains"]["data"][1]["name"].startswith("&lt;/script&gt;")


def test_writing_is_atomic_and_failure_is_named(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    for _ in range(2):
        write_page(path, language_report_html(ReportedRun(title=NASTY, summary={}, metrics=metrics(3))))
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StorageError, match="report"):
        write_page(
            tmp_path / "missing" / "r.html",
            language_report_html(ReportedRun(title="x", summary={}, metrics=metrics(3))),
        )


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to draw the page")
def test_a_browser_draws_every_chart(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(full_report(NASTY), encoding="utf-8", errors="replace")
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--enable-logging=stderr",
         "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    assert done.stdout.count("main-svg") >= 2 * len(CHARTS)


def test_a_row_from_summaries() -> None:
    scores = TextScores()
    for number in range(25):
        scores.update([TextLoss(domain=f"d{number}", nats=70.0, tokens=30, bytes=100 + number)])
    scores.update([TextLoss(domain="empty", nats=0.0, tokens=0, bytes=0)])
    made = TextMetricsRow(**summary_columns(scores.summary()), examples=25, seconds=1.0, gradient_norm=0.3)
    assert (made.tokens, made.bytes, made.gradient_norm, made.bleu) == (750, 2800, 0.3, None)
    assert list(made.domain_bits_per_byte) == [f"d{number}" for number in range(24, 4, -1)]
    assert made.bits_per_byte == scores.summary()["bits_per_byte"]
    pairs = TranslationScores()
    pairs.update(["a b c d e"], ["a b c d e"])
    translated = TextMetricsRow(**summary_columns(scores.summary(), pairs.summary()), examples=1, seconds=1.0)
    assert [translated.bleu, translated.rolling_chrf] == pytest.approx([100, 100])


def test_merged_rows_keep_spikes_and_means() -> None:
    log = TextMetricsLog(2)
    figures = [(4.0, 1.0, 100.0, 5.0), (2.0, 9.0, 200.0, 7.0), (1.0, None, None, 6.0), (3.0, 2.0, 50.0, 1.0)]
    for number, (loss, norm, rate, memory) in enumerate(figures, 1):
        log.add(
            row(
                number,
                loss=loss,
                gradient_norm=norm,
                tokens_per_second=rate,
                memory_mb=memory,
                skipped=number,
            )
        )
    first, second = log.table().to_pylist()
    assert (first["tokens"], first["skipped"], second["tokens"]) == (60, 2, 120)
    assert (first["loss"], first["gradient_norm"], first["memory_mb"]) == (3.0, 9.0, 7.0)
    assert first["tokens_per_second"] == pytest.approx(60 / (30 / 100 + 30 / 200))
    assert (second["loss"], second["gradient_norm"], second["tokens_per_second"]) == (2.0, 2.0, 50.0)


@pytest.mark.parametrize("cut", [0, 3, 8, 17, 50])
def test_a_log_continues_through_parquet(cut: int, tmp_path: Path) -> None:
    rows = [row(n, loss=1 / n, domain_bits_per_byte={"a": 1.0, NASTY[:20]: 0.5}) for n in range(1, 60)]
    whole, first = TextMetricsLog(8), TextMetricsLog(8)
    for one in rows:
        whole.add(one)
    for one in rows[:cut]:
        first.add(one)
    pq.write_table(first.table(), tmp_path / "metrics.parquet")
    second = TextMetricsLog.from_table(pq.read_table(tmp_path / "metrics.parquet"))
    for one in rows[cut:]:
        second.add(one)
    assert second.table().equals(whole.table(), check_metadata=True)
    assert len(second) <= 8


def test_wrong_tables() -> None:
    with pytest.raises(ConfigError, match="max_rows must be even and at least 2, not 3"):
        TextMetricsLog(3)
    with pytest.raises(StateError, match="damaged"):
        TextMetricsLog.from_table(pa.table({"examples": [1]}))
