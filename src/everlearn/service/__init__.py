"""The service: learn and serve at once, over HTTP.

One process answers HTTP (this package; it never touches a tensor). It starts others and talks to them through
sockets: workers, which predict by what runs have published, and one that has the runs and learns
(:mod:`everlearn.runtime.serving`).

    HTTP → gate → access → routes → service ─┬→ workers → processes that predict
                                              ├→ learner → the process that learns
                                              └→ remembered predictions, events, metrics
"""

from __future__ import annotations

__all__: list[str] = []
