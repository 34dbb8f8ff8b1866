"""Files that are learned as jobs: batch by batch, while other labels go on between the batches.

Each line of a file has an id, its own or one that is made of the job's and the line's number. So a job can go
on after a restart, and a batch can be given again: what is known does no harm.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar

from everlearn.service.author import AUTHOR
from everlearn.service.job_files import (
    JobRecord,
    Upload,
    num_bytes,
    read_lines,
    read_records,
    remove_file,
    write_record,
)
from everlearn.service.job_kinds import HEAD_BYTES, refuse_other_kind
from everlearn.service.job_lines import UnusableLine, example_of_line
from everlearn.service.problems import Problem
from everlearn.service.service import Service

__all__ = ["Jobs"]

_LOG = logging.getLogger(__name__)

_LINES_AT_ONCE = 64
"""Others that bring labels meanwhile wait for one such batch at most."""
_BYTES_AT_ONCE = 1_000_000
_BYTES_BEFORE_WRITING = 1_000_000
_MOST_TOLD = 20
_KNOWN_BEFORE = frozenset({"known", "set_aside", "corrected"})
"""What became of an example that another line, or request, had brought before."""
_MOST_UPLOADS = 4
_MOST_UNFINISHED = 100
_MOST_KEPT = 200
_MOST_LOST = 3
"""So often a batch is given to a process that ends over it."""
_SECONDS_BETWEEN_EVENTS = 1.0
_SECONDS_TO_END = 60.0

_Told = TypeVar("_Told")

_Line = tuple[int, dict[str, Any]]
"""Its number, from 1, and the example that it gives."""


class Jobs:
    """The jobs of a service; those of one tenant are done one after the other.

    Args:
        service: Learns what they bring.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._folder = service.folder / "jobs"
        self._records: dict[str, JobRecord] = {}
        self._working: dict[str, asyncio.Task[None]] = {}
        self._to_stop: dict[str, asyncio.Event] = {}
        self._is_closing = asyncio.Event()
        self._num_uploads = 0
        self._num_bytes: dict[str, int] = {}  # of files that are there, or coming in

    async def start(self) -> None:
        """Go on with what was not finished."""
        records, problems = await asyncio.to_thread(read_records, self._folder)
        for problem in problems:
            _LOG.error("%s", problem)
        self._records = {record.id: record for record in records}
        for record in (one for one in records if not one.is_over):
            self._num_bytes[record.id] = await asyncio.to_thread(num_bytes, self._folder, record)
        for record in records:
            if not record.is_over:
                self._work_for(record.tenant)

    async def close(self) -> None:
        """Finish the batches that are under way; the rest is learned after the next start."""
        self._is_closing.set()
        if self._working:
            _, late = await asyncio.wait(self._working.values(), timeout=_SECONDS_TO_END)
            for task in late:
                task.cancel()

    def all(self) -> list[JobRecord]:
        """All that are known, the newest first."""
        return list(self._records.values())[::-1]

    def get(self, id_: str) -> JobRecord | None:
        """One by its id."""
        return self._records.get(id_)

    async def add(self, tenant: str, by: str, chunks: AsyncIterator[bytes]) -> JobRecord:
        """Take a file in, to be learned.

        Args:
            tenant: Who learns it.
            by: Whose key it was.
            chunks: The file, piece by piece. Where that raises, nothing is left of it.

        Raises:
            Problem: Too many are coming in or waiting, there is nothing in it, it is no JSON lines, or there
                is no room for it.
        """
        if self._num_uploads >= _MOST_UPLOADS:
            raise Problem("jobs-waiting", f"{self._num_uploads} files are being uploaded", retry_after=5)
        unfinished = sum(not record.is_over for record in self._records.values())
        if unfinished >= _MOST_UNFINISHED:
            raise Problem("jobs-waiting", f"{unfinished} files wait to be learned", retry_after=60)
        id_ = f"j-{secrets.token_hex(12)}"
        self._num_uploads += 1
        try:
            lines = await self._receive(id_, self._within_bounds(id_, chunks))
            record = JobRecord(id=id_, tenant=tenant, by=by, time=time.time(), lines=lines)
            try:
                await asyncio.to_thread(write_record, self._folder, record)
            except OSError as error:
                await asyncio.to_thread(remove_file, self._folder, id_)
                raise _not_written(error) from error
        except BaseException:
            self._num_bytes.pop(id_, None)
            raise
        finally:
            self._num_uploads -= 1
        self._records[id_] = record
        await self._drop_oldest()
        self._work_for(tenant)
        return record

    async def stop(self, id_: str) -> JobRecord:
        """Learn no more of a job; what was learned stays. Returns what has become of it."""
        record = self._records[id_]
        if record.is_over:
            return record
        self._to_stop.setdefault(id_, asyncio.Event()).set()
        if record.state == "waiting":
            self._records[id_] = replace(record, state="stopped")  # nobody begins on it
            await self._end(record, "stopped")
        while not self._records[id_].is_over and record.tenant in self._working:
            await asyncio.wait([self._working[record.tenant]], timeout=0.05)
        return self._records[id_]

    async def _receive(self, id_: str, chunks: AsyncIterator[bytes]) -> int:
        """Write an upload; returns how many lines it has."""
        upload: Upload | None = None
        try:
            upload = await asyncio.to_thread(Upload, self._folder, id_)
            gathered, head = bytearray(), b""
            async for chunk in chunks:
                gathered += chunk
                if len(head) < HEAD_BYTES:  # blank lines may go before the first one
                    head = (head + chunk).lstrip()[:HEAD_BYTES]
                if len(gathered) >= _BYTES_BEFORE_WRITING:
                    await asyncio.to_thread(upload.write, bytes(gathered))
                    gathered.clear()
            await asyncio.to_thread(upload.write, bytes(gathered))
            if not upload.lines:
                raise Problem("request-invalid", "there is nothing in the file")
            refuse_other_kind(head)
            await asyncio.to_thread(upload.finish)
        except BaseException as error:
            if upload is not None:
                upload.discard()
            if isinstance(error, OSError):
                raise _not_written(error) from error
            raise
        return upload.lines

    async def _within_bounds(self, id_: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """What comes in, while there is room for it beside the files that wait. Raises Problem if not."""
        most = self._service.config.max_jobs_mb
        async for chunk in chunks:
            mine = self._num_bytes[id_] = self._num_bytes.get(id_, 0) + len(chunk)
            if mine > most * 1e6:
                raise Problem("body-too-large", f"files may have {most:g} MB (max_jobs_mb)")
            if sum(self._num_bytes.values()) > most * 1e6:
                raise Problem(
                    "jobs-waiting", f"files that wait may have {most:g} MB together", retry_after=60
                )
            yield chunk

    def _work_for(self, tenant: str) -> None:
        if tenant not in self._working and not self._is_closing.is_set():
            self._working[tenant] = asyncio.create_task(self._work(tenant))

    async def _work(self, tenant: str) -> None:
        try:
            while not self._is_closing.is_set():
                record = next(
                    (one for one in self._records.values() if one.tenant == tenant and not one.is_over), None
                )
                if record is None:
                    return
                await self._do(record)
                if not self._records[record.id].is_over:  # the service is stopping
                    await self._is_closing.wait()
        finally:
            del self._working[tenant]

    async def _do(self, record: JobRecord) -> None:
        """Learn a file to its end, or until it is stopped, or the service is."""
        AUTHOR.set(record.by)
        record = self._records[record.id] = replace(record, state="running")
        stop = self._to_stop.setdefault(record.id, asyncio.Event())
        told_at = 0.0
        try:
            while record.taken < record.lines:
                if stop.is_set():
                    await self._end(record, "stopped")
                    return
                if self._is_closing.is_set():
                    return
                record = await self._take_lines(record, stop)
                await self._keep(record)
                if time.monotonic() - told_at >= _SECONDS_BETWEEN_EVENTS:
                    told_at = time.monotonic()
                    self._tell("job-progress", record)
        except _Interrupted:
            if stop.is_set():
                await self._end(record, "stopped")
            return
        except Problem as problem:
            await self._end(record, "failed", f"{problem.code}: {problem.detail}")
        except OSError as error:
            await self._end(record, "failed", f"its file cannot be read: {error.strerror or error}")
        except Exception as error:
            _LOG.error("a job failed", exc_info=error)
            await self._end(record, "failed", f"unexpected: {type(error).__name__}; the log tells more")
        else:
            await self._end(record, "done")

    async def _take_lines(self, record: JobRecord, stop: asyncio.Event) -> JobRecord:
        """Learn the next lines; returns the record after them."""
        config = self._service.config
        lines = await asyncio.to_thread(
            read_lines,
            self._folder,
            record,
            most=_LINES_AT_ONCE,
            most_bytes=_BYTES_AT_ONCE,
            longest=int(config.max_body_mb * 1e6),
        )
        if lines.last == record.taken:
            raise Problem("state-damaged", f"its file ends after {record.taken:,} of {record.lines:,} lines")
        takes_sets = await self._as_soon_as_it_can(
            record, stop, lambda: self._service.takes_sets(record.tenant)
        )
        given: list[_Line] = []
        rejected: list[tuple[int, str, str | None]] = []
        for number, text in lines.texts:
            try:
                if text is None:
                    raise UnusableLine(f"it is longer than {config.max_body_mb:g} MB")
                default_id = f"{record.id}-{number}"
                given.append((number, example_of_line(text, default_id, config, takes_sets=takes_sets)))
            except UnusableLine as error:
                rejected.append((number, str(error), None))
        statuses = Counter(record.statuses)
        offsets = [one for one in (record.first_offset, record.last_offset) if one is not None]
        for batch in _without_id_twice(given):
            examples = [example for _, example in batch]
            results = (
                await self._as_soon_as_it_can(
                    record, stop, partial(self._service.learn, record.tenant, examples)
                )
            )["results"]
            for (number, _), result in zip(batch, results, strict=True):
                if result["status"] == "rejected":
                    known = result["id"] if result["offset"] is not None else None
                    rejected.append((number, str(result["reason"]), known))
                    continue
                statuses[result["status"]] += 1
                if result["status"] not in _KNOWN_BEFORE:
                    offsets.append(result["offset"])
        rejected.sort(key=itemgetter(0))
        return replace(
            record,
            taken=lines.last,
            position=lines.position,
            statuses=dict(statuses),
            num_rejected=record.num_rejected + len(rejected),
            rejected=(*record.rejected, *rejected)[:_MOST_TOLD],
            first_offset=min(offsets, default=None),
            last_offset=max(offsets, default=None),
        )

    async def _as_soon_as_it_can(
        self, record: JobRecord, stop: asyncio.Event, asked: Callable[[], Awaitable[_Told]]
    ) -> _Told:
        """Ask something of the service for a job; where that cannot be now, wait until it can.

        Raises:
            _Interrupted: The job, or the service, is stopped meanwhile.
            Problem: It cannot be at all.
        """
        num_lost = 0
        while True:
            try:
                return await asked()
            except Problem as problem:
                if problem.code == "stopping":
                    raise _Interrupted from None
                num_lost += problem.code == "process-lost"
                can_wait = problem.retry_after is not None or 0 < num_lost < _MOST_LOST
                if not can_wait or problem.kind.status not in (429, 503):
                    raise
                # As long as it waits it says what for.
                self._records[record.id] = replace(record, error=f"{problem.code}: {problem.detail}")
                await self._rest(problem.retry_after or 1.0, stop)

    async def _rest(self, seconds: float, stop: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (stop, self._is_closing)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if stop.is_set() or self._is_closing.is_set():
            raise _Interrupted

    async def _end(self, record: JobRecord, state: Any, error: str | None = None) -> None:
        record = replace(record, state=state, error=error)
        await self._write(record)
        with suppress(OSError):  # a file that stays is removed at the next start
            await asyncio.to_thread(remove_file, self._folder, record.id)
        self._num_bytes.pop(record.id, None)
        self._records[record.id] = record
        self._to_stop.pop(record.id, None)
        self._tell("job-done", record)

    async def _keep(self, record: JobRecord) -> None:
        """Remember how far a job has come."""
        self._records[record.id] = record
        await self._write(record)

    async def _write(self, record: JobRecord) -> None:
        try:
            await asyncio.to_thread(write_record, self._folder, record)
        except OSError as error:  # after a restart it goes on a little before, which does no harm
            _LOG.warning("how far job %s has come cannot be written: %s", record.id, error)

    def _tell(self, kind: str, record: JobRecord) -> None:
        told = record.told()
        names = ("state", "lines", "taken", "learned", "known", "num_rejected", "error")
        figures = {name: told[name] for name in names}
        self._service.events.tell(kind, record.tenant, job=record.id, **figures)

    async def _drop_oldest(self) -> None:
        over = [record.id for record in self._records.values() if record.is_over]
        for id_ in over[: max(0, len(self._records) - _MOST_KEPT)]:
            del self._records[id_]
            with suppress(OSError):  # it is dropped at a later time
                await asyncio.to_thread(remove_file, self._folder, id_, with_record=True)


class _Interrupted(Exception):
    """A job is stopped while it waits."""


def _not_written(error: OSError) -> Problem:
    return Problem("storage-full", f"the file cannot be kept: {error.strerror or error}", retry_after=60)


def _without_id_twice(given: list[_Line]) -> Iterator[list[_Line]]:
    """Lines in batches within which no id is there twice, in order."""
    batch: list[_Line] = []
    ids: set[str] = set()
    for line in given:
        if line[1]["id"] in ids:
            yield batch
            batch, ids = [], set()
        batch.append(line)
        ids.add(line[1]["id"])
    if batch:
        yield batch
