"""Hubs: each tenant is as if it were alone, whatever the others do; folders, quotas and names are checked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.hub.tenants import LABELS, hub_settings, same, some, write_own_adapter

from everlearn.errors import ConfigError, InputError, RunError, StateError
from everlearn.models.encoder.adapter_pool import AdapterPool
from everlearn.runtime.commands.hub import add_tenants, learn_tenant, tenant_stats
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest
from everlearn.runtime.fold import published
from everlearn.runtime.fold.published import HeadOpener, publication_of
from everlearn.runtime.history.verify import verify_run
from everlearn.runtime.hub.hub import Hub
from everlearn.runtime.run import Run
from everlearn.sharing.trunk_store import TrunkStore
from everlearn.types import Example


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return hub_settings(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def adapters(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for each tenant that has one, in a folder of its name."""
    folder = tmp_path_factory.mktemp("given")
    for seed, name in enumerate(ADAPTED, start=1):
        write_own_adapter(folder / name, options, seed=seed, rank=2 * seed, targets=("query", "value"))
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_walk(tmp_path: Path, options: dict[str, Any]) -> None:
    with Hub.open(tmp_path / "hub", options) as hub:
        for name in ("anna", "ben"):
            hub.add(name)
        assert hub.tenants() == ["anna", "ben"]
        assert hub.predict([("anna", "w1 w2")])[0].label is None
        outcome = hub.learn("anna", some("anna", 0, 12))
        assert len(outcome.offsets) == 12
        hub.learn("ben", some("ben", 0, 9))
        first = hub.predict([("anna", "w1 w2"), ("ben", "w1 w2"), ("anna", "w3")])
        assert [prediction.label is not None for prediction in first] == [True] * 3
        stats = {one.tenant: one for one in hub.stats()}
        assert (stats["anna"].examples, stats["ben"].examples) == (12, 9)
    with Hub.open(tmp_path / "hub") as hub:
        again = hub.predict([("anna", "w1 w2"), ("ben", "w1 w2"), ("anna", "w3")])
        assert all(same(one, other) for one, other in zip(first, again, strict=True))
        hub.remove("anna")
        assert hub.tenants() == ["ben"]
        assert same(hub.predict([("ben", "w1 w2")])[0], first[1])
        with pytest.raises(RunError, match="has no tenant 'anna'; it has: ben"):
            hub.predict([("anna", "w1")])


TENANTS = ("a", "b", "c", "d", "e")
ADAPTED = ("b", "d")
"""Those of them that read texts with an adapter of their own."""
ACTS = ("learn", "learn", "predict", "forget", "correct", "evict", "reopen", "crash")


