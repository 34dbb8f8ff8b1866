"""Tokens a second of training, beside transformers' Trainer with peft on the same documents.

Run: ``python -m benchmarks.lm_throughput [--documents N] [--rounds N] [--threads N] [--variants]``

SmolLM2-135M, LoRA of rank 16 on every linear layer, bfloat16 autocast over float32 adapters and a
bfloat16 base, AdamW, documents of natural lengths (poems, verses, speeches, scenes: 30 to 1,000 tokens).
Trainer pads each batch to its longest document, with and without grouping by length; everlearn lays
documents back to back in lanes. Both make a step of the same number of real tokens, on average. Rounds
alternate, medians are given; only real tokens count. ``--variants`` also runs everlearn with one of its
own parts replaced by the library's, to say where time goes.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.environment import describe_environment, environment_line
from benchmarks.language_texts import documents
from everlearn import Example
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.language import LanguageConfig, LanguageLearner
from everlearn.models.language.causal import load_language_model
from everlearn.models.language.tokens import tokenize_document

__all__ = ["main"]

RANK = 16
MAX_TOKENS = 1_000
RATE = 2e-4


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--documents", type=int, default=48, help="documents of a round")
    parser.add_argument(
        "--batch", type=int, default=4, help="documents of a Trainer's step; lanes of everlearn"
    )
    parser.add_argument("--chunk", type=int, default=256, help="tokens of a lane's chunk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--variants", action="store_true", help="also with parts of everlearn replaced")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    # Read when the first product is computed: padded batches come in more shapes than are kept by default.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "10000")
    print(environment_line(describe_environment(("torch", "transformers", "peft", "accelerate"))), flush=True)
    stream = _stream(options.data, options.documents)
    lengths = [one[1] for one in stream]
    per_step = sum(lengths) * options.batch // len(lengths)
    print(
        f"{len(stream)} documents of {min(lengths)} to {max(lengths)} tokens, {sum(lengths):,} in all; "
        f"{per_step:,} real tokens a step",
        flush=True,
    )
    shape = (options.batch, options.chunk)
    arms: dict[str, Callable[[], float]] = {
        "Trainer with peft": _trainer(stream, options.batch, group_by_length=False),
        "Trainer with peft, grouped by length": _trainer(stream, options.batch, group_by_length=True),
        "everlearn": _everlearn(stream, shape, per_step),
    }
    if options.variants:
        arms["everlearn, torch's attention"] = _everlearn(stream, shape, per_step, attention="sdpa")
        arms["everlearn, peft's forward pass"] = _everlearn(stream, shape, per_step, own_lora=False)
        arms["everlearn, no carried context"] = _everlearn(stream, shape, per_step, carry="none")
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(options.rounds + 1):
        for name, run in arms.items():
            seconds = run()
            if number:  # the first round compiles kernels and fills caches
                found[name].append(sum(lengths) / seconds)
                print(number, name, f"{found[name][-1]:,.0f} tokens/s", flush=True)
    base = statistics.median(found["Trainer with peft"])
    print("\n| | real tokens a second | ratio |\n| --- | --- | --- |")
    for name, rates in found.items():
        rate = statistics.median(rates)
        print(f"| {name} | {rate:,.0f} | {rate / base:.2f} |")


def _stream(data: str | None, count: int) -> list[tuple[Example, int]]:
    """Documents of all lengths with their numbers of tokens, separators included."""
    tokenizer = load_language_model("smollm2", dtype="bfloat16").tokenizer
    each = -(-count // 4)
    chosen = []
    for domain in ("song-poetry", "genesis", "presidential", "shakespeare"):
        found = []
        for example in documents(domain, "train", data):
            num_tokens = len(tokenize_document(tokenizer, str(example.text), starts=True, ends=True).ids)
            if num_tokens <= MAX_TOKENS:
                found.append((example, num_tokens))
            if len(found) == each:
                break
        chosen += found
    random.Random(0).shuffle(chosen)
    return chosen[:count]


def _everlearn(
    stream: Sequence[tuple[Example, int]],
    shape: tuple[int, int],
    per_step: int,
    *,
    attention: str | None = None,
    own_lora: bool = True,
    carry: str | None = None,
) -> Callable[[], float]:
    from everlearn.context import CarryConfig

    config = LanguageConfig(
        num_lanes=shape[0],
        chunk_length=shape[1],
        tokens_per_step=per_step,
        carry=CarryConfig(kind=carry) if carry else CarryConfig(),  # type: ignore[arg-type]
        optimization=GradientConfig(
            trainable="lora", lora_rank=RANK, lora_alpha=2 * RANK, learning_rate=RATE, dtype="bfloat16"
        ),
    )
    learner = LanguageLearner(load_language_model("smollm2", dtype="float32"), config)
    if attention is not None:
        learner.model.set_attn_implementation(attention)  # type: ignore[operator]
    if not own_lora:
        from peft.tuners.lora.layer import Linear

        for module in learner.model.modules():
            if isinstance(module, Linear):
                module.__class__ = Linear
    calls = 0

    def run() -> float:
        nonlocal calls
        calls += 1
        start = time.perf_counter()
        learner.learn([_renamed(example, calls) for example, _ in stream])
        learner.settle()
        _synchronize()
        return time.perf_counter() - start

    return run


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _renamed(example: Example, number: int) -> Example:
    return Example(id=f"{number}-{example.id}", text=example.text, domain=example.domain)


def _trainer(
    stream: Sequence[tuple[Example, int]], batch: int, *, group_by_length: bool
) -> Callable[[], float]:
    from peft import LoraConfig, inject_adapter_in_model

    loaded = load_language_model("smollm2", dtype="bfloat16")
    model, tokenizer = loaded.model, loaded.tokenizer
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=modules), model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    rows = [
        {"input_ids": tokenize_document(tokenizer, str(example.text), starts=True, ends=True).ids.tolist()}
        for example, _ in stream
    ]

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            trainer = _make_trainer(model, tokenizer, rows, folder, batch, group_by_length)
            start = time.perf_counter()
            trainer.train()
            _synchronize()
            return time.perf_counter() - start

    return run


def _make_trainer(
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, list[int]]],
    folder: str,
    batch: int,
    group_by_length: bool,
) -> Any:
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=batch,
        num_train_epochs=1,
        learning_rate=RATE,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length" if group_by_length else "random",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )


if __name__ == "__main__":
    main()
