"""``everlearn demo``."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from everlearn.cli.display import ProgressDisplay
from everlearn.cli.failures import STOPPED_EXIT_CODE, print_note
from everlearn.cli.tables import baselines_line, percent, result_console

if TYPE_CHECKING:
    from everlearn.runtime.commands.demo import DemoOutcome, Week

__all__ = ["demo"]

_BAR_WIDTH = 12


def demo(
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="The new run folder. Default: one in runs/.")
    ] = None,
) -> None:
    """Learn twelve weeks of messages to a support desk, in under two minutes.

    New kinds of messages appear, some are filed wrongly, the product is renamed in week 7; at the end
    a customer is forgotten.
    """
    from everlearn.runtime.commands.demo import DemoOutcome, run_demo
    from everlearn.runtime.interruption import stop_on_signals

    with ProgressDisplay() as display, stop_on_signals(display.stopping) as stop:
        outcome = run_demo(out, listener=display, stop=stop)
    if not isinstance(outcome, DemoOutcome):
        print_note(f"Stopped. What was learned is in {outcome.folder}.")
        raise typer.Exit(STOPPED_EXIT_CODE)
    console = result_console()
    _print_weeks(console, outcome.weeks)
    _print_figures(console, outcome)
    _print_forgetting(console, outcome)
    _print_predictions(console, outcome)
    console.print(f"\n[bold]Report[/]  {escape(str(outcome.run.folder / 'report.html'))}")
    console.print(
        f"[bold]Serve it[/]  {escape(_program())} serve {escape(shlex.quote(str(outcome.run.folder)))}"
        "  and open http://127.0.0.1:8600: predict, correct, forget, and watch it learn"
    )


def _program() -> str:
    """What runs this program again: its name where the shell finds it, else its path."""
    return "everlearn" if shutil.which("everlearn") else shlex.quote(sys.argv[0])


def _print_weeks(console: Console, weeks: list[Week]) -> None:
    from everlearn.runtime.commands.demo import RENAMING_WEEK

    console.print(
        "[bold]Messages to a support desk[/], each predicted when it came and learned right after; in week "
        f"{RENAMING_WEEK} the product is renamed:\n"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("week of", "messages", "right", "", "unfamiliar", "new kinds"):
        numeric = name in ("messages", "right", "unfamiliar")
        table.add_column(name, justify="right" if numeric else "left", no_wrap=name != "new kinds")
    for week in weeks:
        name = f"{week.number:2}  {week.first_day:%d %b}"
        bar = "█" * round(week.accuracy * _BAR_WIDTH)
        # In the first week everything is new; naming all of it would bury the rest.
        kinds = f"{len(week.new_labels)} kinds" if week.number == 1 else ", ".join(week.new_labels)
        if week.number == RENAMING_WEEK:
            kinds = f"← renamed; {kinds}" if kinds else "← renamed"
        flagged = percent(week.flagged / max(week.messages, 1))
        table.add_row(name, str(week.messages), percent(week.accuracy), f"[green]{bar}[/]", flagged, kinds)
    console.print(table)


def _print_figures(console: Console, outcome: DemoOutcome) -> None:
    from everlearn.runtime.commands.demo import RENAMING_WEEK

    summary = outcome.run.summary
    wrong = sum(week.wrong_labels for week in outcome.weeks)
    by_number = {week.number: week for week in outcome.weeks}
    around = [
        f"week {number}: {percent(by_number[number].accuracy)}"
        for number in range(RENAMING_WEEK - 1, RENAMING_WEEK + 3)
        if number in by_number
    ]
    console.print(f"\n[bold]Around the renaming[/]  {' → '.join(around)}")
    console.print(
        f"[bold]In all[/]  {summary['examples']:,} messages, {summary['classes']} kinds; {wrong} were filed "
        f"wrongly, and learned so all the same; {percent(summary['test_accuracy'])} right on messages "
        "that were never learned"
    )
    baselines = summary["baselines"]
    console.print(
        f"[bold]Compared[/]  {percent(baselines['run'])} right before learning (labels as they were filed); "
        f"on the same codes: {baselines_line(baselines)}"
    )
    console.print(
        f"[bold]Speed[/]  {summary['examples_per_second']:,.0f} messages a second predicted and learned, "
        f"{summary['peak_memory_mb']:,.0f} MB of memory at most"
    )


def _print_forgetting(console: Console, outcome: DemoOutcome) -> None:
    forgotten = outcome.forgotten
    console.print(
        f"\n[bold]Forgetting[/]  customer {escape(outcome.customer)} asked for it: "
        f"{forgotten.num_forgotten} messages taken out"
    )
    console.print(f"  fingerprint before  {forgotten.fingerprint_before[:32]}…")
    console.print(f"  fingerprint after   {forgotten.fingerprint_after[:32]}…")
    verdict = (
        "[green]the same[/] as of a learner that never saw these messages: exactly forgotten"
        if outcome.forgetting_is_proved
        else "[red]not[/] that of a learner that never saw these messages"
    )
    console.print(f"  {verdict}")


def _print_predictions(console: Console, outcome: DemoOutcome) -> None:
    console.print("\n[bold]New messages[/]")
    for predicted in outcome.predictions:
        ranking = ", ".join(f"{escape(label)} {probability:.0%}" for label, probability in predicted.top)
        flag = "  [yellow]unlike anything learned[/]" if predicted.is_outlier else ""
        console.print(f"  “{escape(predicted.text or '')}”\n      → {ranking}{flag}")
