"""What a service asks of the process that has the runs: taken, put in order, done, and answered.

What changes a tenant is done one after the other, in the order in which it came; labels that wait together
become one step. Looking waits for nothing of that.

What a tenant predicts by is published before an answer is told. Only where labels come in a stream they are
answered at once, and it is published a moment later, for several steps together.

Where much of it is new, those who predict verify that first, while they go on with the former: else the texts
that come next would wait for it.
"""

from __future__ import annotations

import gc
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event, Lock, Timer
from typing import Any

from everlearn.errors import EverlearnError, StorageError
from everlearn.process_memory import return_free_memory
from everlearn.runtime.serving.acts import changing, learning
from everlearn.runtime.serving.allowance import Allowance
from everlearn.runtime.serving.changes import CHANGES
from everlearn.runtime.serving.labels import batches_of, example_of, learned_together
from everlearn.runtime.serving.place import Place
from everlearn.runtime.serving.told import UnknownTenantError, error_told
from everlearn.runtime.serving.views import VIEWS
from everlearn.types import Json

__all__ = ["Desk"]

_LOG = logging.getLogger(__name__)

_CHANGING = 4
_LOOKING = 4
_REMAKING = frozenset({"forget", "rollback"})
_FEW_BYTES = 16 << 20
"""Are verified in some milliseconds, by whoever is asked next."""
_SECONDS_TO_VERIFY = 2.0


