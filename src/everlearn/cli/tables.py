"""Results as tables and JSON lines on standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from everlearn.cli.terminal import json_line

__all__ = [
    "baselines_line",
    "number",
    "percent",
    "print_columns",
    "print_json",
    "print_result",
    "print_table",
    "result_console",
    "score",
    "score_name",
    "short_time",
    "summary_rows",
]


_BASELINES = {
    "class_mean": "class mean",
    "words": "words alone",
    "most_frequent": "most frequent label",
}
_PIPED_WIDTH = 1_000
_WHOLE = ("time", "version", "step", "decision")  # columns whose values are not broken


def short_time(time: str) -> str:
    """A UTC time from the journal to the minute."""
    return time[:16].replace("T", " ")


def result_console() -> Console:
    """Standard output, without colours guessed into numbers; what goes into a pipe or file is not folded."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on one line."""
    print(json_line(value), flush=True)


def print_result(figures: Mapping[str, Any], rows: Sequence[tuple[str, str]], *, as_json: bool) -> None:
    """What a command has come to: as JSON, or as names and values."""
    if as_json:
        print_json(figures)
    else:
        print_table(rows)


def print_columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with a heading; nothing where there are no rows."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold", no_wrap=name.startswith(_WHOLE))
    for row in rows:
        table.add_row(*(escape(value) for value in row))
    result_console().print(table)


def print_table(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values; rows without value are left out."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value:
            table.add_row(name, escape(value))
    result_console().print(table)


def summary_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures of a run in the order in which people ask for them."""
    if "prequential_bits_per_byte" in summary:
        rows = _text_rows(summary)
    else:
        rows = _set_rows(summary) if "prequential_micro_f1" in summary else _label_rows(summary)
    return [
        ("examples, all sittings", number(summary["examples"])),
        ("rejected, all sittings", number(summary["rejected"]) if summary["rejected"] else ""),
        *rows,
        ("seconds, all sittings", f"{summary['seconds']:,.1f}"),
        ("peak memory", f"{summary['peak_memory_mb']:,.0f} MB"),
        ("fingerprint", f"{summary['fingerprint'][:16]}…"),
    ]


def _label_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("classes", number(summary["classes"])),
        ("prequential accuracy", _prequential(summary)),
        ("  of simple learners", baselines_line(summary.get("baselines"))),
        ("test accuracy", percent(summary["test_accuracy"])),
        ("average accuracy", percent(summary["average_accuracy"])),
        ("forgetting", percent(summary["forgetting"])),
        ("examples a second", number(summary["examples_per_second"])),
    ]


def _prequential(summary: Mapping[str, Any]) -> str:
    shown, unlearned = percent(summary["prequential_accuracy"]), summary["predicted_unlearned"]
    without = percent(summary["prequential_accuracy_once_learning"])
    # Hardly anything of a long stream, but most of a short one in large batches.
    if not unlearned or not without or without == shown:
        return shown
    return f"{shown}; {without} without the first {unlearned:,}, predicted before any label was learned"


def baselines_line(baselines: Mapping[str, Any] | None) -> str:
    """What simple learners reached on a stream, on a line; empty where they were not compared."""
    if baselines is None:
        return ""
    found = [
        f"{name} {percent(baselines[key])}"
        for key, name in _BASELINES.items()
        if baselines.get(key) is not None
    ]
    line = ", ".join(found)
    if baselines["is_whole"]:
        return line
    return f"{line} (first {baselines['examples']:,} examples; this run there: {percent(baselines['run'])})"


def _set_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    per_example = summary["labels_per_example"]
    return [
        ("labels", number(summary["classes"])),
        ("labels an example", "" if per_example is None else f"{per_example:.2f}"),
        ("prequential micro-F1", percent(summary["prequential_micro_f1"])),
        ("prequential macro-F1", percent(summary["prequential_macro_f1"])),
        ("whole sets right", percent(summary["prequential_subset_accuracy"])),
        ("test micro-F1", percent(summary["test_micro_f1"])),
        ("test macro-F1", percent(summary["test_macro_f1"])),
        ("test, whole sets right", percent(summary["test_subset_accuracy"])),
        ("examples a second", number(summary["examples_per_second"])),
    ]


def _text_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    def figure(name: str, digits: int) -> str:
        return "" if summary.get(name) is None else f"{summary[name]:.{digits}f}"

    return [
        ("tokens", number(summary["tokens"])),
        ("bytes", number(summary["bytes"])),
        ("prequential bits per byte", figure("prequential_bits_per_byte", 3)),
        ("recent bits per byte", figure("rolling_bits_per_byte", 3)),
        ("test bits per byte", figure("test_bits_per_byte", 3)),
        ("general text, bits per byte", _general(summary)),
        ("prequential BLEU", figure("prequential_bleu", 2)),
        ("prequential chrF", figure("prequential_chrf", 2)),
        ("test BLEU", figure("test_bleu", 2)),
        ("forgetting, bits per byte", figure("forgetting_bits_per_byte", 3)),
        ("steps left out", number(summary["skipped"]) if summary["skipped"] else ""),
        ("words added", number(summary.get("vocabulary_words"))),
        ("tokens they save", percent(summary.get("vocabulary_saved"))),
        ("tokens a second", number(summary["tokens_per_second"])),
    ]


def _general(summary: Mapping[str, Any]) -> str:
    change = summary.get("general_change_percent")
    if change is None:
        return ""
    before, now = summary["general_bits_per_byte_before"], summary["general_bits_per_byte"]
    return f"{now:.3f}, {before:.3f} before learning ({change:+.1f} %)"


def percent(fraction: float | None) -> str:
    """A fraction as percent; empty for None."""
    return "" if fraction is None else f"{fraction:.1%}"


def score_name(name: str) -> str:
    """A version's score by a short name.

    >>> score_name("long_term_accuracy"), score_name("test_bits_per_byte"), score_name("prequential_bleu")
    ('long-term', 'test bits/byte', 'BLEU')
    """
    if name.endswith("_accuracy"):
        return name.removesuffix("_accuracy").replace("_", "-")
    for ending, shown in (("_bits_per_byte", "bits/byte"), ("_bleu", "BLEU")):
        if name.endswith(ending):
            kind = name.removesuffix(ending).replace("_", "-")
            return shown if kind == "prequential" else f"{kind} {shown}"
    return name.replace("_", "-")


def score(name: str, value: float | None) -> str:
    """A version's score by its name: accuracies as percent, others (bits per byte, BLEU) as they are."""
    if value is None or name.endswith("_accuracy"):
        return percent(value)
    return f"{value:.3f}" if name.endswith("_bits_per_byte") else f"{value:.2f}"


def number(value: float | None) -> str:
    """A count or rate with thousands separators; empty for None."""
    return "" if value is None else f"{value:,.0f}"
