"""What depends on a run's task lies in ``tasks/``: nothing else asks which it is, or which learner it has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import everlearn
from everlearn.tasks.table import TASKS

PACKAGE = Path(everlearn.__file__).parent
OF_A_TASK = ("Learner", "Scores", "Exams", "HeldOut", "Evaluation")
ASKED = sorted(
    path
    for part in ("runtime", "cli", "evaluation", "journal", "stream")
    for path in (PACKAGE / part).rglob("*.py")
)


def branches(source: str) -> Iterator[str]:
    """Comparisons with a task's name, and isinstance of what a task makes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            parts = [part for side in sides for part in ast.walk(side)]
            names = {part.attr for part in parts if isinstance(part, ast.Attribute)}
            names |= {part.id for part in parts if isinstance(part, ast.Name)}
            texts = {part.value for part in parts if isinstance(part, ast.Constant)}
            if names & {"task", "task_name"} and texts & set(TASKS):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            classes = [part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)]
            if any(name.endswith(OF_A_TASK) for name in classes):
                yield ast.unparse(node)


@pytest.mark.parametrize("path", ASKED, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_branch_on_the_task(path: Path) -> None:
    assert list(branches(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        'if config.task == "lm": pass',
        'x = task != "classify"',
        'y = folder.config.task in ("lm", "seq2seq")',
        "isinstance(learner, LanguageLearner)",
        "isinstance(scores, RunScores | TextRunScores)",
    ],
)
def test_a_branch_is_seen(source: str) -> None:
    assert len(list(branches(source))) == 1
