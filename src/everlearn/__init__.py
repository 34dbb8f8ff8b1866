"""everlearn keeps a pretrained language model learning after it is deployed.

A learner is a fold over a stream: it predicts a batch, then learns it. ``ClosedFormLearner`` keeps
exact sums and solves for its predictor; ``GradientLearner`` fine-tunes online with replay;
``LanguageLearner`` and ``Seq2SeqLearner`` do so with models that write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everlearn.errors import (
    ConfigError,
    EverlearnError,
    InputError,
    MissingExtraError,
    ModelError,
    RunError,
    StateError,
    StorageError,
)
from everlearn.processors import wait_passively
from everlearn.version import __version__

if TYPE_CHECKING:
    from everlearn.context import CarryConfig
    from everlearn.learning import ClosedFormConfig, ClosedFormLearner, GradientConfig, GradientLearner
    from everlearn.learning.language import LanguageConfig, LanguageLearner
    from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
    from everlearn.methods import create_method
    from everlearn.models import CoderConfig, TextCoder, VectorCoder, load_trunk
    from everlearn.models.language.causal import load_language_model
    from everlearn.models.language.seq2seq import load_seq2seq_model
    from everlearn.runtime.hub.hub import Hub
    from everlearn.runtime.run import Run, StepOutcome
    from everlearn.stream import open_source
    from everlearn.types import Code, Example, ForgetReport, Learner, Prediction, State, StepReport


# How threads wait is read when torch is loaded, which the first use of a name below does. A function to call
# would be called too late, so it is done here.
wait_passively()

# Names whose modules import torch are loaded when they are first used, so that ``everlearn --help``
# and ``everlearn.__version__`` are quick.
_LAZY = {
    "CarryConfig": "everlearn.context",
    "ClosedFormConfig": "everlearn.learning",
    "ClosedFormLearner": "everlearn.learning",
    "Code": "everlearn.types",
    "CoderConfig": "everlearn.models",
    "Example": "everlearn.types",
    "ForgetReport": "everlearn.types",
    "GradientConfig": "everlearn.learning",
    "GradientLearner": "everlearn.learning",
    "Hub": "everlearn.runtime.hub.hub",
    "LanguageConfig": "everlearn.learning.language",
    "LanguageLearner": "everlearn.learning.language",
    "Learner": "everlearn.types",
    "Prediction": "everlearn.types",
    "Run": "everlearn.runtime.run",
    "Seq2SeqConfig": "everlearn.learning.seq2seq",
    "Seq2SeqLearner": "everlearn.learning.seq2seq",
    "State": "everlearn.types",
    "StepOutcome": "everlearn.runtime.run",
    "StepReport": "everlearn.types",
    "TextCoder": "everlearn.models",
    "VectorCoder": "everlearn.models",
    "create_method": "everlearn.methods",
    "load_language_model": "everlearn.models.language.causal",
    "load_seq2seq_model": "everlearn.models.language.seq2seq",
    "load_trunk": "everlearn.models",
    "open_source": "everlearn.stream",
}

__all__ = [
    "CarryConfig",
    "ClosedFormConfig",
    "ClosedFormLearner",
    "Code",
    "CoderConfig",
    "ConfigError",
    "EverlearnError",
    "Example",
    "ForgetReport",
    "GradientConfig",
    "GradientLearner",
    "Hub",
    "InputError",
    "LanguageConfig",
    "LanguageLearner",
    "Learner",
    "MissingExtraError",
    "ModelError",
    "Prediction",
    "Run",
    "RunError",
    "Seq2SeqConfig",
    "Seq2SeqLearner",
    "State",
    "StateError",
    "StepOutcome",
    "StepReport",
    "StorageError",
    "TextCoder",
    "VectorCoder",
    "__version__",
    "create_method",
    "load_language_model",
    "load_seq2seq_model",
    "load_trunk",
    "open_source",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'everlearn' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
