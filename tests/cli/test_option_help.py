"""Every option says its unit and its default, and no help names an option that its command does not take."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import typer.main
from docs.check import (
    CLI_REFERENCE,
    SETTINGS_REFERENCE,
    cli_reference,
    default_of,
    option_problems,
    settings_reference,
)

from everlearn.cli.app import app
from everlearn.learning.closed_form import ClosedFormConfig
from everlearn.learning.gradient import GradientConfig
from everlearn.settings import DECLARED, RunConfig
from everlearn.settings.section import EVERY_TASK

Run = Callable[..., Any]
PROGRAM: Any = typer.main.get_command(app)


def test_the_help_of_the_program_has_no_gaps() -> None:
    assert option_problems(PROGRAM) == []
    assert CLI_REFERENCE.read_text(encoding="utf-8") == cli_reference(PROGRAM)
    assert SETTINGS_REFERENCE.read_text(encoding="utf-8") == settings_reference()


def help_of(inside: Run, *words: str) -> str:
    ended = inside(*words)
    assert ended.code == 0, ended.err
    return str(ended.out)


@pytest.mark.parametrize("command", ["learn", "encode"])
@pytest.mark.parametrize("task", EVERY_TASK)
def test_short_help_fits_two_screens_and_tells_where_more_is(
    command: str, task: str, inside: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = (command, "--task", task) if command == "learn" else (command,)
    brief = help_of(inside, *words, "--help")
    monkeypatch.setenv("COLUMNS", "200")
    whole = help_of(inside, *words, "--help-all")
    assert len(brief.splitlines()) <= 48
    assert "--help-all" in brief
    flags = {one.opts[0] for one in PROGRAM.commands[command].params if one.param_type_name == "option"}
    assert {flag for flag in flags if re.search(rf"{flag}(?![\w-])", whole)} == flags
    shown = {
        setting.flag
        for setting in (one.setting for one in DECLARED.values())
        if task in setting.shown_for and setting.flag in flags
    }
    if command == "learn":
        assert len(shown) >= 8
        own = {"--out", "--test", "--general", "--json", "--help-all"}
        assert shown == {flag for flag in flags - own if re.search(rf"{flag}(?![\w-])", brief)} | {"--task"}


def test_short_help_tells_the_defaults_of_its_task(inside: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "Default: minilm." in help_of(inside, "learn", "--help")
    assert "Default: smollm2." in help_of(inside, "learn", "--help", "--task=lm")
    assert "--help-all" not in help_of(inside, "predict", "--help")
    assert "--threads" in help_of(inside, "predict", "--help")


def test_gaps_are_found() -> None:
    sub = typer.Typer()

    @sub.command()
    def first(size: int = typer.Option(None, metavar="PARSECS", help="As --other says.")) -> None:
        pass

    @sub.command()
    def second(other: int = typer.Option(None, metavar="N", help="See first --size. Default: 3.")) -> None:
        pass

    assert option_problems(typer.main.get_command(sub)) == [
        "everlearn first --size: nothing says its default",
        "everlearn first --size: no unit is known by the name PARSECS",
        "everlearn first has no option --other, but its help names it",
    ]


def test_defaults_that_the_help_tells_are_those_of_the_settings() -> None:
    told = {
        one.opts[0]: default_of(one)
        for one in PROGRAM.commands["learn"].params
        if one.param_type_name == "option"
    }
    config, gradient, closed_form = RunConfig(), GradientConfig(), ClosedFormConfig()
    expected: dict[str, Any] = {
        "--max-length": config.model.max_length,
        "--windows": config.model.windows,
        "--delay": config.stream.delay,
        "--seed": config.seed,
        "--features": closed_form.num_features,
        "--max-classes": closed_form.max_classes,
        "--optimizer": gradient.optimizer,
        "--schedule": gradient.schedule,
        "--warmup-steps": gradient.warmup_steps,
        "--lora-rank": gradient.lora_rank,
        "--guard-share": config.guard.share,
        "--guard-level": config.guard.level,
        "--suspicious": config.guard.suspicious,
        "--checkpoint-seconds": round(config.run.checkpoint_seconds),
    }
    assert {name: told[name] for name in expected} == {name: str(value) for name, value in expected.items()}
    rates = [GradientConfig(trainable=part).model_learning_rate for part in ("all", "lora")]
    shown = [f"{rate:.0e}".replace("e-0", "e-") for rate in rates]
    assert told["--learning-rate"] == f"chosen for the optimizer (adamw: {shown[0]}; LoRA: {shown[1]})"
