"""The admin API of all workers together: asks each of them, and answers as one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

import grpc

from extproc.admin.v1 import admin_pb2, admin_pb2_grpc
from extproc.workers.control import NoAnswerError, RefusedError
from extproc.workers.revocations import Revocations
from extproc.workers.worker import Worker

_PAGE, _LARGEST_PAGE = 100, 1000  # as admin.proto says


class FanOut(admin_pb2_grpc.AdminServicer):
    """The servicer of the supervisor. ``metrics`` gives the merged exposition."""

    def __init__(
        self,
        *,
        workers: Sequence[Worker],
        revocations: Revocations,
        metrics: Callable[[], Awaitable[str]],
    ) -> None:
        self._workers = workers
        self._revocations = revocations
        self._metrics = metrics

    async def GetStatus(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the API's names
        """How each worker is; one that does not answer is not ready, and says no more."""
        answers = await asyncio.gather(*(self._status(worker, request) for worker in self._workers))
        return admin_pb2.GetStatusResponse(workers=answers)

    async def ListSessions(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The sessions of one worker after the other. A page token is theirs, behind the worker's number."""
        if request.page_size < 0:
            await _abort(context, RefusedError("page_size must not be negative"))
        room = min(request.page_size or _PAGE, _LARGEST_PAGE)
        number, _, token = request.page_token.partition(":")
        if request.page_token and not number.isdecimal():
            await _abort(context, RefusedError("page_token is not one of ours"))
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
            answer = await self._ask(context, worker, "ListSessions", asked)
            for session in answer.sessions:
                session.worker = worker.number
            page.sessions.extend(answer.sessions)
            room -= len(answer.sessions)
            if answer.next_page_token:
                page.next_page_token = f"{worker.number}:{answer.next_page_token}"
                break
        return page

    async def Explain(self, request: Any, context: Any) -> Any:  # noqa: N802
        """What the first worker that serves says: all have the same policy."""
        for worker in self._workers:
            if worker.control is not None:
                return await self._ask(context, worker, "Explain", request)
        return await _abort(context, NoAnswerError("no worker serves"))

    async def Revoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Revoke in every worker, and in those that start later before they serve.

        If some worker did not confirm it the whole is an error, although it holds in the others.
        """
        async with self._revocations.lock:
            serving = [worker for worker in self._workers if worker.control is not None]
            if not serving:
                await _abort(context, NoAnswerError("no worker serves"))
            answers = await asyncio.gather(
                *(_call(worker, "Revoke", request) for worker in serving), return_exceptions=True
            )
            revoked = [answer for answer in answers if not isinstance(answer, BaseException)]
            refused_until = [each.refused_until for each in revoked if each.HasField("refused_until")]
            if refused_until:
                last = max(refused_until, key=lambda until: (until.seconds, until.nanos))
                self._revocations.keep(request, last)
        for answer in answers:
            if isinstance(answer, BaseException):
                await _abort(context, answer)
        whole = admin_pb2.RevokeResponse()
        whole.CopyFrom(revoked[0])
        whole.sessions = sum(each.sessions for each in revoked)
        whole.credentials = sum(each.credentials for each in revoked)
        return whole

    async def Reload(self, _request: Any, context: Any) -> Any:  # noqa: N802
        """Reload in every worker; each problem once."""
        try:
            answers = await asyncio.gather(*(worker.reload() for worker in self._workers))
        except (NoAnswerError, RefusedError) as error:
            await _abort(context, error)
        problems = dict.fromkeys(problem for answer in answers for problem in answer)
        return admin_pb2.ReloadResponse(problems=problems)

    async def GetMetrics(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """The merged metrics."""
        return admin_pb2.GetMetricsResponse(text=await self._metrics())

    async def _status(self, worker: Worker, request: Any) -> Any:
        try:
            (status,) = (await _call(worker, "GetStatus", request)).workers
        except (NoAnswerError, RefusedError):
            status = admin_pb2.WorkerStatus(reasons=worker.unready or ["does not answer"])
        status.worker = worker.number
        return status

    async def _ask(self, context: Any, worker: Worker, method: str, request: Any) -> Any:
        try:
            return await _call(worker, method, request)
        except (NoAnswerError, RefusedError) as error:
            return await _abort(context, error)


async def _call(worker: Worker, method: str, request: Any) -> Any:
    control = worker.control
    if control is None:
        raise NoAnswerError(f"worker {worker.number} does not serve")
    try:
        return await control.call(method, request)
    except NoAnswerError as error:
        raise NoAnswerError(f"worker {worker.number}: {error}") from None


async def _abort(context: Any, error: BaseException) -> NoReturn:
    """End the call: what a worker refused is the caller's fault, and what it did not answer nobody's."""
    code = (
        grpc.StatusCode.INVALID_ARGUMENT if isinstance(error, RefusedError) else grpc.StatusCode.UNAVAILABLE
    )
    told = isinstance(error, RefusedError | NoAnswerError)
    await context.abort(code, str(error) if told else "a worker did not answer")
    raise AssertionError  # abort does not return
