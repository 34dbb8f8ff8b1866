"""What a command refuses is told in the words of its options, whatever it is called below them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from everlearn.cli.app import app
from everlearn.cli.commands.learn import learn
from everlearn.cli.failures import reported
from everlearn.cli.option_names import in_option_names, options_of
from everlearn.cli.setting_options import SETTINGS_OF
from everlearn.errors import StoppedError

Run = Callable[..., Any]
MakeCodes = Callable[..., Path]
PROGRAM: Any = typer.main.get_command(app)

NUMBERS = sorted(
    one.opts[0]
    for one in PROGRAM.commands["learn"].params
    if (one.param_type_name == "option" and one.metavar in ("N", "M", "R", "P", "STEPS", "TOKENS", "WORDS"))
    or one.metavar in ("SHARE", "RATE", "DROP", "NORM", "DECAY", "SECONDS", "DAYS")
)


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory, make_codes: MakeCodes) -> Path:
    return make_codes(tmp_path_factory.mktemp("codes") / "a.parquet", 40)


def assert_told(ended: Any, *options: str) -> None:
    assert ended.code == 2, ended.err
    for option in options:
        assert len(re.findall(rf"{option}(?![\w-])", ended.err)) == 1, ended.err
    assert not re.search(r"\b(learner|model|stream|guard|run)\.[a-z]", ended.err), ended.err
    assert not re.search(r"\b[a-z]+_[a-z]+\b", ended.err), ended.err


@pytest.mark.parametrize("option", NUMBERS)
def test_every_number_below_0_is_refused_by_its_option(
    option: str, tmp_path: Path, inside: Run, codes: Path
) -> None:
    assert len(NUMBERS) > 30
    assert_told(inside("learn", codes, "--out", tmp_path / "run", option, "-1"), option)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (("--features", "10"), "--features"),
        (("--features", "100000000"), "--features"),
        (("--max-classes", "1"), "--max-classes"),
        (("--max-classes", "0"), "--max-classes"),
        (("--max-classes", "2000000"), "--max-classes"),
        (("--memory-budget", "1000001"), "--memory-budget"),
        (("--task", "lm", "--max-classes", "5"), "--max-classes"),
        (("--delimiter", ";"), "--delimiter"),
        (("--encoding", "morse"), "--encoding"),
    ],
)
def test_what_a_learner_refuses_is_told_by_its_option(
    given: tuple[str, ...], option: str, tmp_path: Path, inside: Run, codes: Path
) -> None:
    assert_told(inside("learn", codes, "--out", tmp_path / "run", *given), option)


def test_other_commands_speak_of_their_options_too(
    tmp_path: Path, inside: Run, codes: Path, small: list[str]
) -> None:
    run = tmp_path / "run"
    assert inside("learn", codes, "--out", run, *small).code == 0
    assert_told(inside("predict", run, "a text", "--top", "0"), "--top")
    assert_told(inside("predict", run, "a text", "--text-field", "body"), "--text-field")
    assert_told(inside("predict", run, "a text", "--threads", "0"), "--threads")
    assert_told(inside("evaluate", run, codes, "--delimiter", ";"), "--delimiter")
    assert_told(inside("replay", run, "--features", "10"), "--features")
    assert_told(inside("consolidate", run, "--learning-rate", "-1"), "--learning-rate")
    assert_told(inside("consolidate", run, "--threads", "-1"), "--threads")
    assert_told(inside("journal", "compact", run, "--drop-text-after", "-1"), "--drop-text-after")
    assert "No such option" in inside("replay", run, "--max-classes", "2").err


@given(st.sampled_from(sorted(SETTINGS_OF)), st.integers())
def test_names_of_settings_become_options_and_quoted_words_stay(name: str, value: int) -> None:
    option = f"--{name.replace('_', '-')}"
    path = SETTINGS_OF[name][0].path
    options = options_of(learn)
    for said in (path, path.rpartition(".")[2]):
        told = in_option_names(f"{said} must be at least 1, not {value}", options)
        assert told == f"{options[name]} must be at least 1, not {value}"
        assert options[name] == option
    kept = f"label '{path}' of /data/{path}/my {name}.jsonl is left as it is"
    assert in_option_names(kept, options) == kept


def test_a_stop_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> None:
        raise StoppedError("Stopped before anything.")

    with pytest.raises(typer.Exit) as ended:
        reported(stopped)()
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "Stopped before anything.\n"