@settings(max_examples=25)
@given(
    acts=st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from(TENANTS), st.integers(1, 5)), max_size=20),
    budget=st.sampled_from([None, 0.2, 0.05]),
)
def test_each_tenant_is_as_if_it_were_alone(
    acts: list[tuple[str, str, int]],
    budget: float | None,
    options: dict[str, Any],
    adapters: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("isolation")
    learned, gone = dict.fromkeys(TENANTS, 0), set[str]()
    asked: list[tuple[str, Example | str]] = [(name, f"w3 w{k} {name}") for k in range(2) for name in TENANTS]
    with ExitStack() as opened:
        own = {name: {"model.adapter": str(adapters / name)} if name in ADAPTED else {} for name in TENANTS}
        alone = {
            name: opened.enter_context(
                Run.open(root / "alone" / name, {**options, **own[name]}, models=AdapterPool())
            )
            for name in TENANTS
        }
        hub = Hub.open(root / "hub0", options, memory_budget_mb=budget)
        for name in TENANTS:
            hub.add(name, own[name])
        for number, (act, name, count) in enumerate(acts, start=1):
            if act == "learn":
                batch = some(name, learned[name], count)
                learned[name] += count
                hub.learn(name, batch)
                alone[name].learn(batch)
            elif act in ("forget", "correct") and learned[name]:
                id_ = f"{name}-{count % learned[name]}"
                with hub.run(name) as run:
                    for its_run in (run, alone[name]):
                        if act == "forget":
                            its_run.forget([id_])
                        elif id_ not in gone:
                            its_run.correct({id_: LABELS[count % 3]})
                gone |= {id_} if act == "forget" else set()
            elif act == "evict":
                hub._put_away(name)
            elif act == "reopen":
                hub.close()
                hub = Hub.open(hub.path, memory_budget_mb=budget)
            elif act == "crash":  # what is on the disk at this moment
                copy = root / f"hub{number}"
                shutil.copytree(hub.path, copy)
                hub.close()
                hub = Hub.open(copy, memory_budget_mb=budget)
            answers = hub.predict(asked)
            for whose in TENANTS:
                said = [answer for (one, _), answer in zip(asked, answers, strict=True) if one == whose]
                texts = [text for one, text in asked if one == whose]
                if learned[whose]:
                    for one, other in zip(said, alone[whose].predict(texts), strict=True):
                        assert same(one, other)
                else:
                    assert [answer.label for answer in said] == [None, None]
        for name in TENANTS:
            if learned[name]:
                with hub.run(name) as run:
                    assert run.fingerprint() == alone[name].fingerprint()
        hub.close()


def test_a_budget_bounds_what_is_resident(tmp_path: Path, options: dict[str, Any]) -> None:
    with Hub.open(tmp_path / "hub", options) as hub:
        for k in range(20):
            hub.add(f"t{k}")
            hub.learn(f"t{k}", some(f"t{k}", 0, 6))
    with Hub.open(tmp_path / "hub", memory_budget_mb=0.5) as hub:
        for k in range(20):
            assert hub.predict([(f"t{k}", "w1")])[0].label is not None
        memory = hub.memory()
        assert 0 < memory["resident_mb"] <= 0.5
        assert 0 < memory["resident_tenants"] < 20


def test_a_quota_is_held(tmp_path: Path, options: dict[str, Any]) -> None:
    with Hub.open(tmp_path / "hub", options) as hub:
        hub.add("anna", max_examples=5)
        hub.learn("anna", some("anna", 0, 4))
        with pytest.raises(
            InputError, match=r"'anna' has 4 examples and may have 5: nothing of this batch of 2"
        ):
            hub.learn("anna", some("anna", 4, 2))
        assert len(hub.learn("anna", some("anna", 4, 1)).offsets) == 1
        created = hub.settings_of("anna"), hub.run_folder("anna")
        hub.set_quota("anna", 2)  # what it has learned stays
        assert hub.stats("anna")[0].examples == 5
        with pytest.raises(InputError, match="has 5 examples and may have 2"):
            hub.learn("anna", some("anna", 5, 1))
        hub.set_quota("anna", None)
        assert len(hub.learn("anna", some("anna", 5, 1)).offsets) == 1
        assert (hub.settings_of("anna"), hub.run_folder("anna")) == created
        for wrong in (0, -1, True, 1.5):
            with pytest.raises(ConfigError, match="whole number"):
                hub.set_quota("anna", wrong)  # type: ignore[arg-type]
        with pytest.raises(RunError, match="no tenant"):
            hub.set_quota("nobody", 5)


@pytest.mark.parametrize(("batch_size", "delay"), [(4, 0), (50, 0), (4, 3)])
def test_a_quota_is_held_by_the_program(
    tmp_path: Path, options: dict[str, Any], batch_size: int, delay: int
) -> None:
    stream, more = tmp_path / "first.jsonl", tmp_path / "more.jsonl"
    for path, examples in ((stream, some("anna", 0, 7)), (more, some("anna", 7, 20))):
        path.write_text(
            "".join(
                json.dumps({"id": one.id, "text": one.text, "label": one.target}) + "\n" for one in examples
            )
        )
    add_tenants(tmp_path / "hub", ["anna"], options, max_examples=10)

    def learn(path: Path) -> LearnOutcome:
        given = {"stream.batch_size": batch_size, "stream.delay": delay}
        return learn_tenant(tmp_path / "hub", "anna", LearnRequest(stream=str(path), settings=given))

    assert learn(stream).loss is None
    outcome = learn(more)
    assert outcome.summary["examples"] == 10
    assert "may hold 10 examples, and does: what follows" in str(outcome.loss)
    with pytest.raises(InputError, match="may hold 10 examples, and does"):
        learn(more)
    with Hub.open(tmp_path / "hub") as hub:
        assert [one.examples for one in hub.stats()] == [10]
        with hub.run("anna") as run:
            run.forget(["anna-0", "anna-1"])
    # There is room again, for what came after.
    assert learn(more).summary["examples"] == 12
    with Hub.open(tmp_path / "hub") as hub, hub.run("anna") as run:
        assert run.held().num_examples == 10 - delay  # others wait for their turn, and count, too
        assert verify_run(run.path).is_valid


def test_a_stream_that_just_fits_is_no_loss(tmp_path: Path, options: dict[str, Any]) -> None:
    stream = tmp_path / "first.jsonl"
    stream.write_text("".join(json.dumps({"text": f"w{k}", "label": LABELS[k % 3]}) + "\n" for k in range(9)))
    add_tenants(tmp_path / "hub", ["anna"], options, max_examples=9)
    assert learn_tenant(tmp_path / "hub", "anna", LearnRequest(stream=str(stream))).loss is None


def test_a_tenant_that_does_not_load_harms_no_other(tmp_path: Path, options: dict[str, Any]) -> None:
    with Hub.open(tmp_path / "hub", options) as hub:
        for name in ("anna", "ben"):
            hub.add(name)
            hub.learn(name, some(name, 0, 6))
    (tmp_path / "hub" / "runs" / "anna" / "run.json").write_text("{")
    with Hub.open(tmp_path / "hub") as hub:
        assert hub.predict([("anna", "w1")])[0].label is not None  # by what is published, which is whole
        with pytest.raises((StateError, RunError), match=r"run\.json"):
            hub.learn("anna", some("anna", 6, 1))
        assert hub.predict([("ben", "w1")])[0].label is not None
    shutil.rmtree(tmp_path / "hub" / "runs" / "anna" / "published")
    with Hub.open(tmp_path / "hub") as hub:
        with pytest.raises((StateError, RunError), match=r"run\.json"):
            hub.predict([("anna", "w1")])
        assert hub.predict([("ben", "w1")])[0].label is not None


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "a/b", "../x", ".lock", "a\\b", "x" * 300, "a\0", "two\nlines", 5]
)
def test_names_that_are_paths(tmp_path: Path, options: dict[str, Any], name: Any) -> None:
    with Hub.open(tmp_path / "hub", options) as hub:
        with pytest.raises(ConfigError, match="is no name"):
            hub.add(name)
        with pytest.raises(ConfigError, match="is no name"):
            hub.learn(name, [])
        assert hub.tenants() == []


