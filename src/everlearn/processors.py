"""The processors that a process shares with others: how many it may use, and that it does not hold them idly.

Threads that work on one product wait for each other. OpenMP, which torch computes with, lets a waiting thread
spin for a while, since waking it up takes microseconds. That is quick where every thread has a core of its
own. Where another process has one of the cores, threads spin while the one that they wait for cannot run,
and work takes several times as long as its share of the cores would explain.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["processor_quota", "usable_processors", "wait_passively"]

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")

_MEMBERSHIPS = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def wait_passively() -> None:
    """Let waiting threads sleep from now on, by ``OMP_WAIT_POLICY=PASSIVE`` in the environment.

    OpenMP reads it when torch is loaded, so nothing is done once it is; nor where the environment says
    already how threads are to wait. Results and the number of threads do not depend on it.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def usable_processors(memberships: Path = _MEMBERSHIPS, cgroups: Path = _CGROUPS) -> int:
    """Processors that this process may use: by its affinity and by the quota of its control groups.

    A quota of 1.5 processors counts as 2: one thread alone would leave a third of it.

    Args:
        memberships: Tells the process's control groups.
        cgroups: Where control groups are mounted.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    number = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota = processor_quota(memberships, cgroups)
    return number if quota is None else max(1, min(number, math.ceil(quota)))


def processor_quota(memberships: Path = _MEMBERSHIPS, cgroups: Path = _CGROUPS) -> float | None:
    """Processors' time that the control groups allow, in processors; None: no limit, or none can be read.

    Args:
        memberships: As of ``usable_processors``.
        cgroups: The same.
    """
    try:
        lines = memberships.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas: list[float] = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            # Beside controllers of version 1, version 2 is mounted one folder below.
            for mount in (cgroups, cgroups / "unified"):
                quotas += (q for folder in _with_parents(mount, group) for q in _quota_2(folder))
        elif "cpu" in controllers.split(","):
            for mount in (cgroups / controllers, cgroups / "cpu"):
                quotas += (q for folder in _with_parents(mount, group) for q in _quota_1(folder))
    return min(quotas, default=None)


def _with_parents(mount: Path, group: str) -> Iterator[Path]:
    """A group's folder and those above it, whose limits hold as well, down from the mount.

    Within a container the mount may be the group itself, while its name is that outside.
    """
    folder = mount
    yield folder
    for part in Path(group).parts[1:]:
        if part == "..":
            return
        folder = folder / part
        yield folder


def _quota_2(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            yield from _share(int(quota), int(period))


def _quota_1(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        yield from _share(quota, int((folder / "cpu.cfs_period_us").read_text(encoding="ascii")))


def _share(quota: int, period: int) -> Iterator[float]:
    if quota > 0 and period > 0:  # version 1 says -1 where there is no limit
        yield quota / period
