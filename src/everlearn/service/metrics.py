"""Figures for Prometheus."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All of them, in a registry of the service's own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self.requests = Histogram(
            "everlearn_request_seconds", "Time to the answer.", ["route", "status"], buckets=_SECONDS, **own
        )
        self.batch_texts = Histogram(
            "everlearn_batch_texts",
            "Texts given to a process at once.",
            buckets=_SIZES,
            **own,
        )
        self.batch_seconds = Histogram(
            "everlearn_batch_seconds", "Time that it took for them.", buckets=_SECONDS, **own
        )
        self.waiting_texts = Gauge("everlearn_waiting_texts", "Texts that wait to be predicted.", **own)
        self.waiting_labels = Gauge("everlearn_waiting_labels", "Examples that wait to be learned.", **own)
        self.workers = Gauge("everlearn_workers_ready", "Prediction processes that can be asked.", **own)
        self.learner = Gauge("everlearn_learner_ready", "1: the process that learns can be asked.", **own)
        self.lost = Counter(
            "everlearn_processes_lost", "Processes that ended by themselves.", ["kind"], **own
        )
        self.predictions = Counter("everlearn_predictions", "Texts that were predicted.", ["tenant"], **own)
        self.outliers = Counter(
            "everlearn_outliers", "Texts unlike everything that was learned.", ["tenant"], **own
        )
        self.confidence = Histogram(
            "everlearn_confidence",
            "Probabilities of what was predicted; they drift where texts do.",
            ["tenant"],
            buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0),
            **own,
        )
        self.learned = Counter(
            "everlearn_examples", "Examples, by what became of them.", ["tenant", "status"], **own
        )
        self.feedback = Counter(
            "everlearn_feedback", "Feedback for predictions.", ["tenant", "verdict"], **own
        )
        self.accuracy = Gauge(
            "everlearn_rolling_accuracy",
            "Of the newest examples, predicted before they were learned.",
            ["tenant"],
            **own,
        )
        self.held = Gauge("everlearn_held_examples", "Learned and not forgotten.", ["tenant"], **own)
        self.trunk_memory = Gauge(
            "everlearn_trunk_bytes", "Weights that all processes of the machine share.", **own
        )
        self.tenant_memory = Gauge(
            "everlearn_tenant_bytes", "What tenants predict by, in the process that has the hub.", **own
        )
        self.step = Gauge("everlearn_step", "Newest step of the journal.", ["tenant"], **own)
        self.version = Gauge(
            "everlearn_version", "The version that is served; 0: the newest state.", ["tenant"], **own
        )
        self.memory = Gauge(
            "everlearn_memory_bytes", "Memory of a process; what is shared, by its share.", ["process"], **own
        )

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)
