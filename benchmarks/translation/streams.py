"""Living on a stream: each batch is translated first, then its targets arrive and are learned."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from benchmarks.translation.data import Corpus
from benchmarks.translation.scores import TranslationScore, score, score_texts
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.method import Method
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
from everlearn.methods import ExperienceReplay, ReplayConfig
from everlearn.methods.anchor import Anchor, AnchorConfig
from everlearn.methods.distillation import DistillationConfig, SnapshotDistillation
from everlearn.models.language.seq2seq import load_seq2seq_model
from everlearn.types import Example

__all__ = ["Kept", "Outcome", "Way", "live", "make_learner", "run_way"]


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a model lives on a stream.

    Attributes:
        name: For the table.
        learns: Whether corrections are learned at all.
        trainable: Which part is.
        num_replayed: Pairs of the first domain learned beside each batch; 0: none.
        memory_examples: Pairs that the replay memory holds.
        learning_rate: Constant, after 20 steps of warm-up.
        label_smoothing: Of the loss, as in the first training.
        average_decay: Of the averaged weights that translate; None: the newest weights do.
        distillation: Weight of the divergence from the first model's predictions on what is replayed.
        anchor: Share of the way back to the first weights that is made after each step.
        batch_size: Sentences that arrive at once.
    """

    name: str
    learns: bool = True
    trainable: str = "all"
    num_replayed: int = 32
    memory_examples: int = 8_000
    learning_rate: float = 2e-4
    label_smoothing: float = 0.1
    average_decay: float | None = 0.98
    distillation: float = 4.0
    anchor: float = 0.0
    batch_size: int = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a model on a stream.

    Attributes:
        prequential: Scores of the translations that were made before their targets were learned.
        by_domain: The same, for each domain of the stream.
        quarters: BLEU of the quarters of the stream.
        predict_seconds: Of all translations.
        learn_seconds: Of all steps.
        learner: As it is at the end.
    """

    prequential: TranslationScore
    by_domain: dict[str, TranslationScore]
    quarters: list[float]
    predict_seconds: float
    learn_seconds: float
    learner: Seq2SeqLearner = field(repr=False)

    @property
    def sentences_per_second(self) -> float:
        """Translated and learned."""
        return self.prequential.count / (self.predict_seconds + self.learn_seconds)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a model knows of a test set at the end of a stream.

    Attributes:
        score: Of its translations.
        nats_per_token: Of the references; it tells apart what BLEU is too coarse for.
    """

    score: TranslationScore
    nats_per_token: float

    def __str__(self) -> str:
        return f"{self.score} ({self.nats_per_token:.3f})"


def make_learner(folder: Path, corpus: Corpus, way: Way) -> Seq2SeqLearner:
    """A learner over a fresh copy of the model; its replay memory holds pairs of the first domain."""
    replay = ExperienceReplay(
        ReplayConfig(memory_examples=way.memory_examples, num_replayed=max(1, way.num_replayed))
    )
    methods: list[Method] = []
    if way.learns and way.num_replayed:
        methods.append(replay)
        if way.distillation:
            settings = DistillationConfig(weight=way.distillation, temperature=1.0, on="added")
            methods.append(SnapshotDistillation(settings))
        if way.anchor:
            methods.append(Anchor(AnchorConfig(mode="pull", strength=way.anchor)))
    config = Seq2SeqConfig(
        label_smoothing=way.label_smoothing,
        optimization=GradientConfig(trainable=way.trainable, learning_rate=way.learning_rate),
        stability=StabilityConfig(average_decay=way.average_decay if way.learns else None),
    )
    learner = Seq2SeqLearner(load_seq2seq_model(str(folder), dtype="float32", device="cpu"), config, methods)
    if methods:
        replay.memory.add(learner.model_examples(corpus.initial))
    return learner


def live(learner: Seq2SeqLearner, stream: Sequence[Example], way: Way) -> Outcome:
    """Predict, then learn, batch by batch."""
    translations: list[str] = []
    predict_seconds = learn_seconds = 0.0
    for first in range(0, len(stream), way.batch_size):
        batch = stream[first : first + way.batch_size]
        start = time.perf_counter()
        translations += [prediction.label or "" for prediction in learner.predict(batch)]
        middle = time.perf_counter()
        predict_seconds += middle - start
        if way.learns:
            learner.learn(batch)
            learn_seconds += time.perf_counter() - middle
    references = [example.target or "" for example in stream]
    domains = list(dict.fromkeys(example.domain or "" for example in stream))
    places = {
        domain: [place for place, example in enumerate(stream) if (example.domain or "") == domain]
        for domain in domains
    }
    edges = [len(stream) * quarter // 4 for quarter in range(5)]
    return Outcome(
        prequential=score_texts(translations, references),
        by_domain={
            domain: score_texts([translations[i] for i in chosen], [references[i] for i in chosen])
            for domain, chosen in places.items()
        },
        quarters=[
            score_texts(translations[start:stop], references[start:stop]).bleu
            for start, stop in pairwise(edges)
        ],
        predict_seconds=predict_seconds,
        learn_seconds=learn_seconds,
        learner=learner,
    )


def run_way(
    folder: Path, corpus: Corpus, stream: Sequence[Example], way: Way, tests: Mapping[str, Sequence[Example]]
) -> tuple[Outcome, dict[str, Kept]]:
    """Live on a stream; then score what must not be forgotten."""
    outcome = live(make_learner(folder, corpus, way), stream, way)
    return outcome, {name: _kept(outcome.learner, test) for name, test in tests.items()}


def _kept(learner: Seq2SeqLearner, test: Sequence[Example]) -> Kept:
    losses = learner.score(test)
    nats = sum(loss.nats for loss in losses) / sum(loss.tokens for loss in losses)
    return Kept(score(learner, test), nats)
