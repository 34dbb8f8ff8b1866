"""What a service's processes do with runs.

The service itself (:mod:`everlearn.service`) answers HTTP and imports nothing of this: it starts
``python -m everlearn.runtime.serving.host``, from which the others are forked, and talks to these through
sockets, by messages of :mod:`everlearn.message_frames`.
"""

from __future__ import annotations

__all__: list[str] = []
