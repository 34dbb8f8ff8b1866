"""Reads a long text chunk by chunk with several kinds of context; see README.md beside this file."""

from __future__ import annotations

import argparse
import resource
from pathlib import Path

from everlearn import Example
from everlearn.context import CarryConfig
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.models.language.causal import load_language_model

CARRIES = {
    "no context": CarryConfig(kind="none"),
    "window of 256, no sinks": CarryConfig(window=256, sinks=0),
    "window of 256": CarryConfig(window=256),
    "window of 1,024": CarryConfig(window=1024),
}


def main() -> None:
    """Print a table, then learn the text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="a text file")
    parser.add_argument("--tokens", type=int, default=4000, help="read so many tokens of it")
    options = parser.parse_args()
    model = load_language_model("smollm2", dtype="bfloat16", on_message=print)
    text = options.file.read_text(encoding="utf-8")[: 8 * options.tokens]
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"][: options.tokens]
    document = Example(id="text", text=model.tokenizer.decode(ids))
    print(f"{len(ids):,} tokens of {options.file}, bits per byte:")
    for name, carry in CARRIES.items():
        print(f"  {name:26} {bits_per_byte(learner(carry), document):.3f}", flush=True)
    learned = learner(CARRIES["window of 1,024"])
    learned.learn([document])
    learned.settle()
    print(f"  after learning it once     {bits_per_byte(learned, document):.3f}")
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


def learner(carry: CarryConfig) -> LanguageLearner:
    """A learner of SmolLM2 that reads one document at a time."""
    # A short text is few steps, so they are small, and the learning rate is reached at once.
    optimization = GradientConfig(trainable="lora", learning_rate=5e-4, warmup_steps=1)
    config = LanguageConfig(num_lanes=1, tokens_per_step=256, carry=carry, optimization=optimization)
    return LanguageLearner(load_language_model("smollm2", dtype="float32"), config)


def bits_per_byte(model: LanguageLearner, document: Example) -> float:
    """What the model loses on a document, without learning it."""
    (loss,) = model.score([document])
    return loss.nats / 0.6931 / loss.bytes


if __name__ == "__main__":
    main()
