"""Who runs when: tenants, workers that come, limits, credit. The worker is the test's own: it sees each dispatch."""

import time

import autobots_wire as wire
import flows
import pytest
from service import wait_until

FLOW = flows.script_chat(["done"])


@pytest.fixture(scope="module")
def bare(short_folder):
    """Storage and broker only."""
    from service import Service
    one = Service(short_folder(), workers=0, config={"heartbeat_ms": 300, "lease_ms": 1500})
    yield one
    one.stop()


@pytest.fixture
def pool(user):
    """A worker pool of this test's own."""
    return f"pool-{user}"


def submit_many(client, n, **more):
    rids = [client.submit_later(FLOW, f"{i}", no_session=True, **more)[0] for i in range(n)]
    return [client.answer(rid)["job"] for rid in rids]


def test_a_small_tenant_does_not_wait_for_a_large_one(bare, pool):
    with bare.client("a") as a, bare.client("b") as b, bare.worker(slots=4, pool=pool) as worker:
        submit_many(a, 1000, pool=pool)
        for _ in range(20):
            worker.finish(worker.take())
        b_jobs = set(submit_many(b, 10, pool=pool))
        a_started = 0
        while b_jobs:
            lease = worker.take()
            a_started += lease.id not in b_jobs
            worker.finish(lease)
            b_jobs.discard(lease.id)
        assert a_started < 30, f"{a_started} jobs of the large tenant started before the small one's 10 ended"
        for _ in range(970 - a_started):
            worker.finish(worker.take(), wait_commit=False)


def test_priority_within_a_tenant_then_the_order_of_acceptance(bare, pool, user):
    with bare.client(user) as client:
        low = submit_many(client, 3, pool=pool)
        high = submit_many(client, 3, pool=pool, priority=9)
        last = submit_many(client, 1, pool=pool, priority=-1)
        with bare.worker(slots=1, pool=pool) as worker:
            order = []
            for _ in range(7):
                lease = worker.take()
                order.append(lease.id)
                worker.finish(lease)
        assert order == high + low + last


def test_never_more_jobs_than_credit(bare, pool, user):
    with bare.client(user) as client, bare.worker(slots=8, pool=pool, credit=3) as worker:
        submit_many(client, 10, pool=pool)
        leases = [worker.take() for _ in range(3)]
        with pytest.raises(wire.NoAnswer):
            worker.take(timeout=0.7)
        worker.finish(leases[0])
        leases[0] = worker.take()
        with pytest.raises(wire.NoAnswer):
            worker.take(timeout=0.3)
        worker.send("CREDIT", {"credit": 8})
        leases += [worker.take() for _ in range(5)]
        for lease in leases:
            worker.finish(lease)
        worker.finish(worker.take())


def test_a_worker_that_comes_late_takes_its_share_within_a_second(bare, pool, user):
    with bare.client(user) as client, bare.worker(slots=4, pool=pool) as one, bare.worker(slots=4, pool=pool) as two:
        submit_many(client, 60, pool=pool)
        held = {worker: [worker.take() for _ in range(4)] for worker in (one, two)}
        came = time.monotonic()
        with bare.worker(slots=4, pool=pool) as three:
            leases = [three.take(timeout=1) for _ in range(4)]
            assert time.monotonic() - came < 1.0
            held[three] = leases
            done = {worker: 0 for worker in held}
            while sum(done.values()) < 60:
                for worker, leases in held.items():
                    if leases:
                        worker.finish(leases.pop(0))
                        done[worker] += 1
                    try:
                        leases.append(worker.take(timeout=0.05))
                    except wire.NoAnswer:
                        pass
            assert min(done.values()) >= 12, done


def test_jobs_go_to_their_pool_only(bare, pool, user):
    with bare.client(user) as client, bare.worker(slots=4, pool=pool + "x") as other:
        [job] = submit_many(client, 1, pool=pool)
        with pytest.raises(wire.NoAnswer):
            other.take(timeout=0.5)
        status = client.job_status(job)
        assert status["state"] == "ready" and status["why"]
        with bare.worker(pool=pool) as mine:
            lease = mine.take()
            assert lease.id == job and lease.header["user"] == user
            mine.finish(lease)


def test_status_says_position_and_why_not(bare, pool, user):
    with bare.client(user) as client:
        jobs = submit_many(client, 3, pool=pool)
        assert [client.job_status(job)["position"] for job in jobs] == [1, 2, 3]
        assert "credit" in client.job_status(jobs[0])["why"]
        with bare.worker(pool=pool) as worker:
            for job in jobs:
                lease = worker.take()
                assert client.job_status(job)["state"] == "running"
                worker.finish(lease)
            wait_until(lambda: gone(client, jobs[-1]), what="not open any more")


def gone(client, job):
    try:
        return client.job_status(job)["state"] == "not_found"
    except wire.Failure as failure:
        return failure.code == "not_found"


LATE = [{"kind": "turn", "step": "s:1", "agent": "a", "content": "late", "at_ms": 1}]