def test_names_that_look_like_files(tmp_path: Path, options: dict[str, Any]) -> None:
    names = ["anna", "anna.json", "hub.json", "Ünïcode 東京", "-x"]
    with Hub.open(tmp_path / "hub", options) as hub:
        for name in names:
            hub.add(name)
            hub.learn(name, some("anna", 0, 3))
        assert hub.tenants() == sorted(names)
        with pytest.raises(RunError, match="has a tenant 'anna' already"):
            hub.add("anna")
        for name in names:
            hub.remove(name)
        assert hub.tenants() == []
        assert not list((tmp_path / "hub" / "runs").iterdir())


def test_two_hubs_on_one_folder(tmp_path: Path, options: dict[str, Any]) -> None:
    with Hub.open(tmp_path / "hub", options):
        with pytest.raises(RunError, match="open in this process already"):
            Hub.open(tmp_path / "hub")
        program = "import sys, everlearn; from everlearn.runtime.hub.hub import Hub; Hub.open(sys.argv[1])"
        told = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "hub")],
            capture_output=True,
            text=True,
            check=False,
        ).stderr
        assert "in use by another everlearn" in told


def test_folders_that_are_none(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="not a folder"):
        Hub.open(tmp_path / "file", options)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x")
    with pytest.raises(RunError, match=r"no hub \(it holds notes\.txt\)"):
        Hub.open(tmp_path / "other", options)
    with Hub.open(tmp_path / "hub", options):
        pass
    (tmp_path / "hub" / "hub.json").write_text("[]")
    with pytest.raises(StateError, match=r"hub\.json cannot be read"):
        Hub.open(tmp_path / "hub")


