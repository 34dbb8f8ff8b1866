"""Ctrl-C while the program is still loading ends it quietly."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

import everlearn.cli
from everlearn.errors import StoppedError


def test_an_interrupt_outside_of_commands_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("everlearn.cli.app.main", interrupted)
    with pytest.raises(SystemExit) as stopped:
        everlearn.cli.main()
    assert stopped.value.code == StoppedError.exit_code


@pytest.mark.parametrize("seconds", [0.3, 0.6])
def test_the_program_is_quiet_when_it_is_interrupted_at_once(seconds: float) -> None:
    # Begun as its own program, since importing the package itself is over by then.
    command = "import everlearn.cli; print('ready', flush=True); everlearn.cli.main()"
    with subprocess.Popen(
        [sys.executable, "-c", command, "learn", "-"], stdout=-1, stderr=-1, stdin=-1, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in told
