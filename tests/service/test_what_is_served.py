"""What cannot be served is told with what can be, and with no command that writes over data."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from everlearn import Example, Run
from everlearn.cli.app import app
from everlearn.errors import RunError
from everlearn.service.folder import service_folder


def refusal(place: Path) -> str:
    with pytest.raises(RunError) as raised:
        service_folder(place)
    return str(raised.value)


def test_a_file_of_data_is_not_to_be_written_over(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    told = refusal(path)
    assert "is a file" in told
    assert f"`everlearn learn {path} --out RUN`" in told
    assert "`everlearn serve RUN`" in told
    assert f"--out {path}" not in told
    ended = CliRunner().invoke(app, ["serve", str(path)])
    assert ended.exit_code == RunError.exit_code
    assert path.read_text(encoding="utf-8") == "{}\n"


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    for name in ("desk", "mail"):
        with Run.open(tmp_path / "runs" / name) as run:
            run.learn([Example(id="1", text="my card is lost", target="card")])
    for place in (tmp_path, tmp_path / "runs"):
        told = refusal(place)
        assert "neither a run nor a hub" in told
        for name in ("desk", "mail"):
            assert f"`everlearn serve {tmp_path / 'runs' / name}`" in told
    assert service_folder(tmp_path / "runs" / "desk") == tmp_path / "runs" / "desk" / "service"


def test_what_is_not_there_or_empty_is_told_how_to_make(tmp_path: Path) -> None:
    assert "is not there: `everlearn learn STREAM --out" in refusal(tmp_path / "none")
    assert "is neither a run nor a hub: `everlearn learn STREAM --out" in refusal(tmp_path)
