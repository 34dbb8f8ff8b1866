"""The ``everlearn`` program: its commands, and what happens when one fails.

Nothing here imports torch: a command imports the runtime when it runs, so help is quick.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from everlearn.cli import failures
from everlearn.cli.brief_help import BriefHelp
from everlearn.cli.commands import hub, journal, keys, versions
from everlearn.cli.commands.backup import backup, restore
from everlearn.cli.commands.consolidate import consolidate
from everlearn.cli.commands.demo import demo
from everlearn.cli.commands.encode import encode
from everlearn.cli.commands.evaluate import evaluate
from everlearn.cli.commands.export import export
from everlearn.cli.commands.forget import forget
from everlearn.cli.commands.generate import generate
from everlearn.cli.commands.learn import learn
from everlearn.cli.commands.merge import merge
from everlearn.cli.commands.predict import predict
from everlearn.cli.commands.replay import replay
from everlearn.cli.commands.report import report
from everlearn.cli.commands.review import review
from everlearn.cli.commands.serve import serve
from everlearn.cli.commands.tie import tie
from everlearn.cli.commands.trunks import trunks
from everlearn.cli.commands.verify import verify
from everlearn.cli.setting_options import has_many_settings
from everlearn.cli.terminal import check_arguments, prepare_output
from everlearn.errors import ConfigError
from everlearn.process_memory import give_large_blocks_back
from everlearn.version import __version__

__all__ = ["app", "main"]

_EPILOG = """
[bold]Begin with[/bold]  [cyan]everlearn demo[/cyan], or with your own data:

  [cyan]everlearn learn messages.jsonl --out runs/desk[/cyan]

  [cyan]everlearn predict runs/desk "where is my invoice?"[/cyan]

[bold]Exit codes[/bold]  0 done · 1 other errors · 2 wrong setting · 3 input cannot be used · 4 model ·
5 run folder · 6 damaged state · 7 cannot write · 8 missing extra · 130 stopped (Ctrl-C), saved
"""

app = typer.Typer(
    name="everlearn",
    help="Keeps a pretrained language model learning from a stream: one pass, bounded memory, and means "
    "against forgetting.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"everlearn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of unexpected errors.")] = False,
) -> None:
    failures.show_traceback = debug


_COMMANDS = (
    learn,
    encode,
    predict,
    generate,
    evaluate,
    export,
    versions.versions,
    versions.diff,
    versions.blame,
    versions.rollback,
    review,
    replay,
    consolidate,
    forget,
    verify,
    merge,
    report,
    serve,
    backup,
    restore,
    tie,
    trunks,
    demo,
)


def _take(program: typer.Typer, command: Callable[..., None], name: str | None = None) -> None:
    """Make a function a command of a program; its docstring is the help, whose paragraphs flow."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    program.command(
        name,
        cls=BriefHelp if has_many_settings(command) else None,
        help="\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs),
        epilog=getattr(command, "epilog", None),
    )(failures.reported(command))


for _command in _COMMANDS:
    _take(app, _command)

_journal = typer.Typer(
    help="Show, export, compact or repair a run's journal.", no_args_is_help=True, rich_markup_mode="rich"
)
for _part in (journal.show, journal.export, journal.compact, journal.repair):
    _take(_journal, _part)
app.add_typer(_journal, name="journal")

_hub = typer.Typer(
    help="Many runs on one encoder: add tenants, let each learn, predict by it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
for _name, _part in (
    ("add", hub.add),
    ("list", hub.list_),
    ("learn", hub.learn),
    ("predict", hub.predict),
    ("stats", hub.stats),
    ("remove", hub.remove),
):
    _take(_hub, _part, _name)
app.add_typer(_hub, name="hub")

_keys = typer.Typer(
    help="Who may use a service: make, list and remove keys.", no_args_is_help=True, rich_markup_mode="rich"
)
for _name, _part in (("add", keys.add), ("list", keys.list_), ("remove", keys.remove)):
    _take(_keys, _part, _name)
app.add_typer(_keys, name="keys")


def main() -> None:
    """Run the program with the process's arguments."""
    prepare_output()
    try:
        check_arguments(sys.argv[1:])
    except ConfigError as error:
        failures.print_error(str(error))
        sys.exit(error.exit_code)
    give_large_blocks_back()
    # Products in bfloat16 have a kernel for each shape, made in milliseconds. Texts come in more shapes than
    # the 1,024 that are kept by default, which doubles the time of an encoder-decoder's step.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "10000")
    app(prog_name="everlearn")
