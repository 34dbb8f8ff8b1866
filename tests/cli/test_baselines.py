"""What simple learners reach beside a run: computed again here from scratch, batch by batch."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from everlearn.cli.tables import baselines_line
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.interruption import StopFlag
from everlearn.stream.files.codes import CodesWriter
from everlearn.tasks.batch_result import BatchResult
from everlearn.tasks.classification.comparison import compared
from everlearn.types import Code, Example

Run = Callable[..., Any]
Batches = Sequence[Sequence[Example]]

SIZE, LABELS, BATCH, COUNT = 16, 6, 32, 200
NAMES = ("class_mean", "words", "most_frequent")


def stream(count: int = COUNT) -> list[Example]:
    """Examples of clusters that overlap, with words that tell something, labels of unlike frequency."""
    generator = np.random.default_rng(3)
    centers = generator.normal(size=(LABELS, SIZE)) * 25
    examples = []
    for number in range(count):
        label = int(min(generator.geometric(0.4) - 1, LABELS - 1))
        dense = np.clip(np.rint(centers[label] + generator.normal(size=SIZE) * 30), -127, 127)
        words = np.unique([label * 3 + generator.integers(6), 40 + generator.integers(30)])
        values = generator.integers(60, 200, len(words))
        code = Code(dense.astype(np.int8), words.astype(np.uint32), values.astype(np.uint8))
        examples.append(
            Example(
                id=f"m{number}",
                text=f"message {number}",
                target=f"label{label}",
                code=code,
                fields={"customer": f"c{number % 5}"},
            )
        )
    return examples


def written(path: Path, examples: Sequence[Example]) -> Path:
    with CodesWriter(path, coder_fingerprint="c", coder_config={}, dense_size=SIZE) as writer:
        writer.write(examples)
    return path


def in_batches(examples: Sequence[Example]) -> Batches:
    return [examples[start : start + BATCH] for start in range(0, len(examples), BATCH)]


def code_of(example: Example) -> Code:
    assert example.code is not None
    return example.code


def unit(example: Example) -> npt.NDArray[np.float64]:
    dense = code_of(example).dense.astype(np.float64)
    return np.asarray(dense / np.linalg.norm(dense))


def by_class_mean(held: Sequence[Example], example: Example) -> str:
    def cosine(label: str) -> float:
        total = np.sum([unit(one) for one in held if one.target == label], axis=0)
        return float(unit(example) @ total / np.linalg.norm(total))

    return max(dict.fromkeys(str(one.target) for one in held), key=cosine)


def by_words(held: Sequence[Example], example: Example) -> str:
    """Complement naive Bayes: the label whose complement is least like the text."""

    def counts(examples: Sequence[Example]) -> Counter[int]:
        found: Counter[int] = Counter()
        for one in examples:
            for id_, value in zip(code_of(one).gram_ids, code_of(one).gram_values, strict=True):
                found[int(id_)] += int(value)
        return found

    def badness(label: str) -> float:
        others = counts([one for one in held if one.target != label])
        total = sum(others.values()) + 255 * 2**14
        mine = counts([example])
        return float(sum(value * np.log((others[id_] + 255) / total) for id_, value in mine.items()))

    return min(dict.fromkeys(str(one.target) for one in held), key=badness)


def by_frequency(held: Sequence[Example], example: Example) -> str:
    return Counter(str(one.target) for one in held).most_common(1)[0][0]


def expected(batches: Batches, learned: Callable[[int], Sequence[Example]] | None = None) -> dict[str, float]:
    """Accuracy of each learner; ``learned`` says what is held before a batch."""
    ways = dict(zip(NAMES, (by_class_mean, by_words, by_frequency), strict=True))
    hits, count = dict.fromkeys(ways, 0), 0
    held: list[Example] = []
    for number, batch in enumerate(batches):
        known = held if learned is None else learned(number)
        for example in batch:
            if example.target is None:
                continue
            count += 1
            for name, way in ways.items():
                hits[name] += bool(known) and way(known, example) == example.target
        held += batch
    return {name: number / count for name, number in hits.items()}


def only_baselines(found: dict[str, Any]) -> dict[str, float]:
    return {name: found[name] for name in NAMES}


def comparison_of(run: Path, **options: Any) -> dict[str, Any]:
    with RunFolder.open_to_read(run) as folder:
        found = compared(folder.journal, folder.fresh_learner, **options)
    assert found is not None
    return found.to_json()


@pytest.fixture
def options(small: list[str]) -> list[str]:
    return [*small, "--json"]


def test_figures_are_those_of_learners_made_from_scratch(
    tmp_path: Path, inside: Run, options: list[str]
) -> None:
    examples = stream()
    run = tmp_path / "run"
    summary = inside("learn", written(tmp_path / "s.parquet", examples), "--out", run, *options).result
    baselines = summary["baselines"]
    assert only_baselines(baselines) == expected(in_batches(examples))
    assert len({round(baselines[name], 2) for name in NAMES}) == 3  # else the stream tells nothing
    assert baselines["run"] == summary["prequential_accuracy"]
    assert (baselines["examples"], baselines["is_whole"]) == (COUNT, True)
    assert summary["predicted_unlearned"] == BATCH
    assert summary["prequential_accuracy_once_learning"] == pytest.approx(
        summary["prequential_accuracy"] * COUNT / (COUNT - BATCH)
    )
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "What simple learners reach" in page
    figures = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert figures is not None
    lines = {line["name"]: line for line in json.loads(figures[1])["accuracy"]["data"]}
    assert lines["class mean"]["x"] == [*range(BATCH, COUNT, BATCH), COUNT]
    assert lines["class mean"]["y"][-1] == pytest.approx(100 * baselines["class_mean"], abs=1e-3)


def test_a_person_reads_what_the_first_batch_cost(tmp_path: Path, inside: Run, small: list[str]) -> None:
    codes = written(tmp_path / "s.parquet", stream(50))
    shown = inside("learn", codes, "--out", tmp_path / "run", *small).out
    assert "without the first 32, predicted before any label was learned" in shown
    assert re.search(r"of simple learners +class mean \d", shown)
    assert "seconds, all sittings" in shown


def test_an_interrupted_run_is_compared_like_an_undisturbed_one(
    tmp_path: Path, inside: Run, options: list[str]
) -> None:
    codes = written(tmp_path / "s.parquet", stream())
    whole = inside("learn", codes, "--out", tmp_path / "whole", *options).result
    stop = StopFlag()

    def after_two(result: BatchResult) -> None:
        stop.requested = len(result.examples) > 0 and result.examples[0].id == f"m{BATCH}"

    request = LearnRequest(
        stream=str(codes),
        out=tmp_path / "run",
        settings={
            "stream.batch_size": BATCH,
            "learner.closed_form.num_features": 64,
            "run.threads": 1,
        },
    )
    first = learn_stream(request, stop=stop, observers=(after_two,))
    assert first.interrupted
    assert first.summary["baselines"]["examples"] == 2 * BATCH
    again = inside("learn", codes, "--out", tmp_path / "run", *options).result
    assert again["baselines"] == whole["baselines"]


def test_forgotten_examples_are_neither_learned_nor_scored(
    tmp_path: Path, inside: Run, options: list[str]
) -> None:
    examples, run = stream(), tmp_path / "run"
    inside("learn", written(tmp_path / "s.parquet", examples), "--out", run, *options)
    assert inside("forget", run, "--where", "customer=c1").code == 0
    left = [[one for one in batch if one.fields["customer"] != "c1"] for batch in in_batches(examples)]
    found = comparison_of(run)
    assert only_baselines(found) == expected(left)
    assert found["examples"] == COUNT - COUNT // 5
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Forgotten examples are left out" in page


def test_targets_that_come_later_are_learned_when_they_come(
    tmp_path: Path, inside: Run, options: list[str]
) -> None:
    """A second sitting brings targets of the first batch and corrects others; a third comes after."""
    examples, run = stream(), tmp_path / "run"
    late = {one.id for one in examples[:8]}
    first = [one.with_target(None) if one.id in late else one for one in examples[:64]]
    inside("learn", written(tmp_path / "a.parquet", first), "--out", run, *options)
    changed = [*examples[:8], *(one.with_target("label0") for one in examples[8:20])]
    targets = tmp_path / "targets.jsonl"
    lines = [json.dumps({"id": one.id, "label": one.target}) + "\n" for one in changed]
    targets.write_text("".join(lines), encoding="utf-8")
    assert inside("learn", targets, "--out", run, *options).code == 0
    last = inside("learn", written(tmp_path / "b.parquet", examples[64:]), "--out", run, *options).result

    batches = [*in_batches(first), *in_batches(examples[64:])]
    before = [one for one in first if one.target is not None]

    def learned(number: int) -> Sequence[Example]:
        if number < 2:
            return [one for one in first[: number * BATCH] if one.target is not None]
        # What was learned first, with its targets of now; the order of labels decides between equals alone.
        now = {one.id: one for one in (*before, *changed)}
        return [*now.values(), *examples[64 : number * BATCH]]

    assert only_baselines(last["baselines"]) == expected(batches, learned)


def test_only_the_beginning_of_a_long_stream_is_compared(
    tmp_path: Path, inside: Run, options: list[str]
) -> None:
    examples, run = stream(), tmp_path / "run"
    inside("learn", written(tmp_path / "s.parquet", examples), "--out", run, *options)
    found = comparison_of(run, most_examples=3 * BATCH)
    assert found == comparison_of(run, most_steps=3)
    assert only_baselines(found) == expected(in_batches(examples)[:3])
    assert not found["is_whole"]
    assert "first 96 examples; this run there" in baselines_line(found)


def test_the_report_compares_with_the_solved_learner_when_asked(
    tmp_path: Path, inside: Run, options: list[str]
) -> None:
    run = tmp_path / "run"
    inside("learn", written(tmp_path / "s.parquet", stream()), "--out", run, *options)
    assert "solved anew" not in (run / "report.html").read_text(encoding="utf-8")
    assert inside("report", run, "--solved").code == 0
    assert "solved anew before every batch" in (run / "report.html").read_text(encoding="utf-8")
    assert comparison_of(run, solved=True)["solved"] > expected(in_batches(stream()))["most_frequent"]


def test_examples_without_a_target_are_not_scored(tmp_path: Path, inside: Run, options: list[str]) -> None:
    examples = [one.with_target(None) for one in stream(39)]
    codes = written(tmp_path / "s.parquet", [*examples, stream(40)[-1]])
    summary = inside("learn", codes, "--out", tmp_path / "run", *options).result
    assert summary["baselines"] == {"examples": 1, "is_whole": True, "run": 0.0} | dict.fromkeys(NAMES, 0.0)
