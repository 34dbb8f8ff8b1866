"""What every report is made of: the page, figures, cards, notes, and writing it all at once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from plotly.offline import get_plotlyjs

from everlearn.errors import StorageError
from everlearn.evaluation.report.charts import Chart
from everlearn.evaluation.report.words import flat, html_text, json_for_script
from everlearn.types import Json

__all__ = [
    "Card",
    "cards_section",
    "figure_html",
    "folded_section",
    "notes_section",
    "page_html",
    "write_page",
]

Card = tuple[str, str, Callable[[float], str], str]
"""Key of the summary, words on the card, format, explanation on hover."""

# The policy makes browsers refuse any request, so the page cannot reach out even by mistake.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
<header><p class="brand">everlearn</p><h1><bdi>{title}</bdi></h1></header>
<noscript><p class="notice">The charts need JavaScript; the figures do not.</p></noscript>
{body}
</main>
<script type="application/json" id="figures">{figures}</script>
<script>{plotly}</script>
<script>
{script}
</script>
</body>
</html>
"""


def page_html(title: str, sections: Sequence[str], charts: Sequence[Chart]) -> str:
    """A page that needs nothing else; empty sections are left out."""
    folder = files("everlearn.evaluation.report")
    return _PAGE.format(
        title=html_text(title),
        style=folder.joinpath("report.css").read_text("utf-8"),
        body="\n".join(section for section in sections if section),
        figures=json_for_script({chart.id: dict(chart.figure) for chart in charts}),
        plotly=get_plotlyjs(),
        script=folder.joinpath("report.js").read_text("utf-8"),
    )


def write_page(path: str | os.PathLike[str], page: str) -> None:
    """Write a page; an older one at the same place is replaced at once or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="replace") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"the report {target} cannot be written: {error.strerror or error}") from error


def cards_section(summary: Mapping[str, Json], known: Sequence[Card]) -> str:
    """Cards with the figures that there are; those of what was rejected or skipped only above 0."""
    cards = []
    for key, name, shown, hint in known:
        value = summary.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            continue
        if key in ("rejected", "skipped") and value == 0:
            continue
        cards.append(
            f'<div class="card" title="{html_text(hint)}"><dt>{name}</dt><dd>{shown(value)}</dd></div>'
        )
    fingerprint = summary.get("fingerprint")
    if fingerprint:
        cards.append(
            f'<div class="card" title="{html_text(fingerprint)}"><dt>fingerprint</dt>'
            f'<dd class="code" tabindex="0">{html_text(str(fingerprint)[:10])}…</dd></div>'
        )
    return f'<dl class="cards">{"".join(cards)}</dl>' if cards else ""


def notes_section(notes: Sequence[str]) -> str:
    """Sentences that the reader should know; empty without any."""
    items = "".join(f"<li>{html_text(note)}</li>" for note in notes)
    return f'<section class="notice"><h2>Notes</h2><ul>{items}</ul></section>' if items else ""


def figure_html(chart: Chart) -> str:
    """A chart with its heading; the page's script draws it."""
    legend = "".join(
        f'<li><span class="key {dash}" style="color:var(--{colour[1:]})"></span>{name}</li>'
        for name, colour, dash in chart.legend
    )
    scale = (
        f'<p class="scale"><span>{chart.scale[0]}</span><i></i><span>{chart.scale[1]}</span></p>'
        if chart.scale
        else ""
    )
    sizes = (
        f"--height:{chart.height}px;--narrow-height:{chart.narrow_height}px;--min-width:{chart.min_width}px"
    )
    return (
        f'<figure class="panel {chart.size}" style="{sizes}"><figcaption><h2>{html_text(chart.title)}</h2>'
        f'<p class="caption">{html_text(chart.caption)}</p>'
        f"{f'<ul class=legend>{legend}</ul>' if legend else ''}{scale}</figcaption>"
        f'<div class="scroll"><div class="plot" id="{chart.id}" role="img" '
        f'aria-label="{html_text(chart.title)}"></div></div></figure>'
    )


def folded_section(title: str, data: Mapping[str, Json]) -> str:
    """Nested figures or settings as a table that opens on a click; empty without any."""
    rows = "".join(
        f"<tr><th>{html_text(key)}</th><td>{html_text(value)}</td></tr>" for key, value in flat(data)
    )
    if not rows:
        return ""
    return (
        f'<details class="panel"><summary>{title}</summary>'
        f'<table class="settings"><tbody>{rows}</tbody></table></details>'
    )
