from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from everlearn.process_memory import return_free_memory

FREED_BLOCKS = """
import ctypes, sys
import numpy as np, psutil
from everlearn.process_memory import give_large_blocks_back
if sys.argv[1] == "give":
    give_large_blocks_back()
np.ones(16 << 20, dtype=np.uint8)  # freeing it raises glibc's own limit above its size
before = psutil.Process().memory_info().rss
blocks = [np.ones(12 << 20, dtype=np.uint8) for _ in range(8)]
pin = bytes(200_000)
del blocks
print((psutil.Process().memory_info().rss - before) >> 20)
"""

GARBAGE = """
import gc, sys
from everlearn.process_memory import collect_seldom
class Garbage:
    def __init__(self):
        self.me = self
    def __del__(self):
        print("collected")
usual = gc.get_threshold()[0]
if sys.argv[1] == "seldom":
    collect_seldom()
Garbage()
print(usual, gc.get_threshold()[0])
gc.collect()
Garbage()
"""


@pytest.mark.parametrize("choice", ["seldom", "default"])
def test_garbage_is_collected_seldom_and_not_at_the_end(choice: str) -> None:
    printed = subprocess.check_output([sys.executable, "-c", GARBAGE, choice], text=True).split()
    usual, now = map(int, printed[:2])
    assert now == (10_000 if choice == "seldom" else usual)
    # When it is asked for, it is collected.
    assert printed.count("collected") == (1 if choice == "seldom" else 2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_free_memory_goes_back() -> None:
    pieces = [bytes(50_000) for _ in range(2_000)]
    del pieces[::2]
    before = psutil.Process().memory_info().rss
    return_free_memory()
    assert before - psutil.Process().memory_info().rss > 20 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_large_blocks_go_back_when_freed() -> None:
    kept = {
        choice: int(subprocess.check_output([sys.executable, "-c", FREED_BLOCKS, choice], text=True))
        for choice in ("give", "default")
    }
    assert kept["give"] < 4
    assert kept["default"] > 16  # else the setting is not needed any more
