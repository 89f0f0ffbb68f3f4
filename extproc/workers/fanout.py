"""The admin API of all workers together: asks each of them, and merges the answers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from extproc.admin import messages
from extproc.admin.errors import NoAnswerError, RefusedError
from extproc.admin.v1 import admin_pb2
from extproc.workers.revocations import RevocationLog
from extproc.workers.worker import Worker


class FanOut:
    """The servicer of the supervisor.

    Its methods raise ``RefusedError`` if a worker refuses, ``NoAnswerError`` if one does not answer.

    Args:
        metrics: returns the merged metrics.
    """

    def __init__(
        self,
        *,
        workers: Sequence[Worker],
        revocations: RevocationLog,
        metrics: Callable[[], Awaitable[str]],
    ) -> None:
        self._workers = workers
        self._revocations = revocations
        self._metrics = metrics

    async def GetStatus(
        self, request: admin_pb2.GetStatusRequest, _context: Any
    ) -> admin_pb2.GetStatusResponse:
        """Return the status of each worker. One that does not answer is not ready, with the reason alone."""
        statuses = await asyncio.gather(*(_status(worker, request) for worker in self._workers))
        return admin_pb2.GetStatusResponse(workers=statuses)

    async def ListSessions(
        self, request: admin_pb2.ListSessionsRequest, _context: Any
    ) -> admin_pb2.ListSessionsResponse:
        """Return one page of all sessions, in the order of the workers.

        A page token is a worker's number and, after a colon, that worker's own page token.
        """
        room = messages.page_size(request)
        number, _, token = request.page_token.partition(":")
        if request.page_token and not number.isdecimal():
            raise RefusedError("page_token: is none of an earlier answer")
        page = admin_pb2.ListSessionsResponse()
        for worker in self._workers:
            if worker.number < int(number or 0) or worker.control is None:
                continue
            if room == 0:
                page.next_page_token = f"{worker.number}:"
                break
            asked = admin_pb2.ListSessionsRequest()
            asked.CopyFrom(request)
            asked.page_size, asked.page_token = room, token if str(worker.number) == number else ""
            answer = await _call(worker, "ListSessions", asked)
            for session in answer.sessions:
                session.worker = worker.number
            page.sessions.extend(answer.sessions)
            room -= len(answer.sessions)
            if answer.next_page_token:
                page.next_page_token = f"{worker.number}:{answer.next_page_token}"
                break
        return page

    async def Explain(self, request: admin_pb2.ExplainRequest, _context: Any) -> admin_pb2.ExplainResponse:
        """Return the answer of the first worker that serves: all have the same policy.

        Claims of a session come from the worker that holds it.
        """
        holds = request.HasField("session")
        worker = self._holder(request.session) if holds else self._serving()[0]
        answer: admin_pb2.ExplainResponse = await _call(worker, "Explain", request)
        return answer

    async def GetSession(
        self, request: admin_pb2.GetSessionRequest, _context: Any
    ) -> admin_pb2.GetSessionResponse:
        """Return the answer of the worker that holds the session."""
        answer: admin_pb2.GetSessionResponse = await _call(
            self._holder(request.session), "GetSession", request
        )
        return answer

    async def ListDecisions(
        self, request: admin_pb2.ListDecisionsRequest, _context: Any
    ) -> admin_pb2.ListDecisionsResponse:
        """Return the events of all workers, worker after worker. The cursor has one part for each."""
        cursors = decision_cursors(request.cursor)
        serving = self._serving()
        answers = await asyncio.gather(
            *(
                _call(
                    worker,
                    "ListDecisions",
                    admin_pb2.ListDecisionsRequest(
                        cursor=cursors.get(worker.number, ""), limit=request.limit
                    ),
                )
                for worker in serving
            ),
            return_exceptions=True,
        )
        if refused := next((each for each in answers if isinstance(each, RefusedError)), None):
            raise refused
        merged = admin_pb2.ListDecisionsResponse()
        for worker, answer in zip(serving, answers, strict=True):
            if isinstance(answer, BaseException):  # it is restarting: its part of the cursor stays
                continue
            merged.events.extend(answer.events)
            merged.more = merged.more or answer.more
            merged.missed = merged.missed or answer.missed
            cursors[worker.number] = answer.next_cursor
        merged.next_cursor = ",".join(f"{number}:{cursor}" for number, cursor in sorted(cursors.items()))
        return merged

    async def Revoke(self, request: admin_pb2.RevokeRequest, _context: Any) -> admin_pb2.RevokeResponse:
        """Revoke in every worker, and in those that start later before they serve.

        The call fails if one worker does not confirm. The revocation still holds in the others, and in
        that worker's next process.
        """
        async with self._revocations.lock:
            answers = await asyncio.gather(
                *(_call(worker, "Revoke", request) for worker in self._serving()), return_exceptions=True
            )
            revoked = [answer for answer in answers if not isinstance(answer, BaseException)]
            refused_until = [each.refused_until for each in revoked if each.HasField("refused_until")]
            if refused_until:
                last = max(refused_until, key=lambda until: (until.seconds, until.nanos))
                self._revocations.add(request, last)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        merged = admin_pb2.RevokeResponse()
        merged.CopyFrom(revoked[0])
        merged.sessions = sum(each.sessions for each in revoked)
        merged.credentials = sum(each.credentials for each in revoked)
        _merge_shared(merged, revoked)
        return merged

    async def ListRevocations(
        self, _request: admin_pb2.ListRevocationsRequest, _context: Any
    ) -> admin_pb2.ListRevocationsResponse:
        """Return the entries of all workers' deny lists, each once, with the latest end."""
        answers = await asyncio.gather(
            *(
                _call(worker, "ListRevocations", admin_pb2.ListRevocationsRequest())
                for worker in self._serving()
            )
        )
        merged: dict[tuple[str, str, str], admin_pb2.Revocation] = {}
        for each in (entry for answer in answers for entry in answer.revocations):
            conditions = (each.issuer, each.subject, each.jti)
            if conditions not in merged or _end(merged[conditions]) < _end(each):
                merged[conditions] = each
        in_order: list[admin_pb2.Revocation] = sorted(merged.values(), key=_end)
        return admin_pb2.ListRevocationsResponse(revocations=in_order)

    async def LiftRevocation(
        self, request: admin_pb2.LiftRevocationRequest, _context: Any
    ) -> admin_pb2.LiftRevocationResponse:
        """Take a revocation back in every worker, and in those that start later.

        The call fails if one worker does not confirm; it may be repeated.
        """
        async with self._revocations.lock:
            answers = await asyncio.gather(
                *(_call(worker, "LiftRevocation", request) for worker in self._serving())
            )
            kept = self._revocations.remove(request)
        merged = admin_pb2.LiftRevocationResponse(lifted=kept or any(each.lifted for each in answers))
        _merge_shared(merged, answers)
        return merged

    async def Reload(self, _request: admin_pb2.ReloadRequest, _context: Any) -> admin_pb2.ReloadResponse:
        """Reload in every worker; return each problem once."""
        answers = await asyncio.gather(*(worker.reload() for worker in self._workers))
        problems = dict.fromkeys(problem for answer in answers for problem in answer)
        return admin_pb2.ReloadResponse(problems=problems)

    async def GetShadow(
        self, request: admin_pb2.GetShadowRequest, _context: Any
    ) -> admin_pb2.GetShadowResponse:
        """Return the sums of all workers."""
        answers = await asyncio.gather(*(_call(worker, "GetShadow", request) for worker in self._serving()))
        merged = admin_pb2.GetShadowResponse()
        merged.CopyFrom(answers[0])
        for answer in answers[1:]:
            for outcome, count in answer.decisions.items():
                merged.decisions[outcome] += count
        del merged.problems[:], merged.differences[:]
        merged.problems.extend(dict.fromkeys(problem for answer in answers for problem in answer.problems))
        merged.differences.extend(merged_differences(answers))
        return merged

    async def CompareSessions(
        self, request: admin_pb2.CompareSessionsRequest, _context: Any
    ) -> admin_pb2.CompareSessionsResponse:
        """Return the sums of all workers."""
        answers = await asyncio.gather(
            *(_call(worker, "CompareSessions", request) for worker in self._serving())
        )
        return admin_pb2.CompareSessionsResponse(
            sessions=sum(answer.sessions for answer in answers),
            open_sessions=sum(answer.open_sessions for answer in answers),
            reads_request=any(answer.reads_request for answer in answers),
            differences=merged_differences(answers),
        )

    async def GetMetrics(
        self, _request: admin_pb2.GetMetricsRequest, _context: Any
    ) -> admin_pb2.GetMetricsResponse:
        """Return the merged metrics."""
        return admin_pb2.GetMetricsResponse(text=await self._metrics())

    def _holder(self, reference: admin_pb2.SessionReference) -> Worker:
        for worker in self._workers:
            if worker.number == reference.worker:
                return worker
        raise RefusedError("session: there is no such worker")

    def _serving(self) -> list[Worker]:
        serving = [worker for worker in self._workers if worker.control is not None]
        if not serving:
            raise NoAnswerError("no worker serves")
        return serving


