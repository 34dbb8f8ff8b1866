"""What can be made again is let go when others need the room, the longest unused first."""

from __future__ import annotations

import gc
import threading

import pytest

from everlearn.learning.closed_form import remade
from everlearn.learning.closed_form.remade import Remade, Spare


@pytest.fixture(autouse=True)
def _small_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remade, "_ROOM", remade._Room())
    monkeypatch.setattr(remade, "ROOM_BYTES", 100)


def test_the_longest_unused_is_let_go() -> None:
    first, second = Spare("first", 40), Spare("second", 40)
    assert first.get() == "first"
    third = Spare("third", 40)
    assert (first.get(), second.get(), third.get()) == ("first", None, "third")


def test_what_is_dropped_makes_room() -> None:
    for _ in range(50):
        kept, dropped = Spare("kept", 40), Spare("dropped", 40)
        del dropped
        gc.collect()
        more = Spare("more", 40)
        assert (kept.get(), more.get()) == ("kept", "more")


def test_the_newest_stays_however_large() -> None:
    small, large = Spare("small", 1), Spare("large", 1000)
    assert (small.get(), large.get()) == (None, "large")


def test_it_is_made_again() -> None:
    made: list[int] = []

    def make() -> list[int]:
        made.append(len(made))
        return list(made)

    one: Remade[list[int]] = Remade(make, lambda value: 60)
    assert one.get() == one.get() == [0]
    Spare("other", 60)
    assert one.get() == [0, 1]
    assert one.holding([7]).get() == [7]


def test_threads_may_use_it() -> None:
    wrong = []

    def work(number: int) -> None:
        mine: Remade[int] = Remade(lambda: number, lambda value: 30)
        for _ in range(2000):
            Spare("passing", 10)
            if mine.get() != number:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    gc.collect()
    Spare("last", 1)
    assert remade._ROOM._num_bytes <= 100
