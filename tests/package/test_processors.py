"""Quotas of control groups, as containers set them, and how threads wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from everlearn.processors import processor_quota, usable_processors


class Groups:
    """Control groups in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.mount = root / "cgroup"
        self.memberships = root / "memberships"
        self.mount.mkdir()

    def write(self, path: str, text: str) -> None:
        (self.mount / path).parent.mkdir(parents=True, exist_ok=True)
        (self.mount / path).write_text(text)

    def member_of(self, *lines: str) -> float | None:
        self.memberships.write_text("".join(f"{line}\n" for line in lines))
        return processor_quota(self.memberships, self.mount)


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


@pytest.mark.parametrize(
    ("content", "quota"),
    [("max 100000\n", None), ("200000 100000\n", 2.0), ("50000 100000\n", 0.5), ("", None), ("x y\n", None)],
)
def test_version_2_within_a_container(groups: Groups, content: str, quota: float | None) -> None:
    groups.write("cpu.max", content)
    assert groups.member_of("0::/") == quota
    assert groups.member_of("0::/../../elsewhere") == quota


def test_the_tightest_of_all_groups_above_counts(groups: Groups) -> None:
    groups.write("a/cpu.max", "150000 100000\n")
    groups.write("a/b/cpu.max", "400000 100000\n")
    groups.write("a/b/c/cpu.max", "max 100000\n")
    groups.write("other/cpu.max", "10000 100000\n")
    assert groups.member_of("0::/a/b/c") == 1.5
    assert groups.member_of("0::/d") is None


@pytest.mark.parametrize("folder", ["cpu,cpuacct/docker/id", "cpu,cpuacct", "cpu"])
def test_version_1(groups: Groups, folder: str) -> None:
    lines = ("11:memory:/docker/id", "4:cpu,cpuacct:/docker/id", "0::/docker/id")
    groups.write(f"{folder}/cpu.cfs_quota_us", "-1\n")
    groups.write(f"{folder}/cpu.cfs_period_us", "100000\n")
    assert groups.member_of(*lines) is None
    groups.write(f"{folder}/cpu.cfs_quota_us", "250000\n")
    assert groups.member_of(*lines) == 2.5
    assert groups.member_of("3:cpuset:/docker/id") is None


def test_a_hybrid_of_both(groups: Groups) -> None:
    groups.write("unified/a/cpu.max", "300000 100000\n")
    assert groups.member_of("1:name=systemd:/a", "0::/a") == 3.0


def test_processors_are_never_more_than_the_affinity_nor_less_than_one(groups: Groups) -> None:
    number = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    groups.member_of("0::/")
    assert usable_processors(groups.memberships, groups.mount) == number
    groups.write("cpu.max", "10000 100000\n")
    assert usable_processors(groups.memberships, groups.mount) == 1
    groups.write("cpu.max", "100000000 100000\n")
    assert usable_processors(groups.memberships, groups.mount) == number
    assert usable_processors(groups.mount / "nothing", groups.mount) == number


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_affinity_counts() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from everlearn.processors import usable_processors; print(usable_processors())"
    )
    assert _run(program) == "1"


def test_importing_lets_threads_wait_passively() -> None:
    assert _run("import os, everlearn; print(os.environ['OMP_WAIT_POLICY'])") == "PASSIVE"


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "1000")])
def test_what_the_user_set_stays(name: str, value: str) -> None:
    program = f"import os, everlearn; print(os.environ['{name}'], os.environ.get('OMP_WAIT_POLICY'))"
    expected = f"{value} {value if name == 'OMP_WAIT_POLICY' else None}"
    assert _run(program, **{name: value}) == expected


def test_it_is_left_alone_once_torch_is_loaded() -> None:
    assert _run("import os, torch, everlearn; print(os.environ.get('OMP_WAIT_POLICY'))") == "None"


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor is no more than the quota")
@pytest.mark.parametrize(("given", "threads"), [({}, "1 1"), ({"OMP_NUM_THREADS": "2"}, "2 None")])
def test_threads_follow_the_quota_unless_the_user_says_how_many(given: dict[str, str], threads: str) -> None:
    program = (
        "import os, everlearn.processors as p; p.processor_quota = lambda *paths: 0.5; "
        "from everlearn.runtime.threads import use_threads; use_threads(None); import torch; "
        "print(torch.get_num_threads(), os.environ.get('RAYON_NUM_THREADS'))"
    )
    assert _run(program, **given) == threads


def _run(program: str, **environment: str) -> str:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=kept | environment
    )
    return done.stdout.strip()
