"""What is no outlier to a settled predictor is none to the live one that goes on from it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.learning_closed_form.synthetic_codes import DENSE_SIZE
from tests.sharing.test_packed_predictors import Learner, examples_of

from everlearn.learning.closed_form.config import ClosedFormConfig
from everlearn.learning.closed_form.label_sets.learner import LabelSetLearner
from everlearn.learning.closed_form.learner import ClosedFormLearner


@pytest.mark.parametrize("kind", [ClosedFormLearner, LabelSetLearner])
@pytest.mark.parametrize("sample_size", [64, 1000])  # of many examples, and of few
@pytest.mark.parametrize("is_restored", [False, True])
def test_one_example_more_makes_no_outliers(
    kind: type[Learner], sample_size: int, *, is_restored: bool
) -> None:
    config = ClosedFormConfig.of_size(
        512, gram_bits=12, sample_size=sample_size, gather=64, leverage_features=64
    )
    learner = kind(dense_size=DENSE_SIZE, config=config)
    examples = examples_of(kind, 400)
    learner.learn(examples[:399])
    learner.settle()
    queries = examples[:300]
    settled = learner.predict(queries)
    if is_restored:
        again = kind(dense_size=DENSE_SIZE, config=config)
        again.restore(learner.state())
        learner = again
    learner.learn(examples[399:])
    live = learner.predict(queries)
    # Scores are by other features, so they differ; what they mean does not.
    assert np.mean([one.outlier_score for one in live]) > 1.2 * np.mean(
        [one.outlier_score for one in settled]
    )
    shares = [np.mean([one.is_outlier for one in predictions]) for predictions in (settled, live)]
    assert max(shares) < 0.06