def merged_differences(answers: Iterable[Any]) -> list[admin_pb2.DecisionDifference]:
    """Return the differences of all workers, equal ones as one, most frequent first."""
    merged: dict[bytes, admin_pb2.DecisionDifference] = {}
    for answer in answers:
        for difference in answer.differences:
            kind = admin_pb2.DecisionDifference()
            kind.CopyFrom(difference)
            kind.ClearField("count")
            kind.ClearField("last_at")
            known = merged.setdefault(kind.SerializeToString(deterministic=True), kind)
            known.count += difference.count
            if difference.last_at.ToNanoseconds() > known.last_at.ToNanoseconds():
                known.last_at.CopyFrom(difference.last_at)
    return sorted(merged.values(), key=lambda difference: -difference.count)


def decision_cursors(cursor: str) -> dict[int, str]:
    """Return the workers' cursors of a merged one.

    Raises:
        RefusedError: it is none of an earlier answer.
    """
    cursors = {}
    for part in filter(None, cursor.split(",")):
        number, _, of_worker = part.partition(":")
        if not number.isdecimal() or not of_worker:
            raise RefusedError("cursor: is none of an earlier answer")
        cursors[int(number)] = of_worker
    return cursors


def _end(revocation: admin_pb2.Revocation) -> tuple[int, int]:
    return revocation.refused_until.seconds, revocation.refused_until.nanos


