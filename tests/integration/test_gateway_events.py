"""GET /api/events: a list of a user's jobs that stays right, over cuts, restarts and floods, and holds no job of anybody else."""

import signal
import time

import flows
import pytest
from http_client import Gateway
from service import slow, wait_until


@pytest.fixture(scope="module")
def gateway(shared):
    one = Gateway(shared, "gateway13")
    yield one
    shared.processes.pop(one.name).terminate()


def submit(gateway, user, workflow=None, **more):
    answer = gateway.post("/api/jobs", {"workflow": workflow or flows.script_chat(["a"]), "text": "x", **more}, user=user)
    assert answer.status in (200, 202), answer
    return answer.body["job"]


def question():
    return flows.chat(flows.script(["a", "b"]), user={"human_input_mode": "ALWAYS"}, replies=5)


class Board:
    """What a dashboard knows: the last record of each job, by what one stream after the other said."""

    def __init__(self, gateway, user):
        self.gateway, self.user, self.last = gateway, user, None
        self.jobs, self.lists, self.shown = {}, 0, []

    def read(self, until, timeout=20):
        with self.gateway.stream("/api/events", last=self.last, user=self.user, timeout=timeout) as stream:
            assert stream.status == 200
            for event in stream:
                self.take(event)
                if until(self):
                    return self
        raise AssertionError(f"the stream ended; {self.jobs}")

    def take(self, event):
        if event.id:
            assert self.last is None or int(event.id) >= int(self.last), "ids grow"
            self.last = event.id
        if event.name == "job":
            assert event.data["user"] == self.user and "content" not in event.data and "end" not in event.data
            self.jobs[event.data["id"]] = event.data
            self.shown.append((event.data["id"], event.data["state"]))
        elif event.name == "gone":
            self.jobs.pop(event.data["id"], None)
        elif event.name == "listed":
            self.lists += 1

    def states(self):
        return {job: record["state"] for job, record in self.jobs.items()}


def listed(board):
    return board.lists == 1


def test_jobs_are_listed_and_then_shown_as_they_change(gateway, user):
    done = submit(gateway, user, wait_ms=20000)
    with gateway.stream("/api/events", user=user) as stream:
        board, events = Board(gateway, user), iter(stream)
        while not board.lists:
            board.take(next(events))
        assert board.states() == {done: "succeeded"} and board.last
        job = submit(gateway, user, question())
        began = time.monotonic()
        while board.states().get(job) != "waiting":
            board.take(next(events))
        assert time.monotonic() - began < 0.8 * slow(), "as it happens, not once a second"
        gateway.post(f"/api/jobs/{job}/pause", user=user)
        while board.states()[job] != "paused":
            board.take(next(events))
        gateway.post(f"/api/jobs/{job}/cancel", user=user)
        while board.states()[job] != "cancelled":
            board.take(next(events))
        assert [one for one, _ in board.shown].count(done) == 1, "what did not change is not sent again"


def test_the_service_s_status_comes_beside(gateway, user):
    with gateway.stream("/api/events", user=user) as stream:
        status = next(event for event in stream if event.name == "status").data
    assert status["storage"] and len(status["workers"]) == 2


def test_who_comes_back_is_shown_what_changed_meanwhile_and_only_that(gateway, user):
    first = submit(gateway, user, wait_ms=20000)
    board = Board(gateway, user).read(listed)
    meanwhile = {submit(gateway, user, wait_ms=20000) for _ in range(3)}
    board.shown.clear()
    board.read(lambda b: meanwhile <= set(b.jobs))
    assert board.lists == 1 and first not in [job for job, _ in board.shown]
    assert set(board.states().values()) == {"succeeded"}


@pytest.mark.parametrize("part", ["gateway", "broker", "storage"])
def test_killed_in_mid_stream_nothing_is_missed(make_service, user, part):
    service = make_service(workers=1)
    gateway = Gateway(service)
    jobs = [submit(gateway, user, question())]
    board = Board(gateway, user).read(lambda b: b.lists and "waiting" in b.states().values())
    if part == "gateway":
        gateway.restart()
        jobs.append(submit(gateway, user, question()))
    else:
        with gateway.stream("/api/events", last=board.last, user=user) as stream:  # the stream outlives it
            service.kill(part)
            service.start(part)
            jobs.append(submit(gateway, user, question()))
            for event in stream:
                board.take(event)
                if board.states().get(jobs[1]) == "waiting":
                    break
    board.read(lambda b: b.last and b.states() == dict.fromkeys(jobs, "waiting"))
    assert board.lists == (2 if part == "broker" else 1), "only a new broker does not know what was told"


