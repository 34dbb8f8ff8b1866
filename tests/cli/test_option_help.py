"""Every option says its unit and its default, and no help names an option that its command does not take."""

from __future__ import annotations

from typing import Any

import typer.main
from docs.check import CLI_REFERENCE, cli_reference, default_of, option_problems

from everlearn.cli.app import app
from everlearn.config import RunConfig
from everlearn.learning.closed_form import ClosedFormConfig
from everlearn.learning.gradient import GradientConfig

PROGRAM: Any = typer.main.get_command(app)


def test_the_help_of_the_program_has_no_gaps() -> None:
    assert option_problems(PROGRAM) == []
    assert CLI_REFERENCE.read_text(encoding="utf-8") == cli_reference(PROGRAM)


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
