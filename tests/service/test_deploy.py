"""What is in deploy/ fits the program: options exist, settings are settings, probes are routes."""

from __future__ import annotations

import json
import re
import shlex
from configparser import ConfigParser
from pathlib import Path

import pytest
import typer.main
import yaml

from everlearn.cli.app import app
from everlearn.service.learner import _SECONDS_TO_END
from everlearn.service.reload import RELOADABLE
from everlearn.settings.service import ServiceConfig

DEPLOY = Path(__file__).parents[2] / "deploy"


def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "everlearn.service")
    return parser


def commands() -> list[list[str]]:
    """Command lines of the program, without its name."""
    image = (DEPLOY / "Dockerfile").read_text()
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    given = re.search(r"^CMD (\[.*\])$", image, flags=re.MULTILINE)
    assert given is not None
    return [
        shlex.split(unit()["Service"]["ExecStart"])[1:],
        json.loads(given[1]),
        composed["services"]["everlearn"]["command"],
    ]


@pytest.mark.parametrize("command", commands(), ids=["systemd", "image", "compose"])
def test_the_program_takes_these_options(command: list[str]) -> None:
    program = typer.main.get_command(app).commands[command[0]]  # type: ignore[attr-defined]
    context = program.make_context(command[0], list(command[1:]), resilient_parsing=False)
    assert context.params["place"].name == "run"


def test_the_settings_are_settings() -> None:
    text = (DEPLOY / "service.yaml").read_text()
    config = ServiceConfig.given({}, file=DEPLOY / "service.yaml", environment={})
    assert config.port == 8600
    fixed, changeable = (set(yaml.safe_load(part)) for part in re.split(r"^# -+$", text, flags=re.MULTILINE))
    assert changeable <= RELOADABLE
    assert not fixed & RELOADABLE


def test_what_was_accepted_has_time_to_be_learned() -> None:
    stop = int(unit()["Service"]["TimeoutStopSec"])
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert stop > _SECONDS_TO_END
    assert composed["services"]["everlearn"]["stop_grace_period"] == f"{stop}s"


def test_the_image_runs_as_a_user_of_its_own() -> None:
    image = (DEPLOY / "Dockerfile").read_text().splitlines()
    last = [line.split()[1] for line in image if line.startswith("USER ")][-1]
    assert last not in ("root", "0")
    assert any("/readyz" in line for line in image)
    for line in image:
        if line.startswith("COPY ") and "--from" not in line:
            assert all((DEPLOY.parent / name).exists() for name in line.split()[1:-1]), line