def test_several_gateways_tell_the_same(shared, gateway, user):
    other = Gateway(shared, "gateway14")
    board = Board(gateway, user).read(listed)
    job = submit(other, user, wait_ms=20000)
    board.gateway = other
    assert board.read(lambda b: job in b.jobs).lists == 1, "a cursor is good at each of them"
    shared.processes.pop(other.name).terminate()


def test_a_deleted_job_is_gone(gateway, user):
    session = gateway.post("/api/jobs", {"workflow": question(), "text": "x", "wait_ms": 20000}, user=user).body
    board = Board(gateway, user)
    with gateway.stream("/api/events", user=user) as stream:
        for event in stream:
            board.take(event)
            if board.lists and session["job"] in board.jobs:
                gateway.request("DELETE", f"/api/sessions/{session['session']}", user=user)
                board.lists = 0
            if session["job"] not in board.jobs and board.shown:
                break
    assert not board.jobs


def test_a_flood_is_shown_as_where_it_ended(gateway, user):
    board = Board(gateway, user)
    with gateway.stream("/api/events", user=user, timeout=60) as stream:
        events = iter(stream)
        while not board.lists:
            board.take(next(events))
        jobs = {submit(gateway, user) for _ in range(150)}
        while set(board.jobs) != jobs or set(board.states().values()) != {"succeeded"}:
            board.take(next(events))
    assert len(board.shown) <= 150 * 4


def test_an_id_told_while_a_list_is_due_leaves_nothing_out(gateway, shared, user):
    gateway.post("/api/queues/default/pause", {"of": user}, user=user)  # so that each job changes once
    other = Gateway(shared, "gateway32")
    board = Board(gateway, user).read(listed)
    with gateway.stream("/api/events", last=board.last, user=user) as stream:
        gateway.process.process.send_signal(signal.SIGSTOP)  # all it is told comes at once
        try:
            jobs = [submit(other, user) for _ in range(400)]
        finally:
            gateway.process.process.send_signal(signal.SIGCONT)
        for event in stream:
            board.take(event)
            if event.name in ("job", "listed"):
                break
    later = submit(other, user)
    assert jobs[-1] in board.read(lambda b: later in b.jobs).jobs
    gateway.post("/api/queues/default/resume", {"of": user}, user=user)
    shared.processes.pop(other.name).terminate()


def test_nobody_is_shown_anothers(gateway, user):
    other = Board(gateway, user + "other")
    with gateway.stream("/api/events", user=other.user) as stream:
        events = iter(stream)
        job = submit(gateway, user, wait_ms=20000)
        mine = submit(gateway, other.user, wait_ms=20000)
        while other.states().get(mine) != "succeeded":
            other.take(next(events))  # which asserts whose each is
    assert job not in other.jobs
    behind = Board(gateway, other.user)
    behind.last = other.last
    newer = submit(gateway, user, wait_ms=20000)
    last = submit(gateway, other.user, wait_ms=20000)
    behind.read(lambda b: b.states().get(last) == "succeeded")
    assert newer not in behind.jobs


@pytest.mark.parametrize("last", ["x", "-1", "9" * 30, "1;2"])
def test_an_id_that_is_none_is_refused(gateway, user, last):
    answer = gateway.get("/api/events", headers={"Last-Event-ID": last}, user=user)
    assert answer.status == 400 and answer.body["error"]["path"] == "Last-Event-ID"


@pytest.mark.parametrize("last", ["0", "1", "999999999999999999", "5.7"])
def test_an_id_that_nobody_told_begins_with_a_list(gateway, user, last):
    job = submit(gateway, user, wait_ms=20000)
    board = Board(gateway, user)
    with gateway.stream("/api/events", last=last, user=user) as stream:
        for event in stream:
            board.take(event)
            if board.lists:
                break
    assert set(board.jobs) == {job}
