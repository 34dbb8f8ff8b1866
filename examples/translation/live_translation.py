"""A small translator that is trained on some captions, and then meets captions about something else.

Run: ``python examples/translation/live_translation.py --data FOLDER``

FOLDER holds ``train.jsonl`` or ``train.jsonl.gz``: one JSON object a line with "source" and "target". Pairs
whose source has one of --topic's words are kept out of the first training and come later, as a stream: each
batch is translated first, then its targets arrive and are learned.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import time
from collections.abc import Sequence
from pathlib import Path

import sacrebleu

from everlearn.learning.gradient import GradientConfig
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
from everlearn.methods import ExperienceReplay, ReplayConfig
from everlearn.models.language.small_seq2seq import small_seq2seq
from everlearn.models.storage.saving import save_model
from everlearn.types import Example, Predictor

FIRST_BATCH, STREAM_BATCH, NUM_TEST = 64, 16, 200


def main() -> None:
    """Train, then live."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="default: multi30k_en_de in $EVERLEARN_DATA")
    parser.add_argument("--topic", default="dog dogs puppy puppies", help="words of the later domain")
    parser.add_argument("--first", type=int, default=8_000, help="pairs of the first training")
    parser.add_argument("--epochs", type=int, default=6, help="passes over them")
    parser.add_argument("--stream", type=int, default=800, help="pairs of the stream")
    parser.add_argument("--save", type=Path, help="write the first model into this new folder")
    options = parser.parse_args()
    # Kernels of products are made for each shape, and sentences come in more shapes than are kept by default.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "10000")

    first, stream = read_pairs(data_file(options.data), options.topic.split())
    test, first = first[:NUM_TEST], first[NUM_TEST : NUM_TEST + options.first]
    stream = stream[: options.stream]
    print(f"{len(first)} pairs to begin with; then a stream of {len(stream)} with {options.topic!r}")

    replay = ExperienceReplay(ReplayConfig(memory_examples=2_000, num_replayed=STREAM_BATCH))
    learner = first_training(first, options.epochs, replay)
    if options.save is not None:
        save_model(options.save, learner.model, learner.seq2seq_model.tokenizer)
    frozen = learner.frozen()
    before = bleu(translate(learner, test), test)
    live(learner, frozen, stream)
    after = bleu(translate(learner, test), test)
    print(f"on {len(test)} pairs of the first domain: BLEU {before:.1f} before the stream, {after:.1f} after")


def data_file(folder: Path | None) -> Path:
    """The file with the pairs; leaves the program with advice where there is none."""
    if folder is None:
        if not os.environ.get("EVERLEARN_DATA"):
            raise SystemExit(
                "Pass --data FOLDER, or set EVERLEARN_DATA to a folder that holds multi30k_en_de. The folder "
                'needs train.jsonl (or .gz): one JSON object a line with "source" and "target". Multi30k is '
                "published at github.com/multi30k/dataset (data/task1/raw)."
            )
        folder = Path(os.environ["EVERLEARN_DATA"]) / "multi30k_en_de"
    for name in ("train.jsonl.gz", "train.jsonl"):
        if (folder / name).is_file():
            return folder / name
    raise SystemExit(f"{folder} holds neither train.jsonl.gz nor train.jsonl")


def read_pairs(path: Path, topic: Sequence[str]) -> tuple[list[Example], list[Example]]:
    """Pairs outside and inside the topic, each in a random order that is always the same."""
    words = re.compile(rf"\b(?:{'|'.join(map(re.escape, topic))})\b", re.IGNORECASE)
    outside: list[Example] = []
    inside: list[Example] = []
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            record = json.loads(line)
            example = Example(id=str(number), text=record["source"], target=record["target"])
            (inside if words.search(record["source"]) else outside).append(example)
    for examples in (outside, inside):
        random.Random(0).shuffle(examples)
    return outside, inside


def first_training(first: Sequence[Example], epochs: int, replay: ExperienceReplay) -> Seq2SeqLearner:
    """A learner over a model that was trained on pairs, some of which its replay memory keeps."""
    texts = [text for example in first for text in (example.text or "", example.target or "")]
    model = small_seq2seq(texts, vocab_size=2_000, hidden_size=128, layers=2, dropout=0.0)
    training = GradientConfig(learning_rate=2e-3, schedule="inverse-sqrt", warmup_steps=100)
    teacher = Seq2SeqLearner(model, Seq2SeqConfig(label_smoothing=0.1, optimization=training))
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        order = random.Random(epoch).sample(list(first), len(first))
        losses = [
            teacher.learn(order[at : at + FIRST_BATCH]).loss or 0.0
            for at in range(0, len(order), FIRST_BATCH)
        ]
        seconds = time.perf_counter() - start
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.2f} ({seconds:.0f} s)", flush=True)
    # From here on the rate is constant: a stream has no end that it could fall towards.
    learner = Seq2SeqLearner(model, Seq2SeqConfig(optimization=GradientConfig(learning_rate=5e-4)), [replay])
    replay.memory.add(learner.model_examples(first))
    return learner


def live(learner: Seq2SeqLearner, frozen: Predictor, stream: Sequence[Example]) -> None:
    """Translate, then learn, batch by batch; tell the BLEU of each quarter, or about one."""
    said: list[str] = []
    said_frozen: list[str] = []
    told = 0
    for at in range(0, len(stream), STREAM_BATCH):
        batch = stream[at : at + STREAM_BATCH]
        said += translate(learner, batch)
        said_frozen += translate(frozen, batch)
        learner.learn(batch)
        if len(said) - told >= len(stream) // 4 or len(said) == len(stream):
            part = slice(told, len(said))
            now, then = bleu(said[part], stream[part]), bleu(said_frozen[part], stream[part])
            print(f"sentences {told + 1} to {len(said)}: BLEU {now:.1f}, frozen {then:.1f}", flush=True)
            told = len(said)
    print(f"whole stream: BLEU {bleu(said, stream):.1f}, frozen {bleu(said_frozen, stream):.1f}")


def translate(predictor: Predictor, examples: Sequence[Example]) -> list[str]:
    """Translations in order."""
    return [prediction.label or "" for prediction in predictor.predict(examples)]


def bleu(translations: Sequence[str], examples: Sequence[Example]) -> float:
    """Corpus BLEU against the targets."""
    references = [example.target or "" for example in examples]
    return float(sacrebleu.corpus_bleu(list(translations), [references]).score)


if __name__ == "__main__":
    main()
