"""Settings of the closed-form learner, and the choice of sizes for a memory budget."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from everlearn.errors import ConfigError

__all__ = ["ClosedFormConfig"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedFormConfig:
    """Sizes and constants of the closed-form learner; none of them is tuned on data.

    Attributes:
        num_features: M, features of the ridge expert. Statistics take about 4·M² bytes in
            memory, a full solve M³/3 multiplications.
        gram_bits: The naive Bayes expert hashes word 1-2-grams into 2**gram_bits columns.
        max_classes: Labels beyond this many are refused with an error.
        sample_size: Examples on which settings (λ, mixture, calibration, outlier threshold)
            are chosen by leave-one-out; bounded, and a function of the set of ids.
        seed: Seed of the random projection.
        smoothing: Additive smoothing of naive Bayes, in units of one text (unit-length counts).
        outlier_quantile: The outlier threshold is this quantile of the sample's leave-one-out
            leverages, so about ``1 - outlier_quantile`` of what is like the stream is flagged.
        leverage_features: Leading features used for the leverage; at most ``num_features``.
        small_features: Leading features of a quick solve, made when new labels appeared since
            the last full one.
        refresh_growth: While a stream is learned, a solve is made again when the number of examples
            has grown by this factor since the last one; up to 2,048 examples, by at most 1.5.
        gather: Examples gathered before they are added to the Gram matrix, at most.
    """

    num_features: int = 4096
    gram_bits: int = 20
    max_classes: int = 10_000
    sample_size: int = 1024
    seed: int = 0
    smoothing: float = 0.01
    outlier_quantile: float = 0.95
    leverage_features: int = 1024
    small_features: int = 1024
    refresh_growth: float = 2.0
    gather: int = 2048

    def __post_init__(self) -> None:
        _within("num_features", self.num_features, 64, 32_768)
        _within("gram_bits", self.gram_bits, 8, 24)
        _within("max_classes", self.max_classes, 2, 1_000_000)
        _within("sample_size", self.sample_size, 16, 65_536)
        _within("seed", self.seed, 0, 2**63 - 1)
        _within("smoothing", self.smoothing, 1e-6, 1e6)
        _within("outlier_quantile", self.outlier_quantile, 0.5, 0.9999)
        _within("leverage_features", self.leverage_features, 16, self.num_features)
        _within("small_features", self.small_features, 16, self.num_features)
        _within("refresh_growth", self.refresh_growth, 1.01, 100.0)
        # 65,536 products of two 7-bit numbers stay below 2**31.
        _within("gather", self.gather, 1, 65_536)

    @classmethod
    def of_size(cls, num_features: int, **settings: Any) -> ClosedFormConfig:
        """A configuration with ``num_features`` features and quick solves no larger than that.

        >>> ClosedFormConfig.of_size(256).small_features
        256
        """
        settings.setdefault("leverage_features", min(1024, num_features))
        settings.setdefault("small_features", min(1024, num_features))
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

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be between {low} and {high}, not {value!r}")