def _merge_shared(
    merged: admin_pb2.RevokeResponse | admin_pb2.LiftRevocationResponse,
    answers: Sequence[admin_pb2.RevokeResponse | admin_pb2.LiftRevocationResponse],
) -> None:
    """Set the effect on other replicas: a problem of any worker, or what the fewest replicas confirmed."""
    shared = [each.shared for each in answers if each.HasField("shared")]
    if shared:
        least = min(shared, key=lambda each: (not each.problem, each.confirmed - each.replicas))
        merged.shared.CopyFrom(least)


async def _status(worker: Worker, request: admin_pb2.GetStatusRequest) -> admin_pb2.WorkerStatus:
    status: admin_pb2.WorkerStatus
    try:
        (status,) = (await _call(worker, "GetStatus", request)).workers
    except (NoAnswerError, RefusedError):
        status = admin_pb2.WorkerStatus(reasons=worker.unready or ["does not answer"])
    status.worker = worker.number
    return status


async def _call(worker: Worker, method: str, request: Any) -> Any:
    control = worker.control
    if control is None:
        raise NoAnswerError(f"worker {worker.number} does not serve")
    try:
        return await control.call(method, request)
    except NoAnswerError as error:
        raise NoAnswerError(f"worker {worker.number}: {error}") from None
