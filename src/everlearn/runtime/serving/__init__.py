"""What a service's processes do with runs: ``python -m everlearn.runtime.serving.worker`` (or ``.learner``).

The service itself (:mod:`everlearn.service`) answers HTTP and imports nothing of this: it starts these
processes and talks to them through pipes, by messages of :mod:`everlearn.pipe_frames`.
"""

from __future__ import annotations

__all__: list[str] = []
