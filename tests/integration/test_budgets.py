"""Budgets through the whole system: never exceeded when calls are reserved, jobs that find no room wait and go on."""

import collections
import json
import re

import cli
import flows
import pytest
import service
from budgets import check_journal


@pytest.fixture
def bots(shared, user):
    def run(*args, home=None, **more):
        more.setdefault("env", {}).setdefault("AUTOBOTS_USER", user)
        return cli.run(*args, home=home or shared.dir, **more)

    yield run
    shared.assert_alive()


@pytest.fixture
def flow(tmp_path):
    def write(workflow):
        path = tmp_path / "flow.json"
        path.write_text(json.dumps(workflow))
        return path

    return write


def script(texts=("fine",), tokens=None, model="script", **more):
    """Replies of the offline model that report the tokens they took."""
    usage = {"usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}} if tokens else {}
    entry = flows.script(list(texts), **more)
    entry["script"]["replies"] = [{"text": text, **usage} for text in texts]
    return {**entry, "model": model}


def chat(entry, max_tokens=None, **more):
    made = flows.chat(entry, **more)
    if max_tokens:
        made["agents"][1]["agent"]["config"]["llm_config"]["max_tokens"] = max_tokens
    return made


def rows(bots, *args, **more):
    return bots("budget", *args, "--json", **more).lines()


def events_of(bots, job, **more):
    return bots("export", job, "--json", **more).json()["events"]


def kinds(events):
    return [e["kind"] for e in events]


def test_a_job_without_a_budget_pays_nothing(bots, flow):
    assert bots("submit", "-w", flow(chat(script())), "hi").code == 0
    events = events_of(bots, "last")
    assert "call_started" not in kinds(events) and rows(bots) == []


def test_a_job_of_its_own_budget_reserves_and_settles(bots, flow):
    made = flow(chat(script(["one", "two"], tokens=(70, 30)), max_tokens=50, replies=1))
    done = bots("submit", "-w", made, "--budget", "tokens=10000,calls=5,turns=9,seconds=60", "hi")
    assert done.code == 0, done
    events = events_of(bots, "last")
    started = [e for e in events if e["kind"] == "call_started"]
    assert [e["step"] for e in started] == [e["step"] for e in events if e["kind"] == "model_reply"]
    assert all(e["max_tokens"] == 50 and e["tokens"] > 50 for e in started)
    spent = {row["unit"]: row for row in rows(bots, "--job", "last")}
    assert (spent["tokens"]["limit"], spent["tokens"]["settled"], spent["tokens"]["reserved"]) == (10000, 200, 0)
    assert spent["calls"]["settled"] == 2 and spent["turns"]["settled"] == 3
    assert spent["seconds"]["limit"] == 60000 and spent["seconds"]["settled"] < 60000


def test_a_job_at_its_limit_waits_and_goes_on_when_it_is_raised(bots, flow, shared):
    made = flow(chat(script(["one", "two", "three"]), replies=2))
    job = bots("submit", "-w", made, "--detach", "--budget", "calls=1", "hi").out.strip()
    service.wait_until(lambda: bots("show", job, "--json").json()["state"] == "waiting", what="the wait")
    shown = bots("show", job, "--json").json()
    assert shown["why"].startswith("budget: the job: 1 calls; spent 1 calls"), shown
    assert [j["id"] for j in bots("jobs", "--state", "waiting", "--json").lines()] == [job]
    assert not [w for w in bots("status", "--json").json()["broker"]["workers"] if w["running"]]
    assert "waits for room in a budget: the job: 1 calls" in bots("jobs").out
    raised = bots("budget", "raise", "calls=1", "--job", job)
    assert raised.code == 0 and re.search(r"calls +2 ", raised.out), raised
    service.wait_until(lambda: rows(bots, "--job", job)[0]["settled"] == 2, what="the second call")
    service.wait_until(lambda: bots("show", job, "--json").json()["state"] == "waiting", what="the second wait")
    assert bots("budget", "rm", "calls", "--job", job).code == 0
    assert bots("watch", job).code == 0
    events = events_of(bots, job)
    assert kinds(events).count("waiting") == 2 and kinds(events).count("model_reply") == 3
    assert [e["budget"] for e in events if e["kind"] == "waiting"][0].startswith("the job: 1 calls")
    assert rows(bots, "--job", job) == []


def test_fifty_jobs_of_one_user_never_exceed_their_limit(shared, bots, user, flow):
    """Room for a few at a time: the others wait and go on as it becomes free, until all have been served."""
    jobs, took, bound = 50, 100, 600
    limit = jobs * took + 3 * bound
    assert bots("budget", "set", f"tokens={limit}").code == 0
    with shared.client(user) as client:
        flows_ = chat(script(tokens=(60, 40), delay_ms=20), max_tokens=500)
        ids = [client.submit(flows_, f"job {i}").id for i in range(jobs)]
        ends = [client.watch_to_end(job)[-1] for job in ids]
    assert [e["state"] for e in ends] == ["succeeded"] * jobs
    settled, most = check_journal(shared.dir, user, limit)
    [row] = rows(bots)
    assert settled == row["settled"] == jobs * took and row["reserved"] == 0 and row.get("waiting", 0) == 0
    assert most > limit // 2


def test_more_is_waited_for_than_there_is_and_raising_wakes_all(shared, bots, user):
    limit = 1000
    assert bots("budget", "set", f"tokens={limit}").code == 0
    with shared.client(user) as client:
        workflow = chat(script(tokens=(60, 40)), max_tokens=500)
        ids = [client.submit(workflow, f"job {i}").id for i in range(20)]
        states = lambda: bots("jobs", "--json", "-n", "50").lines()
        service.wait_until(lambda: collections.Counter(j["state"] for j in states()) == {"succeeded": 5, "waiting": 15},
                           what="five served, the others parked")
        settled, _ = check_journal(shared.dir, user, limit)
        assert settled <= limit
        assert rows(bots)[0]["waiting"] == len([j for j in states() if j["state"] == "waiting"])
        assert bots("budget", "raise", "tokens=100000").code == 0
        assert all(client.watch_to_end(job)[-1]["state"] == "succeeded" for job in ids)


def test_what_replies_take_above_their_reservation_is_recorded(bots, flow, user):
    assert bots("budget", "set", "tokens=5000").code == 0
    assert bots("submit", "-w", flow(chat(script(tokens=(9000, 1000)), max_tokens=100)), "hi").code == 0
    [row] = rows(bots)
    started = [e for e in events_of(bots, "last") if e["kind"] == "call_started"][0]
    assert (row["settled"], row["overshoot"], row["overshoots"]) == (10000, 10000 - started["tokens"], 1)
    assert "over what was reserved" in bots("budget").out
    job = bots("submit", "-w", flow(chat(script(tokens=(1, 1)))), "--detach", "hi").out.strip()
    service.wait_until(lambda: bots("show", job, "--json").json()["state"] == "waiting", what="the wait")
    assert bots("cancel", job).code == 0
    service.wait_until(lambda: bots("show", job, "--json").json()["state"] == "cancelled", what="the end")


def test_a_budget_of_money_needs_a_price(bots, flow, user):
    made = flow(chat(script(tokens=(100, 100), model=f"model-{user}"), max_tokens=1000))
    assert bots("budget", "set", "usd=0.01").code == 0
    refused = bots("submit", "-w", made, "hi")
    assert refused.code == 1 and f"autobots prices set 'model-{user}'" in refused.out, refused
    assert bots("prices", "set", f"model-{user}", "--input", "1", "--output", "2").code == 0

    def served():
        done = bots("submit", "-w", made, "hi")
        return done.code == 0

    service.wait_until(served, 10, "the price")
    [row] = rows(bots)
    assert row["unit"] == "usd" and row["settled"] == 100 * 1_000_000 + 100 * 2_000_000 and row["limit"] == 10**10
    assert re.search(r"usd +\S+ +0\.0003 ", bots("budget").out)


def test_a_call_without_a_bound_is_given_one_that_fits(bots, flow):
    done = bots("submit", "-w", flow(chat(script(["a", "b", "c"], tokens=(200, 200)), replies=2)),
                "--budget", "tokens=6000", "hi")
    assert done.code == 0, done
    assert [e["max_tokens"] for e in events_of(bots, "last") if e["kind"] == "call_started"] == [4096, 4096, 4096]
    done = bots("submit", "-w", flow(chat(script(["a", "b"], tokens=(700, 700)), replies=1)),
                "--budget", "tokens=2400", "hi")
    assert done.code == 0, done
    assert [e["max_tokens"] for e in events_of(bots, "last") if e["kind"] == "call_started"] == [1024, 256]


def test_limits_in_a_workflow_and_of_a_session(bots, flow, shared, user):
    workflow = {**chat(script(["one", "two"]), replies=1), "budget": {"calls": 1, "usd": 0.5}}
    job = bots("submit", "-w", flow(workflow), "--detach", "--budget", "usd=none,calls=2", "hi").out.strip()
    assert bots("watch", job).code == 0
    assert {(row["unit"], row["limit"]) for row in rows(bots, "--job", job)} == {("calls", 2)}
    session = bots("show", job, "--json").json()["session"]
    assert bots("budget", "set", "calls=1", "-s", session).code == 0
    plain = flow(chat(script(["x"])))
    assert bots("submit", "-w", plain, "-s", session, "hi").code == 0
    job = bots("submit", "-w", plain, "-s", session, "--detach", "hi").out.strip()
    service.wait_until(lambda: bots("show", job, "--json").json()["state"] == "waiting", what="the wait")
    assert f"budget: session {session}" in bots("show", job).out
    assert bots("budget", "set", "calls=2", "-s", session).code == 0
    assert bots("watch", job).code == 0
    assert [row["settled"] for row in rows(bots, "show", "-s", session)] == [2]
    for words, what in ((["budget", "set", "euro=1"], "euro=1"), (["budget", "set", "tokens=1.5"], "tokens=1.5"),
                        (["budget", "raise", "turns=1"], "no such limit"), (["budget", "rm", "all"], "all"),
                        (["submit", "--budget", "tokens=", "-w", str(plain), "hi"], "tokens=")):
        wrong = bots(*words)
        assert wrong.code in (1, 2) and what in wrong.err, wrong


def test_a_fork_is_charged_for_what_it_adds(bots, flow):
    made = flow(chat(script(["one", "two"], tokens=(60, 40)), replies=1))
    assert bots("budget", "set", "tokens=100000,calls=9", "--per", "day").code == 0
    assert bots("submit", "-w", made, "hi").code == 0
    first = bots("show", "last", "--json").json()["id"]
    at = [e["seq"] for e in events_of(bots, first) if e["kind"] == "model_reply"][0]
    assert bots("fork", first, "--at", at).code == 0
    spent = {row["unit"]: (row["settled"], row["reserved"], row["period"]) for row in rows(bots)}
    assert spent == {"tokens": (300, 0, "day"), "calls": (3, 0, "day")}
    copied = kinds(events_of(bots, "last"))
    assert copied.count("call_started") == 1 and copied.index("forked") < copied.index("call_started")


def test_parallel_calls_of_one_job_share_its_budget(bots, flow):
    agents = [flows.agent(f"a{i}", "assistant", "receiver", max_consecutive_auto_reply=1,
                          llm_config={"config_list": [script(tokens=(40, 60), delay_ms=30)], "max_tokens": 400})
              for i in range(5)]
    workflow = {"name": "many", "type": "autonomous", "agents": [
        flows.agent("user", "userproxy", "sender", llm_config=False, max_consecutive_auto_reply=0), *agents]}
    done = bots("submit", "-w", flow(workflow), "--budget", "tokens=1400", "hi")
    assert done.code == 0, done
    assert rows(bots, "--job", "last")[0]["settled"] == 500
    held, settled = {}, 0
    for event in events_of(bots, "last"):
        if event["kind"] == "call_started":
            held[event["step"]] = event["tokens"]
        elif event["kind"] == "model_reply":
            settled += held.pop(event["step"]) and 100
        elif event["kind"] == "waiting":
            held = {}
        assert settled + sum(held.values()) <= 1400


def test_parked_jobs_outlast_everything(make_service, tmp_path):
    one = make_service()
    run = lambda *args: cli.run(*args, home=one.dir, env={"AUTOBOTS_USER": "ann"})
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(chat(script(["one", "two"]), replies=1)))
    assert run("budget", "set", "calls=1").code == 0
    job = run("submit", "-w", path, "--detach", "hi").out.strip()
    service.wait_until(lambda: run("show", job, "--json").json()["state"] == "waiting", what="the wait")
    for name in ("worker1", "broker", "storage"):
        one.kill(name)
    for name in ("storage", "broker", "worker1"):
        one.start(name)
    why = lambda: run("show", job, "--json").json().get("why", "")
    service.wait_until(lambda: why().startswith("budget: user ann: 1 calls"), what="the reason")
    assert run("budget", "raise", "calls=5").code == 0
    assert run("watch", job).code == 0
    assert run("budget", "--json").lines()[0]["settled"] == 2


def test_a_worker_killed_between_reservation_and_reply(make_service, model):
    """The step is reserved again in place of what it was: nothing doubled, nothing left over."""
    model.behave(stall="headers")
    one = make_service()
    with one.client("ann") as client:
        run = lambda *args: cli.run(*args, home=one.dir, env={"AUTOBOTS_USER": "ann"})
        assert run("budget", "set", "tokens=100000,calls=10").code == 0
        workflow = flows.http_chat(model)
        workflow["agents"][1]["agent"]["config"]["llm_config"]["max_tokens"] = 300
        job = client.submit(workflow, "hi").id
        service.wait_until(lambda: model.calls(), what="the call")
        reserved = {r["unit"]: r["reserved"] for r in run("budget", "--json").lines()}
        assert reserved["calls"] == 1 and reserved["tokens"] > 300
        one.kill("worker1")
        model.behave(text="fine", usage={"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30})
        one.start("worker1")
        events = client.watch_to_end(job)
    assert [e["kind"] for e in events].count("call_started") == 2
    spent = {r["unit"]: (r["settled"], r["reserved"]) for r in run("budget", "--json").lines()}
    assert spent == {"tokens": (30, 0), "calls": (1, 0)}
