"""The admin API over all workers, with fake workers."""

import asyncio
from types import SimpleNamespace

import pytest

from extproc.admin.errors import NoAnswerError, RefusedError
from extproc.admin.v1 import admin_pb2
from extproc.workers.fanout import FanOut
from extproc.workers.revocations import RevocationLog
from support.credentials import FakeClock
from support.tables import each_case


class FakeWorker:
    """A worker that holds ``sessions`` (ids), and whose calls raise ``failure``."""

    def __init__(self, number, sessions=(), *, serves=True, failure=None, problems=()):
        self.number = number
        self.unready = [] if serves else ["starting"]
        self.control = SimpleNamespace(call=self._call) if serves else None
        self.asked = []
        self._sessions = sorted(sessions)
        self._failure = failure
        self._problems = list(problems)
        self._clock = FakeClock()

    async def reload(self):
        if self._failure:
            raise self._failure
        return self._problems

    async def _call(self, method, request):
        await asyncio.sleep(0)
        self.asked.append(method)
        if self._failure:
            raise self._failure
        return getattr(self, f"answer_{method.lower()}")(request)

    def answer_getstatus(self, _request):
        return admin_pb2.GetStatusResponse(
            workers=[admin_pb2.WorkerStatus(pid=100 + self.number, ready=True)]
        )

    def answer_listsessions(self, request):
        left = [each for each in self._sessions if each > request.page_token]
        page = left[: request.page_size]
        return admin_pb2.ListSessionsResponse(
            sessions=[admin_pb2.Session(id=each) for each in page],
            next_page_token=page[-1] if len(left) > len(page) else "",
        )

    def answer_revoke(self, request):
        answer = admin_pb2.RevokeResponse(sessions=len(self._sessions), credentials=1, role_policy="{}")
        if request.duration.seconds:
            answer.refused_until.FromSeconds(int(self._clock.now) + request.duration.seconds)
        return answer

    def answer_explain(self, _request):
        return admin_pb2.ExplainResponse()

    def answer_getsession(self, request):
        return admin_pb2.GetSessionResponse(session=admin_pb2.Session(id=request.session.id))

    def answer_listdecisions(self, request):
        begin = int(request.cursor or 0)
        events = self._sessions[begin:][: request.limit]
        return admin_pb2.ListDecisionsResponse(
            events=events,
            next_cursor=str(begin + len(events)),
            more=begin + len(events) < len(self._sessions),
        )

    def answer_listrevocations(self, _request):
        answer = admin_pb2.ListRevocationsResponse()
        for subject in self._sessions:
            answer.revocations.add(subject=subject).refused_until.FromSeconds(10 * self.number)
        return answer

    def answer_liftrevocation(self, request):
        return admin_pb2.LiftRevocationResponse(lifted=request.subject in self._sessions)


def over(*workers):
    async def metrics():
        return "merged"

    revocations = RevocationLog(clock=FakeClock())
    return FanOut(workers=workers, revocations=revocations, metrics=metrics), revocations


def revoke_request(seconds=60):
    request = admin_pb2.RevokeRequest(subject="alice")
    request.duration.FromSeconds(seconds)
    return request


async def test_status_covers_every_worker_even_if_it_does_not_serve_or_answer():
    hung = FakeWorker(3, failure=NoAnswerError("DEADLINE_EXCEEDED"))
    fan_out, _ = over(FakeWorker(1), FakeWorker(2, serves=False), hung)
    workers = (await fan_out.GetStatus(admin_pb2.GetStatusRequest(), None)).workers
    assert [(each.worker, each.pid, each.ready, list(each.reasons)) for each in workers] == [
        (1, 101, True, []),
        (2, 0, False, ["starting"]),
        (3, 0, False, ["does not answer"]),
    ]


