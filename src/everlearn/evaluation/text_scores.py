"""Prequential bits per byte of a language model, and its forgetting of the domains of a stream."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from everlearn.errors import ConfigError, StateError
from everlearn.evaluation.domains import MAX_DOMAINS, ByDomain
from everlearn.types import Json, TextLoss

__all__ = ["DomainMatrix", "TextScores", "bits_per_byte"]

STATE_VERSION = 1

# Text of the window is summed in this many parts, so that short texts do not fill the memory; of many
# domains, each in fewer.
_PARTS_OF_WINDOW = 1_000
_PARTS_OF_DOMAINS = 64_000


def bits_per_byte(nats: float, num_bytes: int) -> float | None:
    """``nats / ln 2 / bytes``, or None where there are no bytes.

    >>> bits_per_byte(math.log(2), 2)
    0.5
    """
    return nats / math.log(2) / num_bytes if num_bytes else None


class _Tally:
    # Sums over everything, and over the last bytes: parts [nats, tokens, bytes], the oldest first.

    def __init__(self, window_bytes: int, num_parts: int = _PARTS_OF_WINDOW) -> None:
        self.window_bytes = window_bytes
        self.num_parts = num_parts
        self.nats, self.tokens, self.bytes = 0.0, 0, 0
        self.parts: deque[list[float]] = deque()
        self.recent_bytes = 0

    def add(self, loss: TextLoss) -> None:
        self.nats += loss.nats
        self.tokens += loss.tokens
        self.bytes += loss.bytes
        if self.parts and self.parts[-1][2] * self.num_parts < self.window_bytes:
            last = self.parts[-1]
            last[0] += loss.nats
            last[1] += loss.tokens
            last[2] += loss.bytes
        else:
            self.parts.append([loss.nats, loss.tokens, loss.bytes])
        self.recent_bytes += loss.bytes
        while self.recent_bytes - self.parts[0][2] >= self.window_bytes:
            self.recent_bytes -= int(self.parts.popleft()[2])

    def coarsen(self, num_parts: int) -> None:
        self.num_parts = num_parts
        while len(self.parts) > 2 * num_parts:
            whole, last = divmod(len(self.parts), 2)
            pairs = [[self.parts.popleft(), self.parts.popleft()] for _ in range(whole)]
            merged = [[a[0] + b[0], a[1] + b[1], a[2] + b[2]] for a, b in pairs]
            self.parts = deque([*merged, *(self.parts if last else ())])

    def summary(self) -> dict[str, Json]:
        recent_nats = math.fsum(nats for nats, _, _ in self.parts)
        return {
            "bits_per_byte": bits_per_byte(self.nats, self.bytes),
            "rolling_bits_per_byte": bits_per_byte(recent_nats, self.recent_bytes),
            "nats_per_token": self.nats / self.tokens if self.tokens else None,
            "tokens_per_byte": self.tokens / self.bytes if self.bytes else None,
            "tokens": self.tokens,
            "bytes": self.bytes,
        }

    def state(self) -> Json:
        return [self.nats, self.tokens, self.bytes, [list(part) for part in self.parts]]

    def load(self, state: Json) -> None:
        nats, tokens, num_bytes, parts = state
        self.nats, self.tokens, self.bytes = float(nats), int(tokens), int(num_bytes)
        self.parts = deque([float(part[0]), int(part[1]), int(part[2])] for part in parts)
        self.recent_bytes = sum(int(part[2]) for part in self.parts)


class TextScores:
    """Bits per byte of text that was predicted before it was learned, over everything and by domain.

    Rolling figures cover the last ``window_bytes`` (and at most one update, or a thousandth of the
    window, more); those of a domain its own last bytes. With more than 64 domains a domain's window is kept
    in fewer parts, and beyond ``max_domains`` all further ones are counted together, so that memory does not
    grow with the stream.

    Example:
        >>> from everlearn.types import TextLoss
        >>> scores = TextScores(window_bytes=1_000)
        >>> scores.update([TextLoss(domain="news", nats=70.0, tokens=30, bytes=100)])
        >>> round(scores.summary()["bits_per_byte"], 3)
        1.01

    Args:
        window_bytes: Bytes of text that rolling figures cover.
        max_domains: So many domains have figures of their own; None: all.

    Raises:
        ConfigError: ``window_bytes`` is below 1.
    """

    def __init__(self, window_bytes: int = 1_000_000, *, max_domains: int | None = MAX_DOMAINS) -> None:
        if window_bytes < 1:
            raise ConfigError(f"window_bytes must be at least 1, not {window_bytes}")
        self.window_bytes = window_bytes
        self.max_domains = max_domains
        self._total = _Tally(window_bytes)
        self._domains = ByDomain(self._new_tally, max_domains)

    def update(self, losses: Iterable[TextLoss]) -> None:
        """Take in what a step reported."""
        for loss in losses:
            self._total.add(loss)
            if loss.domain is not None:
                self._domains[loss.domain].add(loss)

    def _new_tally(self) -> _Tally:
        """Of one domain more; where there are many, all take less room."""
        num_parts = _PARTS_OF_WINDOW
        while num_parts > 1 and num_parts * (len(self._domains) + 1) > _PARTS_OF_DOMAINS:
            num_parts //= 2
        for tally in self._domains.values():
            if tally.num_parts > num_parts:
                tally.coarsen(num_parts)
        return _Tally(self.window_bytes, num_parts)

    def summary(self, max_domains: int | None = None) -> dict[str, Json]:
        """``bits_per_byte, rolling_bits_per_byte, nats_per_token, tokens_per_byte, tokens, bytes``.

        ``domains`` holds the same of each domain, in order of appearance. Figures that are not defined
        yet are None.

        Args:
            max_domains: Only the largest; None: all.
        """
        chosen = self._domains.largest(max_domains, lambda tally: tally.bytes)
        domains = {name: tally.summary() for name, tally in chosen}
        return {**self._total.summary(), "domains": domains}

    def state(self) -> dict[str, Json]:
        """Everything needed to go on exactly, as JSON."""
        return {
            "version": STATE_VERSION,
            "window_bytes": self.window_bytes,
            "total": self._total.state(),
            "domains": [[name, tally.state()] for name, tally in self._domains.items()],
        }

    def restore(self, state: Mapping[str, Json]) -> None:
        """Replace everything by a saved state, the window included.

        Raises:
            StateError: The state is damaged or of another version.
        """
        try:
            if state["version"] != STATE_VERSION:
                raise StateError(
                    f"text scores of format version {state['version']} cannot be read; "
                    f"this program reads version {STATE_VERSION}"
                )
            fresh = TextScores(int(state["window_bytes"]), max_domains=self.max_domains)
            fresh._total.load(state["total"])
            for name, saved in state["domains"]:
                tally = fresh._new_tally()
                tally.load(saved)
                tally.coarsen(tally.num_parts)
                fresh._domains.put(str(name), tally)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StateError(f"text scores are damaged: {error!r}") from error
        self.__dict__.update(fresh.__dict__)


class DomainMatrix:
    """Bits per byte of each domain's held-out text, measured again after each domain of the stream.

    Rows are what was learned last, in the order of the stream (a domain may come back), columns the
    domains that were measured. A first row of None holds what the model knew before it learned anything.
    A column that is no row is text that the stream does not hold: what a pretrained model should not
    forget either.

    A. Chaudhry, P. Dokania, T. Ajanthan and P. Torr: Riemannian Walk for Incremental Learning:
    Understanding Forgetting and Intransigence, ECCV 2018 (forgetting, there of accuracy).

    Example:
        >>> matrix = DomainMatrix()
        >>> matrix.add(None, {"law": 1.2, "code": 1.5})
        >>> matrix.add("law", {"law": 0.9, "code": 1.6})
        >>> matrix.add("code", {"law": 1.0, "code": 0.8})
        >>> round(matrix.mean_final, 3), round(matrix.forgetting, 3)
        (0.9, 0.1)
    """

    def __init__(self) -> None:
        self._rows: list[tuple[str | None, dict[str, float]]] = []

    @property
    def learned(self) -> tuple[str | None, ...]:
        """What was learned last in each row (R); None: nothing yet."""
        return tuple(after for after, _ in self._rows)

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the columns (D), in order of appearance."""
        return tuple(dict.fromkeys(name for _, row in self._rows for name in row))

    @property
    def values(self) -> list[list[float | None]]:
        """Bits per byte (R, D); None where not measured."""
        return [[row.get(name) for name in self.domains] for _, row in self._rows]

    def add(self, after: str | None, measured: Mapping[str, float]) -> None:
        """Add a row.

        Args:
            after: The domain learned last; None: before anything was learned, only as the first row.
            measured: Bits per byte by domain.

        Raises:
            ValueError: A figure is negative or not finite, or ``after`` is None in a later row.
        """
        if after is None and self._rows:
            raise ValueError("only the first row can come before anything was learned")
        for name, bits in measured.items():
            if not math.isfinite(bits) or bits < 0:
                raise ValueError(f"bits per byte of {name!r} must be finite and not negative, not {bits}")
        self._rows.append((after, {name: float(bits) for name, bits in measured.items()}))

    @property
    def mean_final(self) -> float | None:
        """Mean of the last row over all domains measured; None without a row."""
        return _mean(list(self._rows[-1][1].values())) if self._rows else None

    @property
    def forgetting(self) -> float | None:
        """Mean increase of bits per byte from the best earlier row to the last one.

        Taken over the domains that could be forgotten: those learned before the last row's, and those
        that are not in the stream. Positive where the model got worse. None while there are none.
        """
        if len(self._rows) < 2:
            return None
        newest, last = self._rows[-1]
        before = {after for after, _ in self._rows[:-1]}
        increases = []
        for name, bits in last.items():
            best = min((row[name] for _, row in self._rows[:-1] if name in row), default=None)
            if name != newest and best is not None and (name in before or name not in self.learned):
                increases.append(bits - best)
        return _mean(increases)

    def to_json(self) -> dict[str, Json]:
        """The matrix as JSON; entries that were not measured are null."""
        return {"learned": list(self.learned), "domains": list(self.domains), "bits_per_byte": self.values}

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> DomainMatrix:
        """Read what ``to_json`` wrote.

        Raises:
            StateError: The data are damaged.
        """
        matrix = cls()
        try:
            for after, row in zip(data["learned"], data["bits_per_byte"], strict=True):
                entries = zip(data["domains"], row, strict=True)
                matrix.add(after, {str(name): float(bits) for name, bits in entries if bits is not None})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"the domain matrix is damaged: {error!r}") from error
        return matrix

    def markdown(self, digits: int = 3) -> str:
        """The matrix as a table in Markdown, with a line below for what it says of forgetting."""
        head = ["bits per byte after", *self.domains]
        lines = [_cells(head), _cells(["---", *["---:"] * len(self.domains)])]
        for after, row in zip(self.learned, self.values, strict=True):
            figures = ["–" if bits is None else f"{bits:.{digits}f}" for bits in row]
            lines.append(_cells(["(nothing)" if after is None else after, *figures]))
        measures = [("mean at the end", self.mean_final), ("forgetting", self.forgetting)]
        shown = [f"{name} {value:.{digits}f}" for name, value in measures if value is not None]
        return "\n".join([*lines, *(["", ", ".join(shown)] if shown else [])]) + "\n"


def _cells(values: Sequence[str]) -> str:
    escaped = (" ".join(value.split()).replace("\\", "\\\\").replace("|", "\\|") for value in values)
    return f"| {' | '.join(escaped)} |"


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
