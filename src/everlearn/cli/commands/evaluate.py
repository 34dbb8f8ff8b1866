"""``everlearn evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from everlearn.cli import options
from everlearn.cli.failures import print_error, print_note
from everlearn.cli.setting_options import given_settings, taking
from everlearn.cli.tables import number, percent, print_columns, print_json, print_table
from everlearn.errors import InputError

__all__ = ["evaluate"]


@taking("text_field", "encoding", "delimiter", "max_rejected", "target_field", "id_field", "threads")
def evaluate(
    run: options.RunPath,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE…",
            help="Examples with targets, or documents, as for [cyan]learn[/]. Of a language model or an "
            "encoder-decoder several: each is a domain.",
            show_default=False,
        ),
    ],
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Language models: learn while reading (dynamic evaluation).")
    ] = False,
    forget_documents: Annotated[
        bool, typer.Option("--forget-documents", help="With --adapt: forget after each document.")
    ] = False,
    json_output: options.Json = False,
    **settings: Any,
) -> None:
    """Test a run on files; it is as before at the end. Field names are the run's unless they are given."""
    from everlearn.runtime.commands.evaluate import evaluate_run

    scores = evaluate_run(
        run,
        files,
        given_settings(settings),
        adapt=adapt,
        forget_documents=forget_documents,
        on_note=print_note,
    )
    if json_output:
        print_json(scores)
    elif "macro_f1" in scores:
        _print_scores(scores)
    else:
        _print_texts(scores)
    if scores["too_many_rejected"] is not None:
        print_error(scores["too_many_rejected"])
        raise typer.Exit(InputError.exit_code)


def _print_scores(scores: Mapping[str, Any]) -> None:
    print_table(
        [
            ("examples", number(scores["examples"])),
            ("rejected", number(scores["rejected"]) if scores["rejected"] else ""),
            (
                "labels never learned",
                f"of {number(scores['unknown_labels'])} examples, which cannot be right"
                if scores["unknown_labels"]
                else "",
            ),
            ("accuracy", percent(scores.get("accuracy"))),
            ("micro F1", percent(scores.get("micro_f1"))),
            ("macro F1", percent(scores["macro_f1"])),
            ("whole sets right", percent(scores.get("subset_accuracy"))),
            ("log-loss", f"{scores['log_loss']:.3f} nats" if "log_loss" in scores else ""),
            ("calibration error", percent(scores.get("calibration_error"))),
        ]
    )


def _print_texts(scores: Mapping[str, Any]) -> None:
    names = {
        "bits_per_byte": "bits per byte",
        "bleu": "BLEU",
        "chrf": "chrF",
        "tokens_per_byte": "tokens a byte",
    }
    shown = [name for name in names if scores.get(name) is not None]
    rows = [("all", scores), *scores["domains"].items()] if len(scores["domains"]) > 1 else [("all", scores)]
    print_columns(
        ["domain", *(names[name] for name in shown), "bytes", "tokens"],
        [
            [
                domain,
                *(_figure(figures.get(name)) for name in shown),
                number(figures.get("bytes")),
                number(figures.get("tokens")),
            ]
            for domain, figures in rows
        ],
    )
    if scores["rejected"]:
        print_table([("rejected", number(scores["rejected"]))])


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