def test_settings_are_checked(tmp_path: Path, options: dict[str, Any]) -> None:
    for wrong, told in (
        ({"task": "lm"}, "tenants of a hub classify"),
        ({"learner.kind": "gradient"}, "tenants of a hub classify"),
        ({"learner.closed_form.nose": 3}, "nose"),
    ):
        with pytest.raises(ConfigError, match=told):
            Hub.open(tmp_path / "hub", {**options, **wrong})
    for budget in (0, -1.5):
        with pytest.raises(ConfigError, match="holds nothing"):
            Hub.open(tmp_path / "hub", options, memory_budget_mb=budget)
    with Hub.open(tmp_path / "hub", options) as hub:
        with pytest.raises(ConfigError, match="nose"):
            hub.add("anna", {"learner.closed_form.nose": 3})
        with pytest.raises(ConfigError, match="a whole number from 1"):
            hub.add("anna", max_examples=0)
    with pytest.raises(ConfigError, match="64"):
        Hub.open(tmp_path / "hub", {"learner.closed_form.num_features": 128})
    with pytest.raises(RunError, match="is closed here"):
        hub.predict([])


def test_tenants_of_several_labels(tmp_path: Path, options: dict[str, Any]) -> None:
    with Hub.open(tmp_path / "hub", {"model.name": options["model.name"]}) as hub:
        hub.add("anna", {"task": "multilabel"})
        hub.add("ben")
        sets = ['["a","b"]', "[]", '["a"]'] * 3
        hub.learn("anna", [Example(id=f"{k}", text=f"w{k} w2", target=one) for k, one in enumerate(sets)])
        hub.learn("ben", some("ben", 0, 6))
        anna, ben = hub.predict([("anna", "w1 w2"), ("ben", "w1 w2")])
        assert anna.labels == ("a", "b")
        assert ben.labels == LABELS


def test_tenants_learn_beside_each_other_and_predictions_wait_for_none(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with Hub.open(tmp_path / "hub", options) as hub:
        for name in ("anna", "ben"):
            hub.add(name)
            hub.learn(name, some(name, 0, 6))
        is_held, is_done = Event(), Event()

        def hold() -> None:
            with hub.run("anna"):
                is_held.set()
                assert is_done.wait(60)

        with ThreadPoolExecutor(3) as threads:
            holding = threads.submit(hold)
            assert is_held.wait(60)
            assert hub.predict([("anna", "w1"), ("ben", "w1")])[0].label is not None
            hub.learn("ben", some("ben", 6, 3))
            learning = threads.submit(hub.learn, "anna", some("anna", 6, 3))
            removing = threads.submit(hub.remove, "ben")
            removing.result(60)
            assert not learning.done()
            is_done.set()
            holding.result(60)
            learning.result(60)
        assert hub.tenants() == ["anna"]
        assert hub.stats("anna")[0].examples == 9


def test_many_threads_and_more_tenants_than_may_be_open(tmp_path: Path, options: dict[str, Any]) -> None:
    names = [f"t{k}" for k in range(20)]  # more than may be open at once
    with Hub.open(tmp_path / "hub", options, memory_budget_mb=0.4) as hub:
        for name in names:
            hub.add(name)

        def work(number: int) -> None:
            for turn in range(3):
                for k in range(number, len(names), 4):
                    hub.learn(names[k], some(names[k], 4 * turn, 4))
                    said = hub.predict([(names[(k + step) % 20], "w1 w2") for step in range(3)])
                    assert said[0].label is not None

        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(work, number) for number in range(4)]:
                done.result(300)
        assert hub.memory()["open_runs"] <= 20
        assert {one.examples for one in hub.stats()} == {12}
        fingerprints = {}
        for name in names:
            with hub.run(name) as run:
                fingerprints[name] = run.fingerprint()
    for name in names[:3]:
        with Run.open(tmp_path / "alone" / name, options) as alone:
            alone.learn(some(name, 0, 12))
            assert alone.fingerprint() == fingerprints[name]


