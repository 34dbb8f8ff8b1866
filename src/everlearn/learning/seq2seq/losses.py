"""Adding up the losses of translations by the domain of their examples."""

from __future__ import annotations

from everlearn.learning.batch import Batch
from everlearn.learning.seq2seq.objective import Seq2SeqResult
from everlearn.learning.seq2seq.pairs import PairReader
from everlearn.types import TextLoss

__all__ = ["PairLossTally"]


class PairLossTally:
    """Sums of nats, tokens and bytes of fresh examples by domain.

    Args:
        reader: Knows how many bytes of a target are learned.
    """

    def __init__(self, reader: PairReader) -> None:
        self._reader = reader
        self._sums: dict[str | None, tuple[float, int, int]] = {}

    @property
    def num_tokens(self) -> int:
        """Target tokens so far."""
        return sum(tokens for _, tokens, _ in self._sums.values())

    def take(self, batch: Batch, result: Seq2SeqResult) -> None:
        """Take in what a forward pass gave; what is not fresh is passed over."""
        per_example = zip(batch.fresh, result.nats_B.tolist(), result.tokens_B.tolist(), strict=False)
        for example, nats, tokens in per_example:
            sums = self._sums.get(example.domain, (0.0, 0, 0))
            num_bytes = self._reader.num_bytes(example)
            self._sums[example.domain] = (sums[0] + nats, sums[1] + tokens, sums[2] + num_bytes)

    def losses(self) -> tuple[TextLoss, ...]:
        """One loss a domain; domains by name, those without last."""
        domains = sorted(self._sums, key=lambda domain: (domain is None, domain or ""))
        return tuple(
            TextLoss(domain=domain, nats=nats, tokens=tokens, bytes=num_bytes)
            for domain in domains
            for nats, tokens, num_bytes in [self._sums[domain]]
        )
