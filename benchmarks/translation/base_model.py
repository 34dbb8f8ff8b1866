"""The model that the benchmark starts from: a small encoder-decoder, trained once and kept in a folder."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.translation.scores import score
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
from everlearn.models.seq2seq import Seq2SeqModel, load_seq2seq_model
from everlearn.types import Example

__all__ = ["BaseSettings", "base_model"]

_MAX_LENGTH = 128


@dataclass(frozen=True, kw_only=True)
class BaseSettings:
    """Size and first training of the model.

    Attributes:
        vocabulary_size: Pieces of the tokenizer, of both languages together.
        hidden_size: Of the states; the feed-forward layers have twice as many.
        num_layers: Of encoder and decoder each.
        num_epochs: Passes over the initial pairs.
        batch_size: Pairs of a step.
        learning_rate: At its peak.
        warmup_steps: Until the peak; after it the rate falls as 1/sqrt(step).
        average_decay: Of the averaged weights, which are kept.
        seed: Of weights, order and dropout.
    """

    vocabulary_size: int = 4_000
    hidden_size: int = 256
    num_layers: int = 3
    num_epochs: int = 14
    batch_size: int = 128
    learning_rate: float = 1.5e-3
    warmup_steps: int = 400
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
    if not (folder / "config.json").is_file():
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
    model = _new_model(texts, settings)
    learner = Seq2SeqLearner(
        model,
        Seq2SeqConfig(
            label_smoothing=0.1,
            optimization=GradientConfig(
                learning_rate=settings.learning_rate,
                betas=(0.9, 0.98),
                schedule="inverse-sqrt",
                warmup_steps=settings.warmup_steps,
                train_mode=True,  # with dropout: the pairs are seen many times
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
        if (epoch + 1) % 3 == 0 or epoch + 1 == settings.num_epochs:
            line += f", validation BLEU / chrF {score(learner, validation)}"
        say(line)
    folder.mkdir(parents=True, exist_ok=True)
    with learner.training.averaged():
        model.tokenizer.save_pretrained(folder)
        model.model.save_pretrained(folder)


def _new_model(texts: Sequence[str], settings: BaseSettings) -> Seq2SeqModel:
    """A Marian model of random weights, with byte pairs of both languages in one vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE(unk_token="<unk>"))
    pieces.normalizer = normalizers.NFC()
    pieces.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    pieces.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocabulary_size, special_tokens=["<pad>", "</s>", "<unk>"], show_progress=False
    )
    pieces.train_from_iterator(texts, trainer)
    pieces.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=_MAX_LENGTH,
    )
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("layers", settings.num_layers),
            ("attention_heads", settings.hidden_size // 64),
            ("ffn_dim", 2 * settings.hidden_size),
        )
    }
    config = MarianConfig(
        **sides,
        vocab_size=len(tokenizer),
        decoder_vocab_size=len(tokenizer),
        d_model=settings.hidden_size,
        dropout=0.1,
        activation_function="relu",
        scale_embedding=True,
        max_position_embeddings=_MAX_LENGTH,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        decoder_start_token_id=0,
        forced_eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = MarianMTModel(config)
    return Seq2SeqModel(network.eval(), tokenizer, "small translator", "", _MAX_LENGTH)


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
