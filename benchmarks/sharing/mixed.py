"""Texts of many adapters in one batch, beside one adapter for all of them, and beside peft's mixed batches.

64 short texts and 64 adapters of rank 8 with random numbers, on MiniLM in float32. All ways encode the same
texts, in turns; the figures are medians. peft's has the texts padded to the longest, as its users do.
"""

from __future__ import annotations

import copy
import statistics
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.datasets import load_rows
from everlearn.models import CoderConfig, load_trunk
from everlearn.models.encoder.adapted_coder import AdaptedCoder
from everlearn.models.encoder.adapter_bank import AdapterBank
from everlearn.models.encoder.load import Trunk
from everlearn.models.storage.adapters import Adapter

__all__ = ["TARGETS", "figures", "random_adapter"]

TEXTS = ADAPTERS = 64
RANK = 8
TARGETS = {
    "query and value": ("query", "value"),
    "all linear": ("query", "key", "value", "dense"),
}


def figures(options: Namespace) -> Iterator[dict[str, Any]]:
    """One line for each choice of layers."""
    torch.set_num_threads(options.threads)
    trunk = load_trunk("minilm", dtype="float32", device="cpu")
    texts = [row.text for row in load_rows("clinc150", "test", options.data)][:TEXTS]
    for title, targets in TARGETS.items():
        yield {
            "layers": title,
            "threads": options.threads,
            **_measured(trunk, texts, targets, options.rounds),
        }


def _measured(trunk: Trunk, texts: list[str], targets: tuple[str, ...], rounds: int) -> dict[str, Any]:
    bank = AdapterBank(trunk)
    names: list[str | None] = [f"a{k}" for k in range(ADAPTERS)]
    adapters = [random_adapter(trunk, k, targets) for k in range(ADAPTERS)]
    for k, adapter in enumerate(adapters):
        bank.add(f"a{k}", adapter)
    coder = AdaptedCoder(bank, CoderConfig())
    peft_model = _peft_model(trunk, adapters, targets)
    inputs = trunk.tokenizer(texts, padding=True, return_tensors="pt")
    same: list[str | None] = ["a0"] * len(texts)
    half: list[str | None] = [name if k % 2 else None for k, name in enumerate(names)]

    def by_peft(own: list[str]) -> torch.Tensor:
        with torch.inference_mode():
            states = peft_model(**inputs, adapter_names=own)[0]
        mask = inputs["attention_mask"][:, :, None]
        return torch.as_tensor((states * mask).sum(dim=1) / mask.sum(dim=1))

    ways: dict[str, Callable[[], torch.Tensor]] = {
        "no adapter": lambda: coder._pool_each(texts, [None] * len(texts)),
        "one for all": lambda: coder._pool_each(texts, same),
        "mixed": lambda: coder._pool_each(texts, names),
        "half of them mixed": lambda: coder._pool_each(texts, half),
        "peft, one for all": lambda: by_peft(["a0"] * len(texts)),
        "peft, mixed": lambda: by_peft([str(name) for name in names]),
    }
    found = {name: way() for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    speed = {name: len(texts) / statistics.median(taken) for name, taken in seconds.items()}
    alone = torch.cat([coder._pool_each([text], [name]) for text, name in zip(texts, names, strict=True)])
    return {
        "texts_a_second": {name: round(value) for name, value in speed.items()},
        "mixed_to_one_for_all": round(speed["mixed"] / speed["one for all"], 3),
        "mixed_to_peft_mixed": round(speed["mixed"] / speed["peft, mixed"], 2),
        "largest_difference_to_alone": float(f"{float((found['mixed'] - alone).abs().max()):.1e}"),
        "largest_difference_to_peft": float(
            f"{float((found['mixed'][:, 0] - found['peft, mixed']).abs().max()):.1e}"
        ),
    }


def random_adapter(trunk: Trunk, seed: int, targets: tuple[str, ...]) -> Adapter:
    """One of small random numbers for layers of these names."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, module in trunk.model.named_modules():
        if not isinstance(module, torch.nn.Linear) or "pooler" in name or name.split(".")[-1] not in targets:
            continue
        tensors[f"{name}.lora_A"] = 0.02 * torch.randn(RANK, module.in_features, generator=generator)
        tensors[f"{name}.lora_B"] = 0.02 * torch.randn(module.out_features, RANK, generator=generator)
    return Adapter(tensors, 2.0)


def _peft_model(trunk: Trunk, adapters: list[Adapter], targets: tuple[str, ...]) -> Any:
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = LoraConfig(
            r=RANK, lora_alpha=2 * RANK, target_modules=list(targets), exclude_modules="pooler.*"
        )
        model: Any = get_peft_model(copy.deepcopy(trunk.model), settings, adapter_name="a0")
        for k, adapter in enumerate(adapters):
            if k:
                model.add_adapter(f"a{k}", settings)
            weights = {f"base_model.model.{name}.weight": one for name, one in adapter.tensors.items()}
            set_peft_model_state_dict(model, weights, adapter_name=f"a{k}")
    return model.eval()
