"""Nothing that is read is run: no unpickling, no evaluation of text, no code of models."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import everlearn

SOURCES = sorted(Path(everlearn.__file__).parent.rglob("*.py"))
FORBIDDEN_MODULES = frozenset({"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"})
FORBIDDEN_NAMES = frozenset({"eval", "exec", "compile", "__import__"})
FORBIDDEN_ATTRIBUTES = frozenset({("torch", "load"), ("np", "load"), ("yaml", "load"), ("os", "system")})


def dangers(source: str) -> list[str]:
    """Calls of a source that may run what they read."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [one.name for one in names if one.name.partition(".")[0] in FORBIDDEN_MODULES]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in FORBIDDEN_MODULES:
                found.append(module)
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_NAMES:
                found.append(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attribute)):
                if (name, attribute) in FORBIDDEN_ATTRIBUTES:
                    found.append(f"{name}.{attribute}")
            case ast.keyword(arg="trust_remote_code", value=ast.Constant(value=False)):
                pass
            case ast.keyword(arg="trust_remote_code" | "shell"):
                found.append(str(node.arg))
    return found


def test_nothing_that_is_read_is_run() -> None:
    assert len(SOURCES) > 300
    found = {path.name: dangers(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "eval(text)",
        "torch.load(path)",
        "yaml.load(text)",
        "load(name, trust_remote_code=True)",
        "run(command, shell=True)",
    ],
)
def test_a_danger_is_seen(source: str) -> None:
    assert dangers(source)


@pytest.mark.parametrize("source", ["model.eval()", "yaml.safe_load(text)", "re.compile(text)"])
def test_what_is_none_is_none(source: str) -> None:
    assert dangers(source) == []
