"""How much of a long context a bounded window keeps, on texts of many kinds: the evidence for the default.

Run: ``python -m benchmarks.context_window [--choosing] [--tokens N] [--out FILE]``

SmolLM2-135M-Instruct in bfloat16 reads texts of 8,000 tokens in chunks of 256: without carry, with a window
of the last tokens and the first ones (sinks), and with all that came before. The share of a window is how
much of the gap between the first and the last it closes. The last columns say what it depends on: how many
tokens end a run of seven that was last read further back than today's window (a mail that is quoted again),
and the share of that window on all other tokens. ``--choosing`` reads the texts that the default was
chosen on, with more windows; without it, others, with today's default and the one of before. Results go to
``--out`` as they come; a benchmark that was interrupted goes on with them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.environment import environment_line
from benchmarks.long_texts import CHOOSING, UNSEEN, IntArray, first_tokens
from benchmarks.reading import Losses, SavedLosses, losses
from everlearn.context import CarryConfig
from everlearn.models.language.causal import load_language_model
from everlearn.settings.language import ROOMY_WINDOW

__all__ = ["main"]

BoolArray = npt.NDArray[np.bool_]

NO_CARRY, WHOLE = "no carry", "all"
DEFAULT, BEFORE = (ROOMY_WINDOW, CarryConfig().sinks), (1_024, 4)
RUN = 7
CHOICES = [BEFORE, (1_024, 64), (2_048, 4), (2_048, 64), (3_072, 64)]


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--choosing", action="store_true", help="the texts that the default was chosen on")
    parser.add_argument("--tokens", type=int, default=8_000, help="tokens of each text")
    parser.add_argument(
        "--out", type=Path, default=Path("context-window.json"), help="results, to go on with"
    )
    options = parser.parse_args()
    print(environment_line(), flush=True)
    saved = SavedLosses(options.out, options.tokens)
    loaded = load_language_model("smollm2", dtype="bfloat16", device="cpu")
    texts = CHOOSING if options.choosing else UNSEEN
    windows = CHOICES if options.choosing else list(dict.fromkeys((BEFORE, DEFAULT)))
    settings = {NO_CARRY: CarryConfig(kind="none"), WHOLE: CarryConfig(window=None)} | {
        name_of(window, sinks): CarryConfig(window=window, sinks=sinks) for window, sinks in windows
    }
    from_afar = {}
    for kind, text in texts.items():
        ids = first_tokens(loaded, text(options.data), options.tokens)
        from_afar[kind] = repeated_from_afar(ids, DEFAULT[0])
        for name, config in settings.items():
            saved.measure(f"{kind}: {name}", partial(losses, loaded, ids, config))
    print(table(saved, from_afar, list(settings)[2:]))


def repeated_from_afar(ids_T: IntArray, distance: int) -> BoolArray:
    """Which tokens but the first (T - 1,) end a run of ``RUN`` that was last read more than so far back."""
    last: dict[tuple[int, ...], int] = {}
    found = np.zeros(len(ids_T) - 1, dtype=np.bool_)
    for place in range(RUN - 1, len(ids_T)):
        run = tuple(ids_T[place - RUN + 1 : place + 1].tolist())
        found[place - 1] = place - last.get(run, place) > distance
        last[run] = place
    return found


def name_of(window: int, sinks: int) -> str:
    """A window and its sinks in words."""
    return f"window {window:,}, {sinks} sinks"


def table(saved: SavedLosses, from_afar: Mapping[str, BoolArray], windows: list[str]) -> str:
    """Nats per token without carry and with all of it, and each window's share of the gap, by text."""
    heads = ["text", NO_CARRY, WHOLE, *windows, "repeated from afar", "without these"]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    shares: dict[str, list[float]] = {name: [] for name in (*windows, "others")}
    default = name_of(*DEFAULT)
    for kind, is_far in from_afar.items():
        nats = {name: saved.losses[f"{kind}: {name}"] for name in (NO_CARRY, WHOLE, *windows)}
        for name in windows:
            shares[name].append(share(nats, name, np.ones_like(is_far)))
        shares["others"].append(share(nats, default, ~is_far))
        found = " | ".join(f"{shares[name][-1]:.1%}" for name in windows)
        means = f"{nats[NO_CARRY].mean():.3f} | {nats[WHOLE].mean():.3f}"
        rows.append(f"| {kind} | {means} | {found} | {is_far.mean():.1%} | {shares['others'][-1]:.1%} |")
    for title, of in (("least", min), ("mean", lambda values: sum(values) / len(values))):
        found = " | ".join(f"{of(shares[name]):.1%}" for name in windows)
        rows.append(f"| {title} | | | {found} | | {of(shares['others']):.1%} |")
    return "\n".join(rows)


def share(nats: Mapping[str, Losses], name: str, counts: BoolArray) -> float:
    """How much of the gap between no carry and all of the text a window closes, on some of the tokens."""
    none, whole, found = (float(nats[one][counts].mean()) for one in (NO_CARRY, WHOLE, name))
    return (none - found) / (none - whole)


if __name__ == "__main__":
    main()
