"""Budgets in storage: what is reserved with a call_started, settled with its reply, released, waited for and woken."""

import sqlite3
import time

import autobots_wire as wire
import pytest
import storehouse
from storehouse import append_request, attempt_failed, ended, reply, turn


class Job:
    """A job that was started; its events are appended one after the other."""

    def __init__(self, store, user="ann", **more):
        self.store = store
        self.id, self.accepted = store.submit(user, **more)
        self.n, self.seq = self.accepted["n"], 1
        self.token = store.begin(self.n)

    def add(self, *events, **more):
        answer = self.store.broker.one("append", **append_request(self.n, self.seq + 1, self.token, list(events), **more))
        self.seq = answer["seq"]
        return answer

    def call(self, tokens, step="s:1", **more):
        return self.add({"kind": "call_started", "step": step, "agent": "a", "tokens": tokens, "at_ms": 1, **more})

    def reply(self, tokens, step="s:1", **more):
        return self.add({**reply("x", step), "prompt_tokens": tokens, **more})

    def park(self, tokens, **more):
        waiting = {"kind": "waiting", "reason": "budget", "budget": "full", "tokens": tokens, "at_ms": 1, **more}
        return self.add(waiting, wait="budget")

    def end(self):
        return self.add(ended(content="x"), end="succeeded")


def row(store, user="ann", **which):
    rows = store.client(user).ask("list_budgets", **which)["budgets"]
    assert len(rows) == 1, rows
    return rows[0]


def amounts(store, **which):
    one = row(store, **which)
    return one["settled"], one["reserved"]


def refused(call, *args, **more):
    with pytest.raises(wire.Failure) as failure:
        call(*args, **more)
    return failure.value


def limit(store, limits, user="ann", **more):
    store.client(user).ask("set_budget", limits=limits, **more)


def test_reserved_settled_released(store):
    limit(store, "tokens=100")
    job = Job(store)
    assert job.call(60)["budget"] == 5 and amounts(store) == (0, 60)
    why = refused(job.call, 41, step="s:2")
    assert why.code == "budget" and why.path == "later" and "user ann: 100 tokens" in str(why) and "41" in str(why)
    assert job.call(40, step="s:2") and amounts(store) == (0, 100)
    job.reply(10)
    assert amounts(store) == (10, 40)
    job.reply(45, step="s:2")  # more than was reserved
    one = row(store)
    assert (one["settled"], one["reserved"], one["overshoot"], one["overshoots"]) == (55, 0, 5, 1)
    assert refused(job.call, 46, step="s:3").path == ""  # no settlement will make room
    job.call(45, step="s:3")
    job.end()
    assert amounts(store) == (55, 0)
    print(store.check())


def test_a_step_called_again_replaces_what_it_had_reserved(store):
    limit(store, "tokens=100")
    job = Job(store)
    job.call(80)
    again = append_request(job.n, job.seq, job.token, [{"kind": "call_started", "step": "s:1", "agent": "a",
                                                        "tokens": 80, "at_ms": 1}])
    assert store.broker.one("append", **again)["seq"] == job.seq  # the same append, sent twice
    job.call(90)  # the same step, after a crash
    assert amounts(store) == (0, 90)
    store.kill()
    store.start()
    job.token = store.broker.token()
    assert amounts(store) == (0, 90)
    job.call(70)
    job.reply(70)
    assert amounts(store) == (70, 0)


@pytest.mark.parametrize("event, more", [(attempt_failed(1), {"retry": True}), ({"kind": "paused", "at_ms": 1}, {}),
                                         (ended("failed", code="model", text="x"), {"end": "failed"}),
                                         (storehouse.waiting(), {"wait": "person"})])
def test_what_ends_an_attempt_releases(store, event, more):
    limit(store, "tokens=100,turns=3")
    job = Job(store)
    job.call(80, turn=True)
    job.call(20, step="s:2")
    job.add(event, **more)
    assert {r["unit"]: (r["settled"], r["reserved"]) for r in store.client().ask("list_budgets")["budgets"]} == {
        "tokens": (0, 0), "turns": (0, 0)}


def test_every_unit_is_charged(store):
    limit(store, "tokens=1000,usd=1,calls=9,turns=9,seconds=9")
    job = Job(store)
    job.call(100, cost_pico_usd=500, turn=True)
    job.add(turn("go on"))
    job.reply(30, completion_tokens=12, cost_pico_usd=77, latency_ms=1234)
    job.call(100, "s:2", cost_pico_usd=500)
    job.reply(5, "s:2", cost_pico_usd=0, cached=True, latency_ms=1)
    job.call(100, "s:3", cost_pico_usd=500)
    job.reply(5, "s:3", purpose="speaker")  # nobody can tell what it cost: as much as was reserved
    spent = {r["unit"]: r["settled"] for r in store.client().ask("list_budgets")["budgets"]}
    assert spent == {"tokens": 47, "usd": 577, "calls": 2, "turns": 3, "seconds": 1234}
    assert {r["reserved"] for r in store.client().ask("list_budgets")["budgets"]} == {0}


