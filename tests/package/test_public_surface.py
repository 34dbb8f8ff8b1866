from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import everlearn

PUBLIC = {
    "CarryConfig", "ClosedFormConfig", "ClosedFormLearner", "Code", "CoderConfig", "ConfigError",
    "EverlearnError", "Example", "ForgetReport", "GradientConfig", "GradientLearner", "Hub", "InputError",
    "LanguageConfig", "LanguageLearner", "Learner", "MissingExtraError", "ModelError", "Prediction",
    "Run", "RunError", "Seq2SeqConfig", "Seq2SeqLearner", "State", "StateError", "StepOutcome", "StepReport",
    "StorageError",
    "TextCoder", "VectorCoder", "__version__", "create_method", "load_language_model",
    "load_seq2seq_model", "load_trunk", "open_source",
}  # fmt: skip


def test_the_public_names_are_these_and_all_resolve() -> None:
    assert set(everlearn.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(everlearn, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        everlearn.nothing  # noqa: B018


def test_every_module_says_what_it_exports_and_has_it() -> None:
    modules = [m.name for m in pkgutil.walk_packages(everlearn.__path__, "everlearn.")]
    assert len(modules) > 60
    for name in modules:
        if name == "everlearn.__main__":
            continue
        module = importlib.import_module(name)
        assert module.__doc__, f"{name} has no docstring"
        for exported in module.__all__:
            assert hasattr(module, exported), f"{name}.__all__ names {exported}"


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = ("torch", "transformers", "plotly", "river")
    code = f"import sys, everlearn; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _readmes_python() -> list[str]:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    return [block.split("```")[0] for block in readme.split("```python\n")[1:]]


def test_the_readmes_learner_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    _, learner, _ = _readmes_python()  # the first asks a service: tests/service/test_client.py
    exec(compile(learner, "README.md", "exec"), {})
    label, confidence, is_outlier = capsys.readouterr().out.split()
    assert label == "password"
    assert 0.5 < float(confidence) <= 1
    assert is_outlier in {"True", "False"}


def test_the_readmes_run_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, _, run = _readmes_python()
    exec(compile(run, "README.md", "exec"), {})
    assert capsys.readouterr().out.split() == ["billing", "True"]
