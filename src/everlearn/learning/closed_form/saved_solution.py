"""The solved predictor as tensors and JSON.

It is derived from the sums, so no fingerprint covers it. It is saved all the same: solved again after a
crash, from sums that have grown since, it would be another one than an undisturbed run goes on with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import torch

from everlearn.learning.closed_form.class_means import ClassMeans
from everlearn.learning.closed_form.naive_bayes import NaiveBayesScorer
from everlearn.learning.closed_form.ridge import RidgeSolution
from everlearn.learning.closed_form.solution import Solution, settings_from_json
from everlearn.learning.closed_form.word_ridge import WordRidge
from everlearn.types import Json

__all__ = ["solution_from_state", "solution_to_state"]

_RIDGE_TENSORS = ("weights_mC", "factor_mm", "mean_m", "prior_C")


def solution_to_state(solution: Solution) -> tuple[dict[str, torch.Tensor], dict[str, Json]]:
    """Tensors by name, and the rest as JSON."""
    ridge = solution.ridge
    tensors = {f"ridge.{name}": getattr(ridge, name).cpu() for name in _RIDGE_TENSORS}
    # The factor is a lower triangle: its rows, one after the other.
    size = len(ridge.factor_mm)
    rows, columns = torch.tril_indices(size, size)
    tensors["ridge.factor_mm"] = ridge.factor_mm.cpu()[rows, columns]
    bayes_tensors, bayes_data = solution.bayes.to_state()
    tensors |= {f"bayes.{name}": tensor for name, tensor in bayes_tensors.items()}
    if solution.words is not None:
        tensors |= {f"words.{name}": tensor for name, tensor in solution.words.to_tensors().items()}
    for k, means in enumerate(solution.means):
        tensors |= {f"means.{k}.columns": means.columns.cpu(), f"means.{k}.sums_CL": means.sums_CL.cpu()}
    data = {
        "labels": list(solution.labels),
        "root_scale": ridge.root_scale,
        "num_examples": ridge.num_examples,
        "factor_size": size,
        "bayes": bayes_data,
        "settings": asdict(solution.settings),
        "leverage_features": solution.leverage_features,
    }
    return tensors, data


def solution_from_state(
    tensors: Mapping[str, torch.Tensor], data: Mapping[str, Json], device: torch.device
) -> Solution:
    """The inverse of ``solution_to_state``."""
    size = int(data["factor_size"])
    rows, columns = torch.tril_indices(size, size)
    packed = tensors["ridge.factor_mm"]
    factor_mm = torch.zeros(size, size, dtype=packed.dtype)
    factor_mm[rows, columns] = packed
    ridge = RidgeSolution(
        weights_mC=tensors["ridge.weights_mC"].to(device),
        factor_mm=factor_mm.to(device),
        mean_m=tensors["ridge.mean_m"].to(device),
        prior_C=tensors["ridge.prior_C"].to(device),
        root_scale=float(data["root_scale"]),
        num_examples=int(data["num_examples"]),
    )
    bayes = NaiveBayesScorer.from_state(_named(tensors, "bayes."), data["bayes"])
    words = _named(tensors, "words.")
    means: list[ClassMeans] = []
    while f"means.{len(means)}.columns" in tensors:
        columns, sums_CL = (tensors[f"means.{len(means)}.{part}"] for part in ("columns", "sums_CL"))
        means.append(ClassMeans(columns.to(device), sums_CL.to(device)))
    return Solution(
        labels=tuple(data["labels"]),
        ridge=ridge,
        bayes=bayes,
        means=means,
        words=WordRidge.from_tensors(words) if words else None,
        settings=settings_from_json(data["settings"]),
        leverage_features=int(data["leverage_features"]),
    )


def _named(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Those whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