class Desk:
    """Does what is asked, in threads of its own.

    Args:
        place: Has the runs.
        tell: Sends a message; is called from any thread.
        publish_share: Share of the time that is spent on publishing a tenant while labels stream in for it.
    """

    def __init__(self, place: Place, tell: Callable[[Json], None], publish_share: float) -> None:
        self._place = place
        self._tell = tell
        self._publish_share = publish_share
        self._allowances: dict[str, Allowance] = {}
        self._timers: dict[str, Timer] = {}
        self._verified: dict[str, Event] = {}
        self._is_closing = False
        self._lock = Lock()
        self._waiting: dict[str, deque[Mapping[str, Json]]] = {}
        self._busy: set[str] = set()
        self._changing = ThreadPoolExecutor(_CHANGING, thread_name_prefix="changing")
        self._looking = ThreadPoolExecutor(_LOOKING, thread_name_prefix="looking")

    def take(self, message: Mapping[str, Json]) -> None:
        """Take what is asked; the answer is told when it is there."""
        if message["op"] == "verified":
            with suppress(KeyError):  # it was said to a process that is no more
                self._verified[message["tenant"]].set()
        elif message["op"] in CHANGES or message["op"] == "learn":
            self._queue(message)
        else:
            self._looking.submit(self._look, message)

    def _queue(self, message: Mapping[str, Json]) -> None:
        tenant = str(message["tenant"])
        with self._lock:
            self._waiting.setdefault(tenant, deque()).append(message)
            if tenant in self._busy:
                return
            self._busy.add(tenant)
        self._changing.submit(self._work, tenant)

    def close(self) -> None:
        """Do what is waiting, and take nothing more."""
        self._is_closing = True
        for verified in list(self._verified.values()):
            verified.set()
        with self._lock:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()
        self._changing.shutdown()
        self._looking.shutdown()

    def _work(self, tenant: str) -> None:
        """Do all that a tenant is asked, until nothing is."""
        while True:
            with self._lock:
                waiting = list(self._waiting.pop(tenant, ()))
                if not waiting:
                    self._busy.discard(tenant)
                    return
            while waiting:
                count = next((k for k, one in enumerate(waiting) if one["op"] != "learn"), len(waiting))
                if count:
                    self._learn(tenant, waiting[:count])
                else:
                    count = 1
                    self._change(tenant, waiting[0])
                del waiting[:count]

    def _learn(self, tenant: str, messages: Sequence[Mapping[str, Json]]) -> None:
        asked, able = [], []
        for message in messages:
            try:
                asked.append([example_of(told) for told in message["examples"]])
                able.append(message)
            except EverlearnError as error:
                self._tell({"to": message["number"], **error_told(error)})
        for batch in batches_of(asked):
            self._learn_batch(tenant, [able[k] for k in batch], [asked[k] for k in batch])

    def _learn_batch(
        self, tenant: str, messages: Sequence[Mapping[str, Json]], asked: Sequence[Sequence[Any]]
    ) -> None:
        try:
            acts = learning([message.get("author") for message in messages], asked)
            outcome, became = learned_together(self._place, tenant, asked, acts)
        except Exception as error:
            if len(messages) > 1:  # nothing was taken: each by itself, so that one does not fail another
                for message, own in zip(messages, asked, strict=True):
                    self._learn_batch(tenant, [message], [own])
                return
            self._tell({"to": messages[0]["number"], **self._failed(error)})
            return
        told = {"step": outcome.step, "new_version": outcome.version, "notes": list(outcome.notes)}
        told |= self._published_soon(tenant)
        for message, results in zip(messages, became, strict=True):
            self._tell({"to": message["number"], **told, "results": results})

    def _change(self, tenant: str, message: Mapping[str, Json]) -> None:
        try:
            with changing(self._place, tenant, message):
                told = CHANGES[message["op"]](self._place, tenant, message)
        except Exception as error:
            self._tell({"to": message["number"], **self._failed(error)})
            return
        told |= self._published(tenant)
        self._tell({"to": message["number"], **told} if "number" in message else {"tenant": tenant, **told})
        if message["op"] in _REMAKING:
            # What was made anew held the former in cycles, large things in few objects.
            gc.collect()
            return_free_memory()

    def _look(self, message: Mapping[str, Json]) -> None:
        try:
            told = VIEWS[message["op"]](self._place, message)
        except Exception as error:
            told = self._failed(error)
        self._tell({"to": message["number"], **told})

    def _published_soon(self, tenant: str) -> dict[str, Json]:
        """Publish now, where that was not done so often just before; else a moment later."""
        seconds = self._allowance(tenant).seconds_to_wait()
        if not seconds:
            return self._published(tenant)
        with self._lock:
            if tenant not in self._timers:
                timer = Timer(seconds, self._publish_later, [tenant])
                timer.daemon = True
                self._timers[tenant] = timer
                timer.start()
        return {}

    def _publish_later(self, tenant: str) -> None:
        with self._lock:
            if self._timers.pop(tenant, None) is None:  # it is closing
                return
        with suppress(RuntimeError):  # the same
            self._queue({"op": "publish", "tenant": tenant})

    def _published(self, tenant: str) -> dict[str, Json]:
        """Publish what a tenant predicts by now, so that other processes do; and say what that is."""
        started, waited = time.perf_counter(), 0.0

        def on_new_parts(parts: Mapping[str, int]) -> None:
            nonlocal waited
            waited = self._let_verify(tenant, parts)

        with suppress(UnknownTenantError):  # it was removed
            try:
                with self._place.run(tenant) as run:
                    is_published = run.publish(on_new_parts)
                    now = run.predictor()
                    return {"published": is_published, "by": {"version": now.version, "step": now.step}}
            except StorageError as error:
                _LOG.warning("%s", error)
            except EverlearnError as error:  # a language model's predictions are no answers
                _LOG.debug("%s", error)
            finally:
                self._allowance(tenant).spend(time.perf_counter() - started - waited)
        return {"published": False, "by": None}

    def _let_verify(self, tenant: str, parts: Mapping[str, int]) -> float:
        """Wait until those who predict have verified what is new, where that is much; but not for long.

        Returns:
            Seconds that it took.
        """
        if sum(parts.values()) < _FEW_BYTES:
            return 0.0
        started = time.perf_counter()
        verified = self._verified[tenant] = Event()
        if not self._is_closing:
            self._tell({"tenant": tenant, "parts": list(parts)})
            if not verified.wait(_SECONDS_TO_VERIFY):
                _LOG.debug("%s is published before it is verified", tenant)
        del self._verified[tenant]
        return time.perf_counter() - started

    def _allowance(self, tenant: str) -> Allowance:
        return self._allowances.setdefault(tenant, Allowance(self._publish_share))

    def _failed(self, error: Exception) -> dict[str, Json]:
        """An error as a message; what nobody has foreseen is logged, and told as such."""
        if isinstance(error, EverlearnError):
            return error_told(error)
        _LOG.error("what was asked failed", exc_info=error)
        return {"error": "Exception", "message": f"{type(error).__name__}: {error}"}
