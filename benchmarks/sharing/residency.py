"""What stays in memory, simulated on traces of requests: the policy that hubs have, beside LRU and LFU.

1,000 tenants, a budget for 200 of usual size. Traces: Zipf (s = 1), the same with another order of popularity
every 5,000 requests, and a scan through all tenants between requests of the popular ones. Sizes: all alike,
or from a tenth to ten times the usual one, with the cost of bringing back in proportion to it, or alike. A
figure is the cost that was paid, relative to bringing everything back each time.
"""

from __future__ import annotations

from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from everlearn.sharing.residency import Residency

__all__ = ["figures"]

TENANTS, ROOM, REQUESTS = 1_000, 200, 40_000


class Policy(Protocol):
    """Keeps what fits."""

    def ask(self, name: int, size: int, cost: float) -> bool:
        """Whether it is there; it is from now on."""
        ...


class Ours:
    """As hubs keep heads."""

    def __init__(self, budget: int) -> None:
        self._kept: Residency[int] = Residency(budget)

    def ask(self, name: int, size: int, cost: float) -> bool:
        """See Policy."""
        if self._kept.get(str(name)) is not None:
            return True
        self._kept.put(str(name), name, size, cost)
        return False


class LeastRecent:
    """What was not used for longest goes."""

    def __init__(self, budget: int) -> None:
        self._budget, self._bytes = budget, 0
        self._kept: OrderedDict[int, int] = OrderedDict()

    def ask(self, name: int, size: int, cost: float) -> bool:
        """See Policy."""
        if name in self._kept:
            self._kept.move_to_end(name)
            return True
        self._kept[name] = size
        self._bytes += size
        while self._bytes > self._budget:
            self._bytes -= self._kept.popitem(last=False)[1]
        return False


class LeastFrequent:
    """What was used least often goes."""

    def __init__(self, budget: int) -> None:
        self._budget, self._bytes = budget, 0
        self._kept: dict[int, int] = {}
        self._uses: Counter[int] = Counter()

    def ask(self, name: int, size: int, cost: float) -> bool:
        """See Policy."""
        self._uses[name] += 1
        if name in self._kept:
            return True
        self._kept[name] = size
        self._bytes += size
        while self._bytes > self._budget:
            least = min((one for one in self._kept if one != name), key=self._uses.__getitem__)
            self._bytes -= self._kept.pop(least)
        return False


def figures(options: Namespace) -> Iterator[dict[str, Any]]:
    """A line for each trace and choice of sizes."""
    generator = np.random.default_rng(0)
    usual = 1_000
    spread = (usual * 10 ** generator.uniform(-1, 1, TENANTS)).astype(int)
    shapes = {
        "alike": (np.full(TENANTS, usual), np.ones(TENANTS)),
        "spread, cost by size": (spread, spread / usual),
        "spread, cost alike": (spread, np.ones(TENANTS)),
    }
    for trace_name, trace in _traces(generator).items():
        for shape_name, (sizes, costs) in shapes.items():
            budget = ROOM * int(sizes.mean())
            policies: dict[str, Policy] = {
                "hub": Ours(budget),
                "least recent": LeastRecent(budget),
                "least frequent": LeastFrequent(budget),
            }
            paid = {
                name: sum(
                    float(costs[one])
                    for one in trace
                    if not policy.ask(one, int(sizes[one]), float(costs[one]))
                )
                for name, policy in policies.items()
            }
            whole = float(costs[trace].sum())
            yield {
                "trace": trace_name,
                "sizes": shape_name,
                **{name: round(value / whole, 3) for name, value in paid.items()},
            }


def _traces(generator: np.random.Generator) -> dict[str, list[int]]:
    shares = 1 / np.arange(1, TENANTS + 1)
    shares /= shares.sum()
    zipf = generator.choice(TENANTS, REQUESTS, p=shares)
    orders = [generator.permutation(TENANTS) for _ in range(-(-REQUESTS // 5_000))]
    drifting = np.array([orders[k // 5_000][one] for k, one in enumerate(zipf)])
    scanned = zipf.copy()
    scanned[::3] = np.arange(len(scanned[::3])) % TENANTS
    return {"Zipf": zipf.tolist(), "Zipf, changing": drifting.tolist(), "Zipf and scans": scanned.tolist()}
