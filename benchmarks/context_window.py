"""How much of a long context a bounded window keeps, on texts of many kinds: the evidence for the default.

Run: ``python -m benchmarks.context_window [--choosing] [--tokens N] [--out FILE]``

SmolLM2-135M-Instruct in bfloat16 reads texts of 8,000 tokens in chunks of 256: without carry, with a window
of the last tokens and the first ones (sinks), and with all that came before. The share of a window is how
much of the gap between the first and the last it closes. ``--choosing`` reads the texts that the default was
chosen on, with more windows; without it, others, with today's default and the one of before. Results go to
``--out`` as they come; a benchmark that was interrupted goes on with them.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from benchmarks.environment import environment_line
from benchmarks.long_texts import CHOOSING, UNSEEN, first_tokens
from benchmarks.reading import SavedLosses, losses
from everlearn.context import CarryConfig
from everlearn.models.causal import load_language_model

__all__ = ["main"]

NO_CARRY, WHOLE = "no carry", "all"
DEFAULT, BEFORE = (CarryConfig.window or 0, CarryConfig.sinks), (1_024, 4)
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
    for kind, text in texts.items():
        ids = first_tokens(loaded, text(options.data), options.tokens)
        for name, config in settings.items():
            saved.measure(f"{kind}: {name}", partial(losses, loaded, ids, config))
    print(table(saved, list(texts), list(settings)[2:]))


def name_of(window: int, sinks: int) -> str:
    """A window and its sinks in words."""
    return f"window {window:,}, {sinks} sinks"


def table(saved: SavedLosses, kinds: list[str], windows: list[str]) -> str:
    """Nats per token without carry and with all of it, and each window's share of the gap, by text."""
    rows = [
        f"| text | {NO_CARRY} | {WHOLE} | {' | '.join(windows)} |",
        f"|---|{'---|' * (len(windows) + 2)}",
    ]
    shares: dict[str, list[float]] = {name: [] for name in windows}
    for kind in kinds:
        mean = {name: float(saved.losses[f"{kind}: {name}"].mean()) for name in (NO_CARRY, WHOLE, *windows)}
        gap = mean[NO_CARRY] - mean[WHOLE]
        for name in windows:
            shares[name].append((mean[NO_CARRY] - mean[name]) / gap)
        found = " | ".join(f"{shares[name][-1]:.1%}" for name in windows)
        rows.append(f"| {kind} | {mean[NO_CARRY]:.3f} | {mean[WHOLE]:.3f} | {found} |")
    for title, of in (("least", min), ("mean", lambda values: sum(values) / len(values))):
        rows.append(f"| {title} | | | {' | '.join(f'{of(shares[name]):.1%}' for name in windows)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
