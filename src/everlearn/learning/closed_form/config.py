"""Settings of the closed-form learner, and the choice of sizes for a memory budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from everlearn.errors import ConfigError
from everlearn.settings.closed_form import ClosedFormSettings
from everlearn.settings.learner_config import LearnerConfig

__all__ = ["ClosedFormConfig"]

_MIB = 1 << 20


class ClosedFormConfig(ClosedFormSettings, LearnerConfig):
    """Sizes and constants of the closed-form learner; none of them is tuned on data."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the random projection."""
    smoothing: float = Field(default=0.01, ge=1e-6, le=1e6)
    """Additive smoothing of naive Bayes, in units of one text (unit-length counts)."""
    leverage_features: int = Field(default=1024, ge=16)
    """Leading features used for the leverage; at most ``num_features``."""
    class_means: bool = True
    """Whether nearest class means are experts of their own; runs from before there was one have none."""
    word_ridge: bool = True
    """Whether ridge regression on words is an expert of its own; runs from before there was one have none."""
    # 65,536 products of two 7-bit numbers stay below 2**31.
    gather: int = Field(default=2048, ge=1, le=65_536)
    """Examples gathered before they are added to the Gram matrix, at most."""

    @field_validator("max_classes")
    @classmethod
    def _labels_are_several(cls, max_classes: int) -> int:
        # A run may be limited to the one label that it has, but of one there is nothing to learn.
        if max_classes < 2:
            raise ValueError("be at least 2")
        return max_classes

    @model_validator(mode="after")
    def _leading_features_are_some(self) -> Self:
        most = self.num_features
        if self.leverage_features > most:
            raise ValueError(f"leverage_features must be at most {most}, not {self.leverage_features}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_gone(cls, values: Any) -> Any:
        """Records of earlier runs name the size of quick solves, of which there are none any more."""
        if isinstance(values, Mapping):
            return {name: value for name, value in values.items() if name != "small_features"}
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """See LearnerConfig."""
        return super().from_json({"class_means": False, "word_ridge": False} | dict(values))

    @classmethod
    def of_size(cls, num_features: int, **settings: Any) -> ClosedFormConfig:
        """A configuration with ``num_features`` features, and no more than that for the leverage.

        >>> ClosedFormConfig.of_size(256).leverage_features
        256
        """
        settings.setdefault("leverage_features", min(1024, num_features))
        return cls(num_features=num_features, **settings)

    @classmethod
    def for_memory(cls, budget_bytes: int, *, num_classes: int = 200, **settings: Any) -> ClosedFormConfig:
        """The largest sizes whose statistics and solves fit in ``budget_bytes``.

        The trunk is not counted. Counted are the Gram matrix (int64, lower half), the two float
        matrices of a solve, sums by class, and a fully used table of grams.

        Args:
            budget_bytes: Bytes for the learner's state and its solves.
            num_classes: Classes to reckon with.
            **settings: Other fields of the configuration.

        Raises:
            ConfigError: The budget is below what the smallest useful sizes need.

        >>> ClosedFormConfig.for_memory(256 << 20).num_features
        4096
        """
        for num_features, gram_bits in (
            (8192, 21),
            (6144, 20),
            (4096, 20),
            (3072, 18),
            (2048, 17),
            (1024, 15),
            (512, 13),
        ):
            statistics = 4 * num_features**2 + 8 * num_features * num_classes
            solve = 8 * num_features**2 + 12 * num_features * num_classes
            grams = 12 * min(2**gram_bits * num_classes, 4 * 2**gram_bits)
            if statistics + solve + grams <= budget_bytes:
                return cls.of_size(num_features, gram_bits=gram_bits, **settings)
        raise ConfigError(
            f"memory_budget of {budget_bytes / _MIB:.0f} MiB is too small for {num_classes} classes; "
            "give at least 16 MiB"
        )
