"""Jobs parked for a budget: who is woken by which room, however many wait, and that no crash loses a wake-up."""

import autobots_wire as wire
import pytest
import storehouse
from storehouse import append_request, started, submit_request
from test_budget_rules import Job, limit, refused, row


def waiters(store):
    return store.rows("SELECT n FROM budget_waiters ORDER BY n")


def states(store):
    """Of all: a listing would give a page of them."""
    return {n: "budget" if state == 4 else "ready" for n, state in store.rows("SELECT n,state FROM open_jobs")}


def batch(store, operations):
    answers = store.broker.batch(operations)
    assert {code for code, _ in answers} == {"ok"}, answers
    return [answer for _, answer in answers]


def park_many(store, needs):
    """One job for each; returns their commit numbers. Batches, as it is about many."""
    ns = [answer["n"] for answer in batch(store, [("submit", submit_request()) for _ in needs])]
    tokens = [store.broker.token() for _ in ns]
    batch(store, [("append", append_request(n, 1, token, [started(1)])) for n, token in zip(ns, tokens)])
    event = {"kind": "waiting", "reason": "budget", "budget": "full", "at_ms": 1}
    batch(store, [("append", append_request(n, 2, token, [{**event, "tokens": need}], wait="budget"))
                  for n, token, need in zip(ns, tokens, needs)])
    return ns


def test_those_who_can_never_fit_hide_nobody(store):
    limit(store, "tokens=100")
    busy = Job(store)
    busy.call(100)
    large = park_many(store, [1000] * 300)
    small = park_many(store, [60, 50, 40, 30])
    busy.reply(0)  # room for 100, all of it behind 300 that need more
    assert {n for n, state in states(store).items() if state == "ready"} == {busy.n, small[2], small[3]}
    limit(store, "tokens=1000")
    assert states(store)[large[0]] == "ready" and len(waiters(store)) == 301
    limit(store, "tokens=none")
    assert waiters(store) == [] and set(states(store).values()) == {"ready"}


def test_the_oldest_goes_first_among_many(store):
    limit(store, "tokens=100")
    busy = Job(store)
    busy.call(100)
    ns = park_many(store, [40, 101] * 100 + [30, 20])
    busy.reply(0)
    assert {n for n, state in states(store).items() if state == "ready"} == {busy.n, ns[0], ns[2], ns[-1]}


@pytest.mark.parametrize("limits, more", [("calls=1", {}), ("turns=1", {"turn": True}), ("usd=0.5", {"cost_pico_usd": 5 * 10**11}),
                                          ("seconds=1", {})])
def test_every_unit_is_waited_for(store, limits, more):
    limit(store, limits)
    busy, *others = [Job(store) for _ in range(3)]
    busy.call(1, **more)
    busy.reply(1, cost_pico_usd=5 * 10**11, latency_ms=1000)
    for job in others:
        assert refused(job.call, 1, **more).code == "budget"
        job.park(1, **more)
    unit, amount = limits.split("=")
    limit(store, f"{unit}={2 * float(amount):g}")
    woken = 2 if unit == "seconds" else 1  # what a call will take of those is not known before
    assert list(states(store).values()).count("budget") == 2 - woken and len(waiters(store)) == 2 - woken


def test_a_limit_that_is_taken_away_wakes_all_whatever_they_need(store):
    limit(store, "tokens=100")
    huge, huge_too, small = [Job(store) for _ in range(3)]
    huge.park((1 << 63) - 1)
    huge_too.park((1 << 63) - 1)
    small.park(101)
    limit(store, "tokens=101")
    assert [states(store)[job.n] for job in (huge, huge_too, small)] == ["budget", "budget", "ready"]
    limit(store, "tokens=none")
    assert waiters(store) == [] and set(states(store).values()) == {"ready"}


@pytest.mark.parametrize("point, before", [("storage.operation", 50), ("storage.after_commit", 0)])
def test_a_raise_that_is_cut_off_wakes_all_or_none(store, point, before):
    limit(store, "tokens=100")
    ns = park_many(store, [101] * 50)
    store.process.terminate()
    store.drop_peers()
    store.start(env={"AUTOBOTS_FAILPOINT": f"{point}:kill:1"})
    with pytest.raises(wire.NoAnswer):
        store.client().ask("set_budget", timeout=1, limits="tokens=100000")
    store.wait_dead()
    store.start()
    assert len(waiters(store)) == before
    limit(store, "tokens=100000")
    assert waiters(store) == [] and set(states(store).values()) == {"ready"}
    assert len(store.broker.query("open_jobs", {"cancelled": True})["jobs"]) == len(ns)  # told to a broker that was away


class Parked(Job):
    """Tries its call; parks if there is no room."""

    def __init__(self, store, need):
        super().__init__(store)
        self.need, self.attempt, self.calling = need, 1, False
        self.go_on()

    def go_on(self):
        try:
            self.call(self.need)
            self.calling = True
        except wire.Failure as failure:
            assert failure.code == "budget"
            self.park(self.need)

    def wake(self):
        self.token, self.attempt = self.store.broker.token(), self.attempt + 1
        self.add(started(self.attempt))
        self.go_on()

    def finish(self):
        self.reply(0)
        self.end()


def check_nobody_waits_beside_room(store, jobs, cap):
    """Once whoever was woken has made its call or parked again."""
    while True:
        state = states(store)
        woken = [job for job in jobs if state.get(job.n) == "ready" and not job.calling]
        if not woken:
            break
        for job in woken:
            job.wake()
    free = cap - sum(job.need for job in jobs if job.calling)
    [(least,)] = store.rows("SELECT min(need) FROM budget_waiters")
    assert free >= 0 and (least is None or least > free), (least, free)
    assert row(store).get("waiting", 0) == sum(not job.calling for job in jobs)


def test_nobody_waits_beside_room(store, rng):
    cap, jobs = 100, []
    limit(store, f"tokens={cap}")
    for step in range(60):
        calling = [job for job in jobs if job.calling]
        what = rng.choice(["come", "come", "end", "end", "raise", "lower", "kill", "cancel"])
        if what == "come":
            jobs.append(Parked(store, rng.randint(1, 80)))
        elif what in ("raise", "lower") and (what == "raise" or cap - 20 >= sum(job.need for job in calling)):
            cap += 20 if what == "raise" else -20
            limit(store, f"tokens={cap}")
        elif what == "kill":
            store.kill()
            store.start()
            for job in jobs:
                job.token = store.broker.token()
        elif what == "end" and calling:
            job = rng.choice(calling)
            job.finish()
            jobs.remove(job)
        elif what == "cancel" and len(calling) < len(jobs):
            job = rng.choice([job for job in jobs if not job.calling])
            store.broker.one("inbox", job=job.id, user="ann", id=wire.make_id(), kind="cancel")
            job.token = store.broker.token()
            job.add(storehouse.ended("cancelled", text="x"), end="cancelled")
            jobs.remove(job)
        check_nobody_waits_beside_room(store, jobs, cap)
    limit(store, "tokens=none")
    assert waiters(store) == []


def test_looking_for_someone_to_wake_reads_an_index_only(store):
    store.client()
    for query, index in [("need FROM budget_waiters WHERE budget=1 ORDER BY need LIMIT 1", "by_need"),
                         ("n,need FROM budget_waiters WHERE budget=1 ORDER BY n", "by_age"),
                         ("n,need FROM budget_waiters WHERE budget=1 ORDER BY need,n", "by_need")]:
        plan = store.rows(f"EXPLAIN QUERY PLAN SELECT {query}")
        assert len(plan) == 1 and f"USING COVERING INDEX budget_waiters_{index}" in plan[0][3], plan