def test_a_tenant_larger_than_the_budget_predicts_all_the_same(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with Hub.open(tmp_path / "hub", options) as hub:
        hub.add("anna")
        hub.learn("anna", some("anna", 0, 6))
    with Hub.open(tmp_path / "hub", memory_budget_mb=0.001) as hub:
        for _ in range(2):
            assert hub.predict([("anna", "w1")])[0].label is not None
        assert hub.memory() == {
            "resident_tenants": 0,
            "resident_mb": 0,
            "open_runs": 0,
            "not_kept": 2,
            "process_ids": [],
        }


def test_what_is_in_use_is_not_removed(tmp_path: Path, options: dict[str, Any]) -> None:
    with Hub.open(tmp_path / "hub", options) as hub:
        hub.add("anna")
        hub.learn("anna", some("anna", 0, 6))
        with hub.run("anna") as run, hub.run("anna"):
            with pytest.raises(RunError, match="the run of 'anna' is in use"):
                hub.remove("anna")
            run.learn(some("anna", 6, 2))
        hub.remove("anna")
        assert hub.tenants() == []


def test_figures_of_others_are_told_beside_a_damaged_tenant(tmp_path: Path, options: dict[str, Any]) -> None:
    with Hub.open(tmp_path / "hub", options) as hub:
        for name in ("anna", "ben", "carl"):
            hub.add(name)
            hub.learn(name, some(name, 0, 6))
    (tmp_path / "hub" / "runs" / "anna" / "run.json").write_text("{")
    (tmp_path / "hub" / "tenants" / "carl.json").write_text("{")
    told = {one.tenant: one for one in tenant_stats(tmp_path / "hub", None)}
    assert "run.json" in str(told["anna"].problem)
    assert "carl.json" in str(told["carl"].problem)
    assert (told["ben"].examples, told["ben"].problem) == (6, None)


def test_all_or_none_of_several_names_are_added(tmp_path: Path, options: dict[str, Any]) -> None:
    hub = tmp_path / "hub"
    add_tenants(hub, ["anna"], options)
    for names, told in (
        (["ben", "anna"], "has a tenant 'anna' already"),
        (["ben", "../x"], "is no name"),
        (["ben", "ben"], "named twice"),
    ):
        with pytest.raises((RunError, ConfigError), match=told):
            add_tenants(hub, names, {})
    (hub / "runs" / "stranger").mkdir()
    with pytest.raises(RunError, match="is there already, and of no tenant"):
        add_tenants(hub, ["stranger"], {})
    with Hub.open(hub) as opened:
        assert opened.tenants() == ["anna"]


def test_wrong_arguments(tmp_path: Path, options: dict[str, Any]) -> None:
    wrong: Any = "5"
    with pytest.raises(ConfigError, match="must be a number"):
        Hub.open(tmp_path / "hub", options, memory_budget_mb=wrong)
    with pytest.raises(ConfigError, match="nonsense"):
        Hub.open(tmp_path / "hub", {"nonsense": 1})
    assert not (tmp_path / "hub").exists()
    with Hub.open(tmp_path / "hub", options) as hub:
        for asked in (["a"], "ab", [("a", "b", "c")]):
            with pytest.raises(InputError, match="pairs of a tenant and a text"):
                hub.predict(asked)  # type: ignore[arg-type]


def test_a_run_that_closed_itself_is_opened_again(tmp_path: Path, options: dict[str, Any]) -> None:
    with Hub.open(tmp_path / "hub", options) as hub:
        hub.add("anna")
        hub.learn("anna", some("anna", 0, 6))
        with hub.run("anna") as run:
            run.close()
        assert hub.predict([("anna", "w1")])[0].label is not None
        assert len(hub.learn("anna", some("anna", 6, 2)).offsets) == 2


@pytest.mark.parametrize(
    "own",
    [
        {"guard.enabled": True, "guard.every": 16},
        {"stream.delay": 5},
        {"task": "multilabel"},
        {"run.keep_text": True, "learner.closed_form.sample_size": 32},
    ],
)
def test_heads_of_all_kinds_of_runs_say_what_the_run_says(
    own: dict[str, Any], tmp_path: Path, options: dict[str, Any]
) -> None:
    """With a guard (whose version is served), with late targets, of sets, of more than the sample holds."""
    given = {**options, **own}
    if own.get("task") == "multilabel":
        del given["learner.closed_form.gram_bits"]
    texts = ["w3 w0 anna", "w3 w1 anna"]
    with Run.open(tmp_path / "alone", given) as alone:
        for again in range(2):
            with Hub.open(tmp_path / "hub", given if not again else None) as hub:
                if not again:
                    hub.add("anna")
                for start in range(80 * again, 80 * (again + 1), 8):
                    hub.learn("anna", some("anna", start, 8))
                    alone.learn(some("anna", start, 8))
                expected = alone.predict(texts)
                said = hub.predict([("anna", text) for text in texts])
                hub._close("anna")
                published = hub.predict([("anna", text) for text in texts])
                assert hub.memory()["resident_tenants"] == 1
            assert all(same(one, other) for one, other in zip(expected, said, strict=True))
            assert all(same(one, other) for one, other in zip(expected, published, strict=True))


def test_what_another_everlearn_published_is_made_anew(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hub"
    with Hub.open(path, options) as hub:
        hub.add("anna")
        hub.learn("anna", some("anna", 0, 12))
        expected = hub.predict([("anna", "w1 w2")])[0]
        run = hub.run_folder("anna")
    before = publication_of(run).now()
    assert before is not None
    with monkeypatch.context() as patch:
        patch.setattr(published, "_WRITTEN_BY", "9.9.9")
        opener = HeadOpener(AdapterPool(TrunkStore().trunk))
        assert opener.served(run, before) is None
        with Hub.open(path) as hub:
            assert same(hub.predict([("anna", "w1 w2")])[0], expected)
        after = publication_of(run).now()
        assert after is not None
        assert (after.about["everlearn"], before.about["everlearn"] == "9.9.9") == ("9.9.9", False)


def test_what_is_made_ready_has_its_encoder(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Run.open(tmp_path / "run", options) as run:
        run.learn(some("anna", 0, 12))
    models = AdapterPool(TrunkStore().trunk)
    loaded, load = list[str](), models.trunk

    def noted(name: str, **others: Any) -> Any:
        loaded.append(name)
        return load(name, **others)

    monkeypatch.setattr(models, "trunk", noted)
    with Run.open(tmp_path / "run", models=models) as run:
        run.make_ready(encoder=False)
        assert not loaded
        run.make_ready()
        assert len(loaded) == 1
        run.learn(some("anna", 12, 4))
        assert len(loaded) == 1