@each_case("size", [1, 2, 3, 4, 7, 100])
async def test_sessions_of_all_workers_are_listed_page_by_page_each_once(size):
    fan_out, _ = over(
        FakeWorker(1, "abcd"), FakeWorker(2), FakeWorker(3, "xyz", serves=False), FakeWorker(4, "bcq")
    )
    found, token = [], ""
    for _ in range(20):
        request = admin_pb2.ListSessionsRequest(page_size=size, page_token=token)
        page = await fan_out.ListSessions(request, None)
        assert len(page.sessions) <= size
        found += [(each.worker, each.id) for each in page.sessions]
        token = page.next_page_token
        if not token:
            break
    assert found == [(1, "a"), (1, "b"), (1, "c"), (1, "d"), (4, "b"), (4, "c"), (4, "q")]


@pytest.mark.parametrize(("size", "token"), [(-1, ""), (1, "x:y"), (1, "nonsense")])
async def test_invalid_pages_are_refused(size, token):
    fan_out, _ = over(FakeWorker(1, "ab"))
    with pytest.raises(RefusedError, match="page_"):
        await fan_out.ListSessions(admin_pb2.ListSessionsRequest(page_size=size, page_token=token), None)


async def test_a_revocation_holds_in_all_workers_and_is_kept_for_later_ones():
    workers = [FakeWorker(1, "ab"), FakeWorker(2, "c"), FakeWorker(3, serves=False)]
    fan_out, revocations = over(*workers)
    answer = await fan_out.Revoke(revoke_request(), None)
    assert (answer.sessions, answer.credentials, answer.role_policy) == (3, 2, "{}")
    assert [each.asked for each in workers] == [["Revoke"], ["Revoke"], []]
    assert [each.subject for each in revocations.in_force()] == ["alice"]


async def test_a_revocation_that_refuses_nobody_is_not_kept():
    fan_out, revocations = over(FakeWorker(1))
    await fan_out.Revoke(revoke_request(0), None)
    assert revocations.in_force() == []


async def test_a_revocation_that_one_worker_does_not_confirm_is_an_error_and_is_kept_for_its_next_process():
    hung = FakeWorker(2, failure=NoAnswerError("DEADLINE_EXCEEDED"))
    fan_out, revocations = over(FakeWorker(1), hung)
    with pytest.raises(NoAnswerError, match="worker 2: DEADLINE_EXCEEDED"):
        await fan_out.Revoke(revoke_request(), None)
    assert [each.subject for each in revocations.in_force()] == ["alice"]


async def test_a_revocation_that_every_worker_refuses_is_refused_and_not_kept():
    refusing = [FakeWorker(number, failure=RefusedError("which?")) for number in (1, 2)]
    fan_out, revocations = over(*refusing)
    with pytest.raises(RefusedError, match="which"):
        await fan_out.Revoke(revoke_request(), None)
    assert revocations.in_force() == []


async def test_without_a_worker_nothing_is_revoked_or_explained():
    fan_out, revocations = over(FakeWorker(1, serves=False))
    for call in (fan_out.Revoke(revoke_request(), None), fan_out.Explain(admin_pb2.ExplainRequest(), None)):
        with pytest.raises(NoAnswerError, match="no worker serves"):
            await call
    assert revocations.in_force() == []


async def test_no_worker_may_serve_while_a_revocation_is_sent_to_the_others():
    fan_out, revocations = over(FakeWorker(1))
    async with revocations.lock:
        revoking = asyncio.create_task(fan_out.Revoke(revoke_request(), None))
        await asyncio.sleep(0)
        assert not revoking.done()
        assert revocations.in_force() == []
    await revoking
    assert len(revocations.in_force()) == 1


async def test_an_explanation_comes_from_the_first_worker_that_serves():
    first, second = FakeWorker(1, serves=False), FakeWorker(2)
    fan_out, _ = over(first, second)
    await fan_out.Explain(admin_pb2.ExplainRequest(), None)
    assert second.asked == ["Explain"]