def test_the_tightest_of_all_limits_counts(store):
    session = Job(store).accepted["session"]
    limit(store, "tokens=1000")
    limit(store, "tokens=500", session=session)
    job = Job(store, session=session, budget="tokens=200,calls=1")
    assert "the job: 200 tokens" in str(refused(job.call, 300))
    store.broker.one("inbox", job=job.id, user="ann", id=wire.make_id(), kind="budget", text="tokens=none")
    assert f"session {session}: 500 tokens" in str(refused(job.call, 600))
    limit(store, "tokens=none", session=session)
    assert "user ann: 1000 tokens" in str(refused(job.call, 1001))
    job.call(1000)
    job.reply(400)
    assert "the job: 1 calls" in str(refused(job.call, 1, step="s:2"))
    assert store.client("eve").ask("list_budgets")["budgets"] == []
    assert refused(store.client("eve").ask, "list_budgets", job=wire.id_text(job.id)).code == "not_found"


def test_seconds_that_are_left_may_be_begun(store):
    limit(store, "seconds=1")
    job = Job(store)
    for i in range(3):
        job.call(1, f"s:{i}")
    job.reply(1, "s:0", latency_ms=999)
    job.call(1, "s:9")
    job.reply(1, "s:1", latency_ms=5000)
    assert "spent 5.999 seconds" in str(refused(job.call, 1, step="s:10"))


def test_parked_jobs_wake_in_order_as_room_becomes_free(store):
    limit(store, "tokens=100")
    busy, *others = [Job(store) for _ in range(4)]
    busy.call(90)
    for job, tokens in zip(others, (60, 50, 30)):
        assert refused(job.call, tokens).code == "budget"
        job.park(tokens)
    assert row(store)["waiting"] == 3
    states = lambda: {j["n"]: (j["state"], j.get("why"), j.get("budget")) for j in store.broker.query("open_jobs")["jobs"]}
    assert states()[others[0].n] == ("budget", "full", 5)
    busy.reply(0)  # room for 100: the first and the third fit beside each other
    woken = {store.broker.wait_for(lambda m: m.name == "NOTICE")["job"] for _ in range(2)}
    assert woken == {others[0].id, others[2].id}
    assert [states()[job.n][0] for job in others] == ["ready", "budget", "ready"]
    missed = store.broker.query("open_jobs", {"cancelled": True})["jobs"]
    assert {j["job"] for j in missed} == woken  # told again to a broker that was not there
    assert row(store)["waiting"] == 1
    limit(store, "tokens=none")
    assert store.broker.wait_for(lambda m: m.name == "NOTICE")["job"] == others[1].id
    print(store.check())


@pytest.mark.parametrize("before", [True, False])
def test_a_job_that_was_paused_does_not_keep_others_waiting(store, before):
    limit(store, "tokens=100")
    busy, first, second = [Job(store) for _ in range(3)]
    pause = lambda: store.broker.one("inbox", job=first.id, user="ann", id=wire.make_id(), kind="pause")
    busy.call(100)
    first.park(60)
    second.park(60)
    if before:
        pause()
    busy.reply(40)  # room for one of them
    if not before:
        assert store.broker.wait_for(lambda m: m.name == "NOTICE")["job"] == first.id
        pause()
    states = {j["n"]: j["state"] for j in store.broker.query("open_jobs")["jobs"]}
    assert (states[first.n], states[second.n]) == ("ready", "ready")
    second.token = store.broker.token()
    second.add(storehouse.started(2))
    assert second.call(60)


def test_a_job_does_not_park_while_there_is_room(store):
    limit(store, "tokens=100")
    job = Job(store)
    assert refused(job.park, 100).code == "conflict"
    job.park(101)
    before = row(store)["waiting"]
    store.broker.one("inbox", job=job.id, user="ann", id=wire.make_id(), kind="cancel")
    assert (before, row(store).get("waiting", 0)) == (1, 0)


def test_a_job_does_not_wait_for_a_call_that_died_with_its_worker(store):
    limit(store, "tokens=100")
    job = Job(store)
    job.call(40, step="a:1")
    job.call(40, step="b:1")
    job.reply(40, step="a:1")
    assert amounts(store) == (40, 40)
    job.token = store.broker.token()
    job.add(storehouse.started(2))  # the worker of b:1 is gone
    assert refused(job.call, 40, step="a:2").path == "later"
    answer = job.park(40)
    assert amounts(store) == (40, 0)
    assert abs(answer["wake_at_ms"] - time.time() * 1000) < 60_000  # now: nobody else will wake it
    job.token = store.broker.token()
    job.add(storehouse.started(3))
    assert job.call(40, step="a:2") and job.call(20, step="b:1")


