"""What is done after a step is journaled in one form, which the chain of hashes covers."""

from __future__ import annotations

from pathlib import Path

import pytest

from everlearn.journal.journal import Journal
from everlearn.journal.records import After, EndedExperience, NewStep

_ENDED = EndedExperience(1, "b", 64)
_STORED = '{"index":1,"name":"b","num_examples":64}'


@pytest.mark.parametrize(
    ("after", "stored"),
    [
        (After(), None),
        (After(settle=True), '{"settle":true}'),
        (After(settle=True, examine=True), '{"examine":true,"settle":true}'),
        (After(learning_rates={"learning_rate": 1e-3}), '{"learning_rates":{"learning_rate":0.001}}'),
        (After(boundary=_ENDED), f'{{"boundary":{_STORED}}}'),
        (
            After(boundary=_ENDED, settle=True, examine=True),
            f'{{"boundary":{_STORED},"examine":true,"settle":true}}',
        ),
    ],
)
def test_it_is_stored_in_this_form_and_comes_back(tmp_path: Path, after: After, stored: str | None) -> None:
    with Journal.create(tmp_path / "j.sqlite") as journal:
        journal.append(NewStep(after=after), keep_text=False)
        assert journal.database.one("SELECT after FROM steps")[0] == stored
        assert journal.step(1).after == after