def test_a_silent_worker_loses_its_job_and_its_late_words_are_refused(bare, pool, user):
    with bare.client(user) as client, bare.worker(pool=pool, name="silent") as silent:
        [job] = submit_many(client, 1, pool=pool)
        lease = silent.take()
        with bare.worker(pool=pool) as other:
            again = other.take(timeout=10)  # while the first says nothing
            assert again.id == job and again.attempt == 2 and again.token > lease.token
            assert [event["kind"] for event in again.journal] == ["started", "started"]
            silent.held.clear()
            with pytest.raises(wire.Failure) as failure:
                silent.append(lease, LATE)
            assert failure.value.code == "denied", "it must say HELLO again"
            silent.stash.clear()
            silent.greet()
            silent.send("ATTACH", {"job": job, "token": lease.token, "seq": 1})
            assert silent.wait_for(lambda m: m.get("job") == job)["token"] == lease.token
            assert not [m for m in silent.stash if m.name == "COMMITTED"]
            other.finish(again, "by the second")
        client.greet()  # it was silent meanwhile, too
        events = client.watch_to_end(job)
        assert [e["kind"] for e in events] == ["started", "started", "end"]
        assert events[-1]["content"] == "by the second"


def test_a_lease_that_is_not_renewed_is_lost_and_its_words_are_stale(bare, pool, user):
    """The worker lives and says so, but no longer names this lease."""
    with bare.client(user) as client, bare.worker(pool=pool) as forgetful:
        [job] = submit_many(client, 1, pool=pool)
        lease = forgetful.take()
        forgetful.held.clear()
        forgetful.send("CREDIT", {"credit": 0})
        with pytest.raises(wire.NoAnswer):
            forgetful.wait_for(lambda m: m.name == "JOB", 2.5)
        with bare.worker(pool=pool) as other:
            again = other.take(timeout=5)
            assert again.id == job and again.token > lease.token
            with pytest.raises(wire.Failure) as failure:
                forgetful.append(lease, LATE)
            assert failure.value.code == "stale"
            other.finish(again)
        client.greet()
        assert [e["kind"] for e in client.watch_to_end(job)] == ["started", "started", "end"]


def test_released_and_drained_jobs_go_to_another_worker_at_once(bare, pool, user):
    with bare.client(user) as client, bare.worker(pool=pool, name="one") as one:
        [job] = submit_many(client, 1, pool=pool)
        lease = one.take()
        one.send("CREDIT", {"credit": 0})
        one.send("RELEASE", {"job": job, "token": lease.token, "seq": lease.seq})
        one.held.clear()
        with bare.worker(pool=pool, name="two") as two:
            again = two.take(timeout=1.5)
            assert again.id == job
            two.finish(again)
        assert client.watch_to_end(job)[-1]["state"] == "succeeded"


def test_a_failed_attempt_is_tried_again_later(bare, pool, user):
    with bare.client(user) as client, bare.worker(pool=pool) as worker:
        [job] = submit_many(client, 1, pool=pool)
        lease, now = worker.take(), int(time.time() * 1000)
        failed = {"kind": "attempt_failed", "attempt": 1, "code": "model", "text": "try later", "at_ms": now,
                  "retry_at_ms": now + 600}
        worker.append(lease, [failed], retry=True, wake_at_ms=now + 600)
        assert client.job_status(job)["state"] == "retry"
        again = worker.take(timeout=5)
        assert time.time() * 1000 >= now + 590 and again.attempt == 2
        worker.finish(again)
        assert [e["kind"] for e in client.watch_to_end(job)] == ["started", "attempt_failed", "started", "end"]


def test_the_same_events_again_are_committed_again(bare, pool, user):
    with bare.client(user) as client, bare.worker(pool=pool) as worker:
        [job] = submit_many(client, 1, pool=pool)
        lease = worker.take()
        turn = [{"kind": "turn", "step": "s:1", "agent": "a", "content": "once", "at_ms": 1}]
        worker.append(lease, turn)
        lease.seq -= 1
        worker.append(lease, turn)
        worker.finish(lease)
        assert [e["kind"] for e in client.watch_to_end(job)] == ["started", "turn", "end"]


def test_a_job_ends_only_once(bare, pool, user):
    with bare.client(user) as client, bare.worker(pool=pool) as worker:
        [job] = submit_many(client, 1, pool=pool)
        lease = worker.take()
        worker.finish(lease, "first")
        with pytest.raises(wire.Failure):
            worker.finish(lease, "second")
        events = client.watch_to_end(job)
        assert events[-1]["content"] == "first" and [e["kind"] for e in events].count("end") == 1


def test_over_its_limits_the_queue_says_busy_before_storing(make_service):
    service = make_service(workers=0, config={"tenant_jobs_max": 5})
    with service.client("full") as full, service.client("other") as other:
        jobs = submit_many(full, 5)
        refused = wire.make_id()
        with pytest.raises(wire.Failure) as failure:
            full.submit(FLOW, "x", job=refused)
        assert failure.value.code == "busy" and failure.value.retryable and failure.value.retry_after_ms > 0
        with pytest.raises(wire.Failure) as failure:
            full.job(refused)
        assert failure.value.code == "not_found"
        other.submit(FLOW, "x")
        full.cancel(jobs[0])
        full.watch_to_end(jobs[0])
        full.submit(FLOW, "x", job=refused)
