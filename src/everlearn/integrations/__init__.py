"""Adapters that let the closed-form learner stand where other libraries expect a classifier of theirs.

``everlearn.integrations.sklearn`` and ``everlearn.integrations.river`` have a ``ClosedFormClassifier`` each.
Here they have the names of their hosts, and none is imported before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everlearn.integrations.river import RiverClassifier
    from everlearn.integrations.sklearn import SklearnClassifier

__all__ = ["RiverClassifier", "SklearnClassifier"]


def __getattr__(name: str) -> Any:
    if name == "RiverClassifier":
        from everlearn.integrations.river import RiverClassifier

        return RiverClassifier
    if name == "SklearnClassifier":
        from everlearn.integrations.sklearn import SklearnClassifier

        return SklearnClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
