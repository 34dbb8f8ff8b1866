from __future__ import annotations

import sys
from pathlib import Path

import pytest

from everlearn.errors import ConfigError
from everlearn.methods import METHODS, ExperienceReplay, create_method, method_names


def test_built_in_methods_are_made_from_settings() -> None:
    method = create_method("replay", {"memory_examples": 7})
    assert isinstance(method, ExperienceReplay)
    assert method.config.memory_examples == 7
    assert set(METHODS) <= set(method_names())


def test_wrong_names_and_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"no method 'rehearsal'; known are .*'replay'"):
        create_method("rehearsal")
    with pytest.raises(ConfigError, match=r"no setting 'size'; it has \['memory_examples'"):
        create_method("replay", {"size": 3})
    with pytest.raises(ConfigError, match="num_replayed"):
        create_method("replay", {"num_replayed": 0})


def test_an_installed_package_adds_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "added_methods.py").write_text(
        "from everlearn.methods import ExperienceReplay, MethodEntry, ReplayConfig\n"
        "class Added(ExperienceReplay):\n    pass\n"
        "ENTRY = MethodEntry(Added, ReplayConfig)\n"
        "NOT_AN_ENTRY = Added\n"
    )
    info = tmp_path / "added_methods-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: added-methods\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[everlearn.methods]\nadded = added_methods:ENTRY\nwrong = added_methods:NOT_AN_ENTRY\n"
        "absent = no_such_module:ENTRY\nreplay = added_methods:ENTRY\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "added_methods", raising=False)
    assert {"added", "replay"} <= set(method_names())
    assert type(create_method("added", {"num_replayed": 2})).__name__ == "Added"
    assert type(create_method("replay")) is ExperienceReplay
    with pytest.raises(ConfigError, match="MethodEntry"):
        create_method("wrong")
    with pytest.raises(ConfigError, match="no_such_module"):
        create_method("absent")
