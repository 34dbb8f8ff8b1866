"""Tuning a trunk on what a run has learned, epoch by epoch, judged on an exam that is never tuned on.

The slow phase of learning. The trunk gets LoRA adapters on every linear layer and is tuned by classifying the
pooled hidden states that codes are made of. The exam is meant to be the closed-form learner's own sample: the
learner chooses its settings on it by leave-one-out, and codes of texts that the trunk was tuned on would
flatter it. The adapters of the epoch with the best exam are kept.

Shapes: N texts, E texts of the exam, K coded layers, C classes, D hidden size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from everlearn.learning.closed_form.mixture import fit_mixture
from everlearn.learning.consolidation.config import ConsolidationConfig
from everlearn.learning.consolidation.heads import CosineHeads
from everlearn.learning.consolidation.network import AdaptedNetwork
from everlearn.learning.consolidation.texts import TokenizedTexts, batches_of_like_length, num_batches
from everlearn.models.encoder.load import Trunk
from everlearn.models.storage.adapters import Adapter
from everlearn.types import Example, FloatArray, Json, State

__all__ = ["EpochReport", "TrunkTuning"]

_EXAM_BATCH = 64
_MAX_GRADIENT_NORM = 1.0
_BETAS = (0.9, 0.98)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """One epoch; 0 is the state before the first step.

    Attributes:
        epoch: Its number.
        train_loss: Mean over the epoch, nats; None for epoch 0.
        exam_loss: Nats an exam example, of the tuning heads mixed with the word expert; chooses the epoch.
        exam_accuracy: Of the same mixture, in 0…1.
        seconds: Of tuning and exam.
    """

    epoch: int
    train_loss: float | None
    exam_loss: float
    exam_accuracy: float
    seconds: float

    def to_json(self) -> dict[str, Json]:
        """All figures."""
        return asdict(self)


class TrunkTuning:
    """Tunes adapters of a trunk. The same arguments give the same adapters on the same machine and threads.

    Args:
        trunk: The base trunk, in the number format that the learner runs it in; not changed.
        layers: The coded layers, in the codes' order.
        examples: Learned examples with texts, targets and present codes, those of the exam first.
        num_exam: How many of them are the exam.
        labels: All labels (C).
        word_scores_EC: Scores of the naive Bayes expert for the exam, each without its own example. The
            exam judges the mixture with them, as the learner will.
        config: Settings.
        start: The adapter that present codes were made with; None: none.

    Attributes:
        history: A report for each epoch so far, epoch 0 first.
        best: The adapter of the best epoch; None while no epoch was better than the start.
    """

    def __init__(
        self,
        trunk: Trunk,
        layers: Sequence[int],
        examples: Sequence[Example],
        num_exam: int,
        labels: Sequence[str],
        word_scores_EC: FloatArray,
        config: ConsolidationConfig,
        start: Adapter | None = None,
    ) -> None:
        self.config = config
        self.history: list[EpochReport] = []
        self.best: Adapter | None = None
        self._layers = layers
        self._device = trunk.device
        class_of = {label: k for k, label in enumerate(labels)}
        self._classes_N = torch.tensor([class_of[str(example.target)] for example in examples])
        self._num_exam = num_exam
        self._word_scores_EC = word_scores_EC
        width = min(config.max_length, trunk.max_length)
        texts = [str(example.text) for example in examples]
        self._texts = TokenizedTexts(trunk.tokenizer, texts, width, config)
        self._network = AdaptedNetwork(trunk, config.rank, config.seed, start)
        pooled = (len(layers), trunk.hidden_size)
        means = _class_means(examples[num_exam:], self._classes_N[num_exam:], pooled, len(labels))
        self._heads = CosineHeads(*means, config).to(trunk.device)
        self._generator = np.random.default_rng(config.seed)
        self._optimizer = torch.optim.AdamW(
            [
                {"params": self._network.parameters(), "weight_decay": config.weight_decay},
                {"params": list(self._heads.parameters()), "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=_BETAS,
        )
        self._num_steps = 0

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest exam loss so far; 0: none was better than the start."""
        return min(self.history, key=lambda report: report.exam_loss).epoch if self.history else 0

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done, or the exam has not improved for too long."""
        if not self.history:
            return False
        epoch = self.history[-1].epoch
        return epoch >= self.config.epochs or epoch - self.best_epoch >= self.config.patience

    @property
    def steps_an_epoch(self) -> int:
        """Gradient steps of one epoch."""
        return num_batches(len(self._classes_N) - self._num_exam, self.config.batch_size)

    def examine(self) -> EpochReport:
        """Take the exam before the first step: epoch 0."""
        begun = time.perf_counter()
        loss, accuracy = self._exam()
        seconds = time.perf_counter() - begun
        report = EpochReport(
            epoch=0, train_loss=None, exam_loss=loss, exam_accuracy=accuracy, seconds=seconds
        )
        self.history.append(report)
        return report

    def run_epoch(self, on_step: Callable[[int], None] = lambda _: None) -> EpochReport:
        """One pass over all examples that are not the exam's, then the exam.

        Args:
            on_step: Is told the number of steps made, over all epochs.
        """
        begun = time.perf_counter()
        token_ids = self._texts.variants(self._generator)
        lengths = [len(ids) for ids in token_ids]
        members = range(self._num_exam, len(token_ids))
        loss_sum = 0.0
        for batch in batches_of_like_length(members, lengths, self.config.batch_size, self._generator):
            loss_sum += self._step([token_ids[k] for k in batch], self._classes_N[batch]) * len(batch)
            on_step(self._num_steps)
        loss, accuracy = self._exam()
        report = EpochReport(
            epoch=len(self.history),
            train_loss=loss_sum / max(1, len(members)),
            exam_loss=loss,
            exam_accuracy=accuracy,
            seconds=time.perf_counter() - begun,
        )
        self.history.append(report)
        if self.best_epoch == report.epoch:
            self.best = self._network.adapter()
        return report

    def state(self) -> State:
        """Everything that the next epoch depends on."""
        tensors = {f"network.{name}": tensor for name, tensor in self._network.adapter().tensors.items()}
        tensors |= {
            f"heads.{name}": tensor.detach().cpu().clone()
            for name, tensor in self._heads.state_dict().items()
        }
        moments = self._optimizer.state_dict()["state"]
        for number, values in moments.items():
            tensors |= {f"optimizer.{number}.{name}": tensor.cpu() for name, tensor in values.items()}
        if self.best is not None:
            tensors |= {f"best.{name}": tensor for name, tensor in self.best.tensors.items()}
        data: dict[str, Json] = {
            "history": [report.to_json() for report in self.history],
            "num_steps": self._num_steps,
            "generator": self._generator.bit_generator.state,
        }
        return State(tensors, data)

    def restore(self, state: State) -> None:
        """Go on from a state of a tuning with the same arguments."""
        self.history = [EpochReport(**report) for report in state.data["history"]]
        self._num_steps = state.data["num_steps"]
        self._generator.bit_generator.state = state.data["generator"]
        self._network.load(Adapter(_part(state, "network.")))
        self._heads.load_state_dict(_part(state, "heads."))
        best = _part(state, "best.")
        self.best = Adapter(best) if best else None
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(state, "optimizer.").items():
            number, field = name.split(".", 1)
            moments.setdefault(int(number), {})[field] = tensor
        saved: dict[str, Any] = self._optimizer.state_dict()
        self._optimizer.load_state_dict({**saved, "state": moments})

    def _step(self, token_ids: Sequence[Sequence[int]], targets_B: Tensor) -> float:
        rate = self.config.learning_rate * self._schedule(self._num_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        logits = self._heads(self._network.unit_vectors(token_ids, self._layers))
        loss = self._heads.loss(logits, targets_B.to(self._device))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), _MAX_GRADIENT_NORM)
        self._optimizer.step()
        self._num_steps += 1
        return float(loss.detach())

    def _schedule(self, step: int) -> float:
        """Share of the peak learning rate: up over the warm-up, then down to zero."""
        steps = self.config.epochs * self.steps_an_epoch
        rising = (step + 1) / max(1.0, self.config.warmup * steps)
        falling = (steps - step) / max(1.0, (1 - self.config.warmup) * steps)
        return max(0.0, min(1.0, rising, falling))

    def _exam(self) -> tuple[float, float]:
        """Log-loss and accuracy of the exam, mixed with the word expert and calibrated as by the learner."""
        texts = self._texts.beginnings[: self._num_exam]
        order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
        logits_EC = torch.empty(len(texts), self._word_scores_EC.shape[1])
        with torch.inference_mode():
            for start in range(0, len(order), _EXAM_BATCH):
                rows = order[start : start + _EXAM_BATCH]
                units = self._network.unit_vectors([texts[row] for row in rows], self._layers)
                logits_EC[rows] = self._heads.mean(self._heads(units)).cpu()
        scores_EC = logits_EC.double().numpy()
        classes_E = self._classes_N[: self._num_exam].numpy()
        mixture = fit_mixture([scores_EC, self._word_scores_EC], classes_E)
        chosen_E = mixture.probabilities(scores_EC, self._word_scores_EC).argmax(axis=1)
        loss = mixture.loss if math.isfinite(mixture.loss) else math.inf
        return loss, float((chosen_E == classes_E).mean())


def _class_means(
    examples: Sequence[Example], classes_N: Tensor, pooled: tuple[int, int], num_classes: int
) -> tuple[Tensor, Tensor]:
    """Mean unit vectors of each class (C, K, D) and of all (K, D), from what the trunk made of codes."""
    num_layers, size = pooled
    sums_CKD = torch.zeros(num_classes, num_layers, size)
    counts_C = torch.zeros(num_classes, dtype=torch.int64)
    for example, number in zip(examples, classes_N.tolist(), strict=True):
        if example.code is None:
            continue  # it came with codes of a later trunk only
        counts_C[number] += 1
        pooled_P = example.code.dense[: num_layers * size]  # what follows is no matter of the trunk
        code_KD = torch.from_numpy(pooled_P.astype(np.float32)).view(num_layers, size)
        sums_CKD[number] += functional.normalize(code_KD, dim=-1)
    mean_KD = sums_CKD.sum(dim=0) / counts_C.sum()
    # A class that only the exam holds starts at the common mean, whose centred direction is none.
    means_CKD = sums_CKD / counts_C.clamp(min=1)[:, None, None]
    means_CKD[counts_C == 0] = mean_KD
    return means_CKD, mean_KD


def _part(state: State, prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor for name, tensor in state.tensors.items() if name.startswith(prefix)
    }
