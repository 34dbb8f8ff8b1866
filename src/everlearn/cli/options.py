"""The options that commands share beside the settings, and how values are written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "ConfigFile",
    "HelpAll",
    "Json",
    "RunPath",
    "Test",
    "command_again",
    "parse_delimiter",
    "parse_size",
]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}

RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder made by [cyan]learn[/].", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.yaml",
        help="Settings as YAML; options given here win. The settings of a run are in its run.json. "
        "Default: none.",
        rich_help_panel="Run",
    ),
]
Test = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Held-out examples with targets; never learned. Default: none."),
]


def _show_all(context: typer.Context, asked: bool) -> None:
    if asked:
        typer.echo(context.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all", help="Show all options.", callback=_show_all, is_eager=True, expose_value=False
    ),
]


def command_again(context: typer.Context, **changed: str) -> str:
    """The command line that was given, with these parameters in place of its own."""
    words = ["everlearn", str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        value = changed.get(name, context.params.get(name))
        if name not in changed and (source is None or source.name != "COMMANDLINE"):
            continue
        if parameter.param_type_name == "argument":
            words.append(str(value))
        elif isinstance(value, list | tuple):
            words += [word for item in value for word in (parameter.opts[0], str(item))]
        elif isinstance(value, bool):
            words.append(parameter.opts[0] if value else parameter.secondary_opts[0])
        else:
            words += [parameter.opts[0], str(value)]
    return shlex.join(words)


def parse_size(text: str | int) -> int:
    """Bytes from a number with a unit.

    >>> parse_size("512MB"), parse_size("1.5 GiB"), parse_size("4096")
    (512000000, 1610612736, 4096)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]I?)?B?\s*", str(text).upper())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size; write 512MB, 2GiB or a number of bytes")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def parse_delimiter(text: str) -> str:
    """One character, or "tab" for a tab.

    >>> parse_delimiter(";"), parse_delimiter("tab"), parse_delimiter("\\\\t")
    (';', '\\t', '\\t')
    """
    text = "\t" if text in ("tab", "\\t") else text
    if len(text) != 1:
        raise typer.BadParameter(f"{text!r} is not one character; write for example ';', or tab for a tab")
    return text
