"""Short help of commands with many settings: those that matter for the task at hand."""

from __future__ import annotations

import re
from copy import copy
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperCommand

from everlearn.cli.setting_options import Options, settings_of
from everlearn.settings.section import EVERY_TASK

__all__ = ["BriefHelp"]


_LEARNER_OF: dict[str, str] = {
    "classify": "closed-form",
    "multilabel": "closed-form",
    "lm": "lm",
    "seq2seq": "seq2seq",
}


class BriefHelp(TyperCommand):
    """A command whose help shows few of its settings unless ``--help-all`` asks for all."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, and remember the words: help is shown before the other options are known."""
        ctx.meta["words"] = list(args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        words = ctx.meta.get("words", [])
        shown = self if "--help-all" in words else self.for_task(_task_in(words))
        TyperCommand.format_help(shown, ctx, formatter)

    def for_task(self, task: str) -> BriefHelp:
        """The same command with what its short help shows."""
        brief, options = copy(self), settings_of(self.callback)
        brief.params = [shown for shown in (_shown(known, task, options) for known in self.params) if shown]
        brief.help = (self.help or "").partition("\n\n")[0]
        examples = getattr(self.callback, "examples", {}).get(task, self.epilog or "")
        more = "[bold]More[/bold]  [cyan]--help-all[/]"
        if "task" in options:
            others = " or ".join(f"[cyan]--task {other}[/]" for other in EVERY_TASK if other != task)
            more += f"; of other tasks: {others} [cyan]--help[/]"
        brief.epilog = "\n".join([*filter(None, examples.splitlines()), more])
        return brief


def _task_in(words: list[str]) -> str:
    joined = [word.removeprefix("--task=") for word in words if word.startswith("--task=")]
    apart = [after for word, after in pairwise(words) if word == "--task"]
    task = next(iter([*joined, *apart]), EVERY_TASK[0])
    if task not in EVERY_TASK:
        raise typer.BadParameter(f"{task!r} is none of {', '.join(EVERY_TASK)}", param_hint="--task")
    return task


def _shown(parameter: Any, task: str, options: Options) -> Any:
    """A parameter as the short help shows it; None: not at all."""
    panel = getattr(parameter, "rich_help_panel", None)
    setting = next(iter(options.get(parameter.name, ())), None)
    if panel and f"--task {task}" not in panel if setting is None else task not in setting.setting.shown_for:
        return None
    brief = copy(parameter)
    told, _, default = (parameter.help or "").partition(" Default: ")
    if setting is not None:
        default = setting.default_in_words(_LEARNER_OF[task])
    told, default = (re.sub(r" \([^)]*\)", "", text).rstrip(".") for text in (told, default))
    brief.help = f"{told.partition('. ')[0]}."
    if default:
        brief.help += f" Default: {default.partition('; ')[0]}."
    brief.rich_help_panel, brief.secondary_opts = None, []
    return brief
