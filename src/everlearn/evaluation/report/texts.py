"""The report of a language model's or a translator's run: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from everlearn.evaluation.report.charts import Chart
from everlearn.evaluation.report.page import Card, figure_html
from everlearn.evaluation.report.reported_run import ReportedRun, run_page
from everlearn.evaluation.report.text_charts import domain_matrix_chart, language_charts
from everlearn.evaluation.report.words import NO_BREAK_SPACE, count, duration, html_text, percent
from everlearn.evaluation.text_scores import DomainMatrix
from everlearn.types import Json

__all__ = ["language_report_html"]

_MAX_SAMPLE_CHARACTERS = 2_000


def _bits(value: float) -> str:
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def _score(value: float) -> str:
    return f"{value:.1f}"


def _megabytes(value: float) -> str:
    return f"{value:,.0f}{NO_BREAK_SPACE}MB"


_CARDS: tuple[Card, ...] = (
    ("prequential_bits_per_byte", "bits per byte", _bits, "each text predicted before it was learned"),
    ("rolling_bits_per_byte", "recent bits per byte", _bits, "the same over the last text"),
    ("test_bits_per_byte", "test bits per byte", _bits, "on the held-out test set, at the end"),
    ("prequential_bleu", "BLEU", _score, "each text translated before its target was learned"),
    (
        "general_bits_per_byte_before",
        "general text, before",
        _bits,
        "bits per byte before anything was learned",
    ),
    ("general_bits_per_byte", "general text, now", _bits, "bits per byte at the end: higher means forgotten"),
    ("test_bleu", "test BLEU", _score, "on the held-out test set, at the end"),
    ("prequential_chrf", "chrF", _score, "each text translated before its target was learned"),
    ("test_chrf", "test chrF", _score, "on the held-out test set, at the end"),
    ("examples", "examples", count, "examples of the stream"),
    ("rejected", "rejected", count, "records that could not be read; see rejected.jsonl"),
    ("tokens", "tokens", count, "tokens of the stream that were predicted"),
    ("bytes", "text", lambda number: f"{number / 1e6:,.2f}{NO_BREAK_SPACE}MB", "UTF-8 bytes of the stream"),
    ("vocabulary_words", "new words", count, "tokens that the vocabulary has gained"),
    ("vocabulary_saved", "tokens they save", percent, "on the text that was watched before they were added"),
    ("tokens_per_second", "tokens/s", count, "predicted and learned, over the whole run"),
    ("skipped", "skipped steps", count, "updates that were left out"),
    ("seconds", "time", duration, "wall-clock time of the run"),
    ("peak_memory_mb", "peak memory", _megabytes, "resident memory"),
)

# key of a domain's figures, heading, format
_COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("bytes", "bytes", count),
    ("tokens", "tokens", count),
    ("bits_per_byte", "bits per byte", _bits),
    ("rolling_bits_per_byte", "recent", _bits),
    ("tokens_per_byte", "tokens per byte", _bits),
    ("pairs", "pairs", count),
    ("bleu", "BLEU", _score),
    ("rolling_bleu", "recent BLEU", _score),
    ("chrf", "chrF", _score),
    ("rolling_chrf", "recent chrF", _score),
)


def language_report_html(
    run: ReportedRun,
    *,
    domains: Mapping[str, Mapping[str, Json]] | None = None,
    matrix: DomainMatrix | None = None,
    samples: Sequence[Mapping[str, Json]] = (),
) -> str:
    """The page of a language model's or a translator's run. The same arguments give the same page.

    Args:
        run: These figures of its summary have a card: ``prequential_bits_per_byte, rolling_bits_per_byte,
            test_bits_per_byte``; ``prequential_bleu, test_bleu, prequential_chrf, test_chrf``; counts
            ``examples, rejected, tokens, bytes, skipped``; ``vocabulary_words, vocabulary_saved``;
            ``tokens_per_second``, ``seconds``, ``peak_memory_mb``, ``fingerprint``. Its metrics have the
            columns of ``TEXT_METRICS_SCHEMA``.
        domains: Figures by domain, as ``TextScores.summary()["domains"]`` and those of
            ``TranslationScores`` have them.
        matrix: Bits per byte of each domain after each.
        samples: What the model wrote, the oldest first: ``input`` and ``output``; ``target`` and
            ``examples`` (how many had come by then) where there is such.
    """
    charts: list[Chart] = []
    sections = [] if matrix is None else [_matrix_section(matrix, charts)]
    sections += [_domains_section(domains or {}), _samples_section(samples)]
    return run_page(run, _CARDS, language_charts(run.metrics), sections, charts)


def _matrix_section(matrix: DomainMatrix, charts: list[Chart]) -> str:
    chart = domain_matrix_chart(matrix)
    if chart is None:
        return ""
    charts.append(chart)
    measures = (
        ("mean at the end", matrix.mean_final, "mean bits per byte over all domains measured"),
        ("forgetting", matrix.forgetting, "mean increase from the best earlier figure of each domain"),
    )
    items = "".join(
        f"<div><dt>{name}</dt><dd>{_bits(value)}</dd><p>{hint}</p></div>"
        for name, value, hint in measures
        if value is not None
    )
    aside = (
        f'<aside class="panel side"><h2>Forgetting</h2><dl class="measures">{items}</dl>'
        '<p class="caption">bits per byte; lower is better</p></aside>'
    )
    return f'<section class="grid">{figure_html(chart)}{aside}</section>'


def _domains_section(domains: Mapping[str, Mapping[str, Json]]) -> str:
    columns = [
        (key, heading, shown)
        for key, heading, shown in _COLUMNS
        if any(figures.get(key) is not None for figures in domains.values())
    ]
    if not columns:
        return ""
    head = "".join(f"<th>{heading}</th>" for heading in ("domain", *(heading for _, heading, _ in columns)))
    rows = []
    for name, figures in domains.items():
        cells = "".join(
            f"<td>{'–' if figures.get(key) is None else shown(figures[key])}</td>"
            for key, _, shown in columns
        )
        rows.append(f'<tr><td class="pair">{html_text(name)}</td>{cells}</tr>')
    return (
        '<section class="panel"><h2>Domains</h2><p class="caption">Each text predicted before it was learned.'
        f'</p><div class="scroll"><table class="pairs"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _samples_section(samples: Sequence[Mapping[str, Json]]) -> str:
    if not samples:
        return ""
    has_place = any(sample.get("examples") is not None for sample in samples)
    has_target = any(sample.get("target") is not None for sample in samples)
    head = '<th class="when">examples</th>' * has_place + "<th>input</th><th>output</th>"
    head += "<th>target</th>" * has_target
    rows = []
    for sample in samples:
        place = sample.get("examples")
        cells = [f'<td class="when">{"" if place is None else count(place)}</td>'] * has_place
        cells += [f"<td>{_lines(sample['input'])}</td>", f"<td>{_lines(sample['output'])}</td>"]
        cells += [f"<td>{_lines(sample.get('target') or '')}</td>"] * has_target
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        '<section class="panel"><h2>What the model wrote</h2><div class="scroll"><table class="samples">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _lines(text: Json) -> str:
    text = str(text)
    if len(text) > _MAX_SAMPLE_CHARACTERS:
        text = text[:_MAX_SAMPLE_CHARACTERS] + "…"
    return "<br>".join(map(html_text, text.split("\n")))
