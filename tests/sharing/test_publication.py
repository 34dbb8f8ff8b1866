"""Publishing: readers see whole versions, go on with what they have, and nothing is left over."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.errors import ConfigError, StateError
from everlearn.sharing import publication
from everlearn.sharing.publication import Publication, Publisher
from everlearn.sharing.weight_file import MappedWeights


def head(number: int) -> dict[str, torch.Tensor]:
    """A head that says by what it holds which it is."""
    return {"weights": torch.full((64, 8), float(number)), "number": torch.tensor(number)}


def published(reader: Publication) -> int | None:
    found = reader.now()
    if found is None:
        return None
    number = int(found.tensors["number"])
    assert bool((found.tensors["weights"] == number).all())
    return number


def files(folder: Path, kind: str) -> list[str]:
    return sorted(path.name for path in (folder / kind).iterdir())


def test_a_reader_gets_what_is_current_and_keeps_what_it_has(tmp_path: Path) -> None:
    publisher, reader = Publisher(tmp_path), Publication(tmp_path, "support")
    assert published(reader) is None
    publisher.publish("support", head(1), {})
    first = reader.now()
    assert first is not None
    assert reader.now() is first
    sha256 = publisher.publish("support", head(2), {"step": 7})
    second = reader.now()
    assert second is not None
    assert (second.sha256, second.about) == (sha256, {"step": 7})
    assert float(first.tensors["weights"][0, 0]) == 1
    assert files(tmp_path, "blobs") == [sha256]


def test_nothing_is_left_of_what_nobody_has_any_more(tmp_path: Path) -> None:
    publisher, reader = Publisher(tmp_path), Publication(tmp_path, "a")
    publisher.publish("a", head(1), {})
    held = reader.now()
    assert held is not None
    descriptor = os.open(held.path, os.O_RDONLY)
    publisher.publish("a", head(2), {})
    assert os.fstat(descriptor).st_nlink == 0
    os.close(descriptor)
    del held
    published(reader)
    gc.collect()
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    assert not [link for link in links if link.startswith(str(tmp_path)) and "(deleted)" in link]


def _is_open(descriptor: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


@settings(max_examples=40)
@given(
    acts=st.lists(
        st.tuples(
            st.sampled_from(["publish", "withdraw", "withdraw but for parts", "crash", "copy"]),
            st.sampled_from("abc"),
            st.integers(0, 3),
        ),
        max_size=12,
    ),
    has_parts=st.booleans(),
)
def test_names_and_files_agree_whatever_happens(
    acts: list[tuple[str, str, int]], has_parts: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if has_parts:  # the weights are one
            patch.setattr(publication, "_PART_BYTES", 64)
        _act(tmp_path_factory.mktemp("hub") / "served", acts, has_parts)


def _act(folder: Path, acts: list[tuple[str, str, int]], has_parts: bool) -> None:
    publisher, expected = Publisher(folder), dict[str, int]()
    is_clean = True
    for act, name, number in acts:
        if act == "publish":
            publisher.publish(name, head(number), {})
            expected[name] = number
        elif act.startswith("withdraw"):
            keeps = act != "withdraw"
            is_clean = is_clean and not keeps
            assert publisher.withdraw(name, keep_parts=keeps) == (name in expected)
            expected.pop(name, None)
        elif act == "crash":  # anywhere within publishing
            (folder / "blobs" / ".new-1").write_bytes(b"half")
            for blob in [*(folder / "blobs").iterdir()][:1]:
                os.link(blob, folder / "current" / ".new-2")
            publisher = Publisher(folder)
        else:  # a backup that knows nothing of links
            shutil.copytree(folder, folder.with_name("copy"))
            shutil.rmtree(folder)
            folder.with_name("copy").rename(folder)
            publisher = Publisher(folder)
        assert publisher.published() == sorted(expected)
        for known in "abc":
            assert published(Publication(folder, known)) == expected.get(known)
    if is_clean:
        assert len(files(folder, "blobs")) <= len(set(expected.values())) * (1 + has_parts)
    for name in "abc":
        publisher.withdraw(name)
    assert not files(folder, "blobs")


def test_what_has_not_changed_is_neither_written_nor_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "_PART_BYTES", 64)
    publisher, reader = Publisher(tmp_path), Publication(tmp_path, "a")
    large, grown = torch.full((64, 8), 1.0), torch.full((65, 8), 2.0)
    publisher.publish("a", {"large": large, "rows": grown[:64], "number": torch.tensor(1)}, {"step": 1})
    first = reader.now()
    assert first is not None
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "blobs").iterdir()}
    assert publisher.withdraw("a", keep_parts=True)
    assert reader.now() is None
    publisher.publish("a", {"large": large, "rows": grown, "number": torch.tensor(2)}, {"step": 2})
    second = reader.now()
    assert second is not None
    assert second.about == {"step": 2}
    assert [int(one.tensors["number"]) for one in (first, second)] == [1, 2]
    torch.testing.assert_close(second.tensors["large"], large, rtol=0, atol=0)
    torch.testing.assert_close(second.tensors["rows"], grown, rtol=0, atol=0)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "blobs").iterdir()}
    assert len(after) == 3
    assert len([name for name in after if before.get(name) == after[name]]) == 1
    assert publisher.withdraw("a")
    assert not files(tmp_path, "blobs")


def test_new_parts_are_told_and_verified_before_their_version_is_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "_PART_BYTES", 64)
    read: list[Path] = []
    verify = MappedWeights.verify

    def noted(mapped: MappedWeights) -> bool:
        read.append(mapped.path)
        return verify(mapped)

    monkeypatch.setattr(MappedWeights, "verify", noted)
    publisher, reader = Publisher(tmp_path), Publication(tmp_path, "a")
    large = torch.full((64, 8), 0.5)
    told: list[list[int]] = []

    def on_new_parts(parts: Mapping[str, int]) -> None:
        assert published(reader) == (len(told) or None)
        told.append(sorted(parts.values()))
        reader.verify_parts(parts)

    for number in (1, 2, 3):
        publisher.publish("a", {"large": large, **head(number)}, {}, on_new_parts)
        read.clear()
        assert published(reader) == number
        assert [path.parent.name for path in read] == ["current"]
    assert told == [[large.nbytes] * 2, [large.nbytes], [large.nbytes]]
    publisher.publish("a", {"large": large, **head(3)}, {"step": 4}, on_new_parts)
    assert len(told) == 3
    reader.verify_parts(["0" * 64])  # it did not come to be
    assert published(reader) == 3


def test_a_new_part_that_is_damaged_is_told_where_it_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "_PART_BYTES", 64)
    publisher, reader = Publisher(tmp_path), Publication(tmp_path, "a")
    refused: list[str] = []

    def damage(parts: Mapping[str, int]) -> None:
        (sha256,) = parts
        blob = tmp_path / "blobs" / sha256
        content = bytearray(blob.read_bytes())
        content[-40] ^= 1
        blob.write_bytes(content)
        with pytest.raises(StateError, match="is damaged"):
            reader.verify_parts(parts)
        refused.append(sha256)

    publisher.publish("a", {"large": torch.full((64, 8), 1.0)}, {}, damage)
    assert refused
    with pytest.raises(StateError, match="is damaged"):
        reader.now()


def test_a_version_that_lacks_a_part_or_has_a_damaged_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "_PART_BYTES", 64)
    Publisher(tmp_path).publish("a", head(1), {})
    current = (tmp_path / "current" / "a").stat().st_ino
    (part,) = [path for path in (tmp_path / "blobs").iterdir() if path.stat().st_ino != current]
    content = bytearray(part.read_bytes())
    content[-40] ^= 1
    part.write_bytes(content)
    with pytest.raises(StateError, match="publish it again"):
        Publication(tmp_path, "a").now()
    part.unlink()
    with pytest.raises(StateError, match="lacks parts"):
        Publication(tmp_path, "a").now()
    Publisher(tmp_path).publish("a", head(1), {})
    assert published(Publication(tmp_path, "a")) == 1


def _read(folder: Path, results: Any) -> None:
    reader, seen = Publication(folder, "support"), 0
    while True:
        number = published(reader)
        assert number is not None
        assert number >= seen
        seen = number
        results.value += 1


def test_readers_that_are_killed_harm_nobody(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path)
    publisher.publish("support", head(0), {})
    context = multiprocessing.get_context("spawn")
    counts = [context.Value("q", 0) for _ in range(2)]
    readers = [context.Process(target=_read, args=(tmp_path, count)) for count in counts]
    for process in readers:
        process.start()
    while not all(count.value for count in counts):
        time.sleep(0.01)
    generator, begun = random.Random(0), [count.value for count in counts]
    for number in range(1, 400):
        publisher.publish("support", head(number), {})
        if generator.random() < 0.01 and readers[0].is_alive():
            readers[0].kill()
    assert readers[1].is_alive()
    assert counts[1].value > begun[1]
    for process in readers:
        process.kill()
        process.join()
    assert published(Publication(tmp_path, "support")) == 399
    assert len(files(tmp_path, "blobs")) == 1


def test_damage_is_told(tmp_path: Path) -> None:
    Publisher(tmp_path).publish("a", head(1), {})
    (blob,) = (tmp_path / "blobs").iterdir()
    whole = bytearray(blob.read_bytes())
    whole[-40] ^= 1
    with blob.open("r+b") as file:
        file.write(whole)
    with pytest.raises(StateError, match="damaged; publish it again"):
        Publication(tmp_path, "a").now()
    Publisher(tmp_path).publish("a", head(1), {})
    assert published(Publication(tmp_path, "a")) == 1


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "a\\b", "a\0b", "x" * 201])
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        Publisher(tmp_path).publish(name, head(1), {})
    with pytest.raises(ConfigError, match="is no name"):
        Publication(tmp_path, name)
