"""The model that the benchmark starts from: a small encoder-decoder, trained once and kept in a folder."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.translation.scores import score
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
from everlearn.models.language.seq2seq import Seq2SeqModel, load_seq2seq_model
from everlearn.models.language.small_seq2seq import small_seq2seq
from everlearn.models.storage.saving import save_model
from everlearn.types import Example

__all__ = ["BaseSettings", "base_model"]

# Is written last, so that a training that was broken off starts again.
_TRAINED = "trained.json"


@dataclass(frozen=True, kw_only=True)
class BaseSettings:
    """Size and first training of the model.

    Attributes:
        vocabulary_size: Pieces of the tokenizer, of both languages together.
        hidden_size: Of the states.
        num_layers: Of encoder and decoder each.
        num_heads: Of attention.
        num_epochs: Passes over the initial pairs.
        batch_size: Pairs of a step.
        learning_rate: At its peak.
        warmup_steps: Until the peak; after it the rate falls as 1/sqrt(step).
        average_decay: Of the averaged weights, which are kept.
        seed: Of weights and order.
    """

    vocabulary_size: int = 3_000
    hidden_size: int = 192
    num_layers: int = 2
    num_heads: int = 3
    num_epochs: int = 6
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup_steps: int = 300
    average_decay: float = 0.998
    seed: int = 0


def base_model(
    folder: Path,
    initial: Sequence[Example],
    validation: Sequence[Example],
    settings: BaseSettings,
    say: Callable[[str], None],
) -> Seq2SeqModel:
    """The trained model of a folder; trained into it first where it is empty.

    Args:
        folder: Is made where it is missing.
        initial: Pairs to train on.
        validation: Pairs that are scored after each epoch, to watch; nothing depends on it.
        settings: Size and training.
        say: Is told how it goes.
    """
    if not (folder / _TRAINED).is_file():
        _train(folder, initial, validation, settings, say)
    return load_seq2seq_model(str(folder), dtype="float32", device="cpu")


def _train(
    folder: Path,
    initial: Sequence[Example],
    validation: Sequence[Example],
    settings: BaseSettings,
    say: Callable[[str], None],
) -> None:
    texts = [text for example in initial for text in (example.text, example.target) if text is not None]
    # Without dropout: there are few passes, and dropout costs a sixth of the time.
    model = small_seq2seq(
        texts,
        vocab_size=settings.vocabulary_size,
        hidden_size=settings.hidden_size,
        layers=settings.num_layers,
        heads=settings.num_heads,
        dropout=0.0,
        seed=settings.seed,
    )
    learner = Seq2SeqLearner(
        model,
        Seq2SeqConfig(
            label_smoothing=0.1,
            optimization=GradientConfig(
                learning_rate=settings.learning_rate,
                betas=(0.9, 0.98),
                schedule="inverse-sqrt",
                warmup_steps=settings.warmup_steps,
                seed=settings.seed,
            ),
            stability=StabilityConfig(average_decay=settings.average_decay),
        ),
    )
    start = time.perf_counter()
    generator = random.Random(settings.seed)
    for epoch in range(settings.num_epochs):
        losses = [
            learner.learn(batch).loss or 0.0 for batch in _batches(initial, settings.batch_size, generator)
        ]
        seconds = time.perf_counter() - start
        line = f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}, {seconds:.0f} s"
        if (epoch + 1) % 2 == 0 or epoch + 1 == settings.num_epochs:
            line += f", validation BLEU / chrF {score(learner, validation)}"
        say(line)
        with learner.training.averaged():
            save_model(folder, model.model, model.tokenizer, overwrite=True)
    (folder / _TRAINED).write_text(json.dumps(asdict(settings)), encoding="utf-8")


def _batches(
    examples: Sequence[Example], batch_size: int, generator: random.Random
) -> Iterator[list[Example]]:
    """All examples in random order, those of like length together, so that little is padded."""
    order = list(examples)
    generator.shuffle(order)
    pool = 20 * batch_size
    batches = []
    for first in range(0, len(order), pool):
        near = sorted(
            order[first : first + pool],
            key=lambda example: len(example.text or "") + len(example.target or ""),
        )
        batches += [near[at : at + batch_size] for at in range(0, len(near), batch_size)]
    generator.shuffle(batches)
    yield from batches
