"""Adding up the losses of translations."""

from __future__ import annotations

from everlearn.learning.batch import Batch
from everlearn.learning.seq2seq.objective import Seq2SeqResult
from everlearn.learning.seq2seq.pairs import PairReader
from everlearn.learning.text_losses import LossSums
from everlearn.types import TextLoss

__all__ = ["PairLossTally"]


class PairLossTally:
    """Sums of nats, tokens and bytes of fresh examples.

    Args:
        reader: Knows how many bytes of a target are learned.
        sums: Takes them, by domain or by group; None: by domain.

    Attributes:
        num_tokens: Target tokens so far.
    """

    def __init__(self, reader: PairReader, sums: LossSums | None = None) -> None:
        self.num_tokens = 0
        self._reader = reader
        self._sums = LossSums() if sums is None else sums

    def take(self, batch: Batch, result: Seq2SeqResult) -> None:
        """Take in what a forward pass gave; what is not fresh is passed over."""
        per_example = zip(batch.fresh, result.nats_B.tolist(), result.tokens_B.tolist(), strict=False)
        for example, nats, tokens in per_example:
            self._sums.add(example.id, example.domain, nats, tokens, self._reader.num_bytes(example))
            self.num_tokens += tokens

    def losses(self) -> tuple[TextLoss, ...]:
        """One loss a domain; domains by name, those without last."""
        return tuple(
            sorted(self._sums.by_domain(), key=lambda loss: (loss.domain is None, loss.domain or ""))
        )
