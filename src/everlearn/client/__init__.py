"""A typed client of a service: ``Client``, and ``AsyncClient`` for programs that do other things meanwhile.

from everlearn.client import Client

with Client("http://127.0.0.1:8600") as desk:
said = desk.predict("where is my invoice?")[0]
desk.feedback(said.id, target="invoice")
"""

from __future__ import annotations

from everlearn.client.asynchronous import AsyncClient
from everlearn.client.problem import ProblemError, UnreachableError
from everlearn.client.synchronous import Client

__all__ = ["AsyncClient", "Client", "ProblemError", "UnreachableError"]
