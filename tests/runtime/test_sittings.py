"""What one sitting leaves to the next: judgements, delays, what waits, and where an experience ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import digest_of, status_of
from tests.runtime.test_learn_stream import StopAfter, learn, sources_of
from tests.runtime.text_runs import translation_settings, write_translator

from everlearn.errors import InputError
from everlearn.journal.records import Step
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example

Settings = dict[str, Any]
WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]

GUARD: Settings = {"guard.enabled": True, "guard.every": 200}


def learn_for(batches: int, stream: Path, run: Path, settings: Settings | None = None) -> LearnOutcome:
    """Learn so many batches, then be stopped."""
    listener = StopAfter(batches)
    request = LearnRequest(stream=str(stream), out=run, settings=settings or {})
    return learn_stream(request, listener=listener, stop=listener.flag)


def steps_of(run: Path) -> list[Step]:
    with RunFolder.open_to_read(run) as folder:
        return list(folder.journal.steps_after(0))


def story_of(run: Path) -> list[Any]:
    """What was decided of a run, what was set aside, and what is served."""
    with RunFolder.open_to_read(run) as folder:
        return [
            [(one.step, one.verdict) for one in folder.history.decisions()],
            [(one.version, one.file) for one in folder.history.versions()],
            [(one.kind, one.first_step, one.last_step) for one in folder.history.revisions()],
            [one.step for one in folder.journal.steps_after(0) if one.set_aside is not None],
            folder.serving,
        ]


@pytest.mark.parametrize("becomes", ["accepted", "rejected"])
@pytest.mark.parametrize("kind", ["empty", "unusable"])
def test_a_fruitless_stream_is_not_judged(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, becomes: str, kind: str
) -> None:
    examples = clustered(500)
    if becomes == "rejected":  # what comes behind the first version contradicts it
        names = {f"label{k}": f"label{(k + 1) % 5}" for k in range(5)}
        examples = examples[:224] + [one.with_target(names[str(one.target)]) for one in examples[224:]]
    run, stream = tmp_path / "run", write_codes("stream.parquet", examples)
    learn_for(11, stream, run, small | GUARD)
    before, digest = story_of(run), digest_of(run)
    if kind == "empty":
        fruitless = write_codes("fruitless.parquet", [])
    else:
        fruitless = tmp_path / "fruitless.jsonl"
        fruitless.write_text('{"neither": "text"}\n' * 40, encoding="utf-8")
    # By time, too, a judgement is due at once.
    with pytest.raises(InputError, match=r"nothing to learn|no usable example"):
        learn(fruitless, run, {"guard.seconds": 1e-6})
    assert (story_of(run), digest_of(run)) == (before, digest)
    learn(stream, run, {})
    decisions, versions, *_, serving = story_of(run)
    assert becomes in [verdict for _, verdict in decisions[1:]]
    assert serving in [version for version, file in versions if file is not None]
    assert verify_run(run).is_valid


def test_a_guarded_run_of_which_nothing_was_learned_makes_no_version(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    bare = write_codes("bare.parquet", [one.with_target(None) for one in clustered(300)])
    run = tmp_path / "run"
    learn_for(2, write_codes("late.parquet", [one.with_target(None) for one in clustered(100)]), run, small)
    before, digest = story_of(run), digest_of(run)
    with pytest.raises(InputError, match="none of its 300 examples has a target"):
        learn(bare, run, GUARD)
    assert (story_of(run), digest_of(run)) == (before, digest)


def test_a_stream_keeps_its_delay(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    stream = write_codes("stream.parquet", clustered(600))
    other = write_codes("other.parquet", clustered(40, start=5_000))
    run = tmp_path / "run"
    assert learn_for(10, stream, run, small | {"stream.delay": 100}).summary["learned"] == 320 - 100
    assert learn(other, run, {}).summary["learned"] == 360  # its targets come at once, and all others have
    assert learn_for(2, stream, run).summary["learned"] == 360  # 64 more wait
    assert learn_for(2, stream, run).summary["learned"] == 360 + 128 - 100
    assert learn_for(1, stream, run, {"stream.delay": 30}).summary["learned"] == 360 + 160 - 30
    learn(other, run, {})
    assert learn_for(1, stream, run).summary["learned"] == 520 + 32 - 30
    at_once = learn(write_codes("all.parquet", clustered(600)), tmp_path / "at-once", small)
    learn(other, tmp_path / "at-once", {})
    assert (
        learn(stream, run, {}).summary["fingerprint"]
        == status_of(tmp_path / "at-once").summary["fingerprint"]
    )
    assert at_once.summary["learned"] == 600
    assert [one.delay for one in sources_of(run)] == [30, 0]


def test_a_delay_given_for_a_finished_stream_holds_when_it_grows(tmp_path: Path, small: Settings) -> None:
    stream, run = tmp_path / "stream.jsonl", tmp_path / "run"
    line = '{{"id": "{0}", "source": "a b {0}", "target": "b a"}}\n'
    stream.write_text("".join(line.format(k) for k in range(16)), encoding="utf-8")
    learn(stream, run, translation_settings(write_translator(tmp_path / "tiny")) | {"stream.batch_size": 8})
    learn(stream, run, {"stream.delay": 12})
    with stream.open("a", encoding="utf-8") as file:
        file.writelines(line.format(k) for k in range(16, 48))
    assert learn_for(2, stream, run).summary["learned"] == 16 + 16 - 12


@pytest.mark.parametrize("delay", [0, 10])
def test_what_waited_is_learned_batch_by_batch(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, delay: int
) -> None:
    examples = clustered(400)
    stream, run = write_codes("stream.parquet", examples), tmp_path / "run"
    assert learn_for(10, stream, run, small | {"stream.delay": 300}).summary["learned"] == 20
    summary = learn(stream, run, {"stream.delay": delay}).summary
    learned = [one.learned for one in steps_of(run) if one.learned is not None]
    assert max(last - first + 1 for first, last in learned) == 32
    assert [first for first, _ in learned] == [1, *(last + 1 for _, last in learned[:-1])]
    assert learned[-1][1] == 400
    assert summary["fingerprint"] == learn(stream, tmp_path / "at-once", small).summary["fingerprint"]


def test_a_batch_that_a_strict_run_cuts_short_ends_no_experience(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(128)
    examples[63] = replace(examples[63], target="one too many")
    stream, run = write_codes("stream.parquet", examples), tmp_path / "run"
    settings = small | {"stream.experiences": 2, "learner.closed_form.max_classes": 5}
    with pytest.raises(InputError, match="The 63 examples before it are learned"):
        learn(stream, run, settings | {"stream.strict": True})
    assert [one.after.boundary for one in steps_of(run) if one.after.boundary is not None] == []
    summary = learn(stream, run, {"stream.strict": False}).summary
    at_once = learn(stream, tmp_path / "at-once", settings).summary
    boundaries = [
        [boundary for one in steps_of(each) if (boundary := one.after.boundary) is not None]
        for each in (run, tmp_path / "at-once")
    ]
    assert boundaries[0] == boundaries[1]
    assert [one.index for one in boundaries[0]] == [0, 1]
    assert summary["fingerprint"] == at_once["fingerprint"]
