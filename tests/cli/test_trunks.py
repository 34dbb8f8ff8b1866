"""``everlearn trunks``, as it is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.runtime.word_pairs import write_encoder
from typer.testing import CliRunner

from everlearn.cli.app import app
from everlearn.sharing.trunk_store import TrunkStore


def called(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["trunks", *arguments])
    return result.exit_code, result.output


def test_listing_verifying_removing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "There are none in" in called()[1]
    held = TrunkStore().trunk(str(write_encoder(tmp_path / "encoder")), dtype="float32")
    code, told = called("--json")
    one = json.loads(told)
    assert code == 0
    assert (one["models"], one["in_use"]) == (["encoder (float32)"], True)
    assert "encoder (float32)" in called("--verify")[1]
    assert "Nothing was unused." in called("--remove-unused")[1]
    path = Path(one["path"])
    path.chmod(0o644)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + bytes(8) + whole[-32:])
    code, told = called("--verify")
    assert code == 6
    assert "made anew" in told
    assert held.name == "encoder"