async def test_problems_of_a_reload_are_listed_once():
    fan_out, _ = over(FakeWorker(1, problems=["a: b"]), FakeWorker(2, problems=["a: b", "c: d"]))
    answer = await fan_out.Reload(admin_pb2.ReloadRequest(), None)
    assert list(answer.problems) == ["a: b", "c: d"]


async def test_a_worker_that_does_not_reload_makes_the_reload_an_error():
    fan_out, _ = over(FakeWorker(1), FakeWorker(2, failure=NoAnswerError("UNAVAILABLE")))
    with pytest.raises(NoAnswerError):
        await fan_out.Reload(admin_pb2.ReloadRequest(), None)


async def test_metrics_are_the_merged_ones():
    fan_out, _ = over(FakeWorker(1))
    assert (await fan_out.GetMetrics(admin_pb2.GetMetricsRequest(), None)).text == "merged"


async def test_a_session_is_looked_up_at_the_worker_that_holds_it():
    first, second = FakeWorker(1), FakeWorker(2)
    fan_out, _ = over(first, second)
    which = admin_pb2.SessionReference(id="a", worker=2)
    await fan_out.GetSession(admin_pb2.GetSessionRequest(session=which), None)
    await fan_out.Explain(admin_pb2.ExplainRequest(session=which), None)
    assert (first.asked, second.asked) == ([], ["GetSession", "Explain"])
    which.worker = 3
    with pytest.raises(RefusedError, match="no such worker"):
        await fan_out.GetSession(admin_pb2.GetSessionRequest(session=which), None)


async def test_decisions_of_all_workers_are_listed_each_once():
    fan_out, _ = over(FakeWorker(1, "abc"), FakeWorker(2, serves=False), FakeWorker(3, "xy"))
    found, cursor, more = [], "", True
    while more:
        page = await fan_out.ListDecisions(admin_pb2.ListDecisionsRequest(cursor=cursor, limit=2), None)
        found += page.events
        cursor, more = page.next_cursor, page.more
    assert (sorted(found), cursor) == (list("abcxy"), "1:3,3:2")


async def test_a_worker_that_does_not_answer_keeps_its_place_among_decisions():
    hung = FakeWorker(2, failure=NoAnswerError("UNAVAILABLE"))
    fan_out, _ = over(FakeWorker(1, "a"), hung)
    page = await fan_out.ListDecisions(admin_pb2.ListDecisionsRequest(cursor="2:7", limit=2), None)
    assert (list(page.events), page.next_cursor) == (["a"], "1:1,2:7")


@each_case("cursor", ["x", "1", "1:", "x:1"])
async def test_what_is_no_cursor_of_decisions_is_refused(cursor):
    fan_out, _ = over(FakeWorker(1))
    with pytest.raises(RefusedError, match="cursor"):
        await fan_out.ListDecisions(admin_pb2.ListDecisionsRequest(cursor=cursor), None)


async def test_workers_that_keep_no_decisions_refuse():
    fan_out, _ = over(FakeWorker(1, failure=RefusedError("no decisions are kept")))
    with pytest.raises(RefusedError, match="no decisions"):
        await fan_out.ListDecisions(admin_pb2.ListDecisionsRequest(), None)


async def test_revocations_are_listed_once_with_their_latest_end():
    fan_out, _ = over(FakeWorker(1, ["alice", "bob"]), FakeWorker(2, ["alice"]))
    listed = (await fan_out.ListRevocations(admin_pb2.ListRevocationsRequest(), None)).revocations
    assert [(each.subject, each.refused_until.seconds) for each in listed] == [("bob", 10), ("alice", 20)]


async def test_a_revocation_that_is_taken_back_is_not_repeated_to_later_workers():
    fan_out, kept = over(FakeWorker(1))
    await fan_out.Revoke(revoke_request(), None)
    lift = admin_pb2.LiftRevocationRequest(subject="alice")
    assert (await fan_out.LiftRevocation(lift, None)).lifted
    assert kept.in_force() == []
    assert not (await fan_out.LiftRevocation(lift, None)).lifted