def test_a_reply_that_calls_tools_is_no_turn(store):
    limit(store, "turns=1")
    job = Job(store)
    job.call(0, turn=True)
    job.add({**reply("", "s:1"), "tool_calls": [{"id": "1", "name": "add", "arguments": "{}"}]})
    assert amounts(store) == (0, 0)
    job.call(0, step="s:1:1", turn=True)
    job.reply(0, step="s:1:1")
    assert amounts(store) == (1, 0)


def test_a_job_s_own_limits_go_through_its_inbox(store):
    job = Job(store, budget="tokens=10")
    job.park(11)
    request = {"job": job.id, "user": "ann", "id": wire.make_id(), "kind": "budget", "text": "tokens=20"}
    first = store.broker.one("inbox", **request)
    assert store.broker.one("inbox", **request) == {key: value for key, value in first.items() if key != "created"}
    assert store.broker.query("open_jobs")["jobs"][0]["state"] == "ready"
    assert row(store, job=wire.id_text(job.id))["limit"] == 20
    bad = refused(store.broker.one, "inbox", **{**request, "id": wire.make_id(), "text": "tokens=many"})
    assert bad.code == "invalid" and "tokens=many" in str(bad)


def test_limits_of_a_workflow(store):
    text = wire.workflow_text({**storehouse.FLOW, "budget": {"usd": 0.1, "tokens": 50}})
    job = Job(store, workflow=text, hash=wire.workflow_hash(text), budget="tokens=70")
    limits = {r["unit"]: r["limit"] for r in store.client().ask("list_budgets", job=wire.id_text(job.id))["budgets"]}
    assert limits == {"tokens": 70, "usd": 10**11}
    assert refused(job.call, 1).code == "budget"  # without a price
    job.call(1, cost_pico_usd=10**11)


def test_no_question_about_budgets_reads_a_whole_table(store):
    limit(store, "tokens=100")
    [(*_, plan)] = store.rows("EXPLAIN QUERY PLAN SELECT 1 FROM workflows WHERE budget IS NOT NULL")
    assert "workflows_with_budget" in plan, plan


def test_a_period_begins_anew(store):
    limit(store, "tokens=100", period="day")
    job = Job(store)
    job.call(100)
    job.reply(100)
    assert refused(job.call, 1, step="s:2").path == ""
    tomorrow = (time.time() // 86400 + 1) * 86400 * 1000
    assert job.park(1)["wake_at_ms"] == tomorrow
    assert store.broker.query("open_jobs")["jobs"][0]["wake_at_ms"] == tomorrow
    store.process.terminate()
    store.drop_peers()
    with sqlite3.connect(store.dir / "database.sqlite") as db:  # as if it had been spent yesterday
        db.execute("UPDATE budgets SET start_ms=start_ms-86400000")
    store.start()
    assert amounts(store) == (0, 0)
    job.token = store.broker.token()
    job.add({"kind": "started", "attempt": 2, "worker": "w", "at_ms": 1})
    job.call(100, "s:2")
    job.reply(40, "s:2")
    assert amounts(store) == (40, 0) and row(store).get("waiting", 0) == 0


@pytest.mark.parametrize("request_, path", [
    ({"limits": "tokens=x"}, "budget"), ({"limits": ""}, "budget"), ({"limits": "tokens=1", "period": "year"}, "period"),
    ({"limits": "tokens=1", "session": "nowhere"}, "session")])
def test_faulty_limits_change_nothing(store, request_, path):
    failure = refused(store.client().ask, "set_budget", **request_)
    assert failure.path == path and store.client().ask("list_budgets")["budgets"] == []


def test_a_call_started_is_alone(store):
    job = Job(store)
    event = {"kind": "call_started", "step": "s:1", "agent": "a", "tokens": 1, "at_ms": 1}
    assert refused(job.add, event, turn("x")).code == "invalid"
    assert refused(job.add, {**event, "tokens": -1}).code == "invalid"
    assert "budget" not in job.add(event)  # nothing is limited: nothing is kept
    assert store.rows("SELECT count(*) FROM holds") == [(0,)]


def test_what_is_gone_leaves_nothing(store):
    job = Job(store)
    session = job.accepted["session"]
    limit(store, "tokens=10", session=session)
    job.call(5)
    store.client().ask("delete_user_sessions", session=session)
    assert store.rows("SELECT count(*) FROM budgets") == store.rows("SELECT count(*) FROM holds") == [(0,)]
