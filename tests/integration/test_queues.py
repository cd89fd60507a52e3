"""Queues that people halt: paused, drained, let go on; over HTTP, in the program, and after restarts."""

import time

import cli
import flows
import pytest
from http_client import Gateway
from service import wait_until


@pytest.fixture
def service(make_service):
    return make_service(workers=1)


@pytest.fixture
def gateway(service):
    return Gateway(service)


def bots(service, *args):
    return cli.run(*args, home=service.dir, env={"AUTOBOTS_USER": "root"})


def submit(gateway, user="ann", **more):
    return gateway.post("/api/jobs", {"workflow": flows.script_chat(["fine"]), "text": "x", **more}, user=user)


def state(gateway, answer, user="ann"):
    return gateway.get(f"/api/jobs/{answer.body['job']}", user=user).body["job"]["state"]


def queue(gateway, of=None, path="/api/queues", user="ann"):
    rows = gateway.get(path, user=user).body["queues"]
    found = [row for row in rows if row["pool"] == "default" and row.get("of") == of]
    assert len(found) == 1, rows
    return found[0]


def test_a_paused_queue_takes_jobs_and_starts_none_until_it_goes_on(service, gateway):
    done = gateway.post("/api/queues/default/pause", {"reason": "new prices"}, user="root")
    assert (done.status, done.body) == (200, {"pool": "default", "state": "paused"})
    jobs = [submit(gateway) for _ in range(3)]
    assert all(one.status == 202 for one in jobs)
    why = gateway.get(f"/api/jobs/{jobs[0].body['job']}/status", user="ann").body
    assert (why["state"], why["why"]) == ("ready", "queue: that of pool default is paused: new prices")
    assert "paused: new prices" in bots(service, "show", jobs[0].body["job"], "-u", "ann").out
    assert "halted    pool default paused by root: new prices" in bots(service, "status").out
    row = queue(gateway)
    assert (row["state"], row["by"], row["open"], row["ready"], row["running"], row["workers"]) == ("paused", "root", 3, 3, 0, 1)
    wait_until(lambda: queue(gateway)["oldest_ready_ms"] >= 50, what="age")
    metrics = gateway.get("/metrics").text
    assert 'autobots_pool_halted{pool="default",state="paused"} 1' in metrics
    assert 'autobots_pool_queue_jobs{pool="default"} 3' in metrics
    service.kill("broker")
    service.start("broker")
    wait_until(lambda: 'autobots_pool_workers{pool="default"} 1' in gateway.get("/metrics").text, what="the broker and its worker")
    assert queue(gateway)["state"] == "paused" and [state(gateway, one) for one in jobs] == ["ready"] * 3
    assert bots(service, "queues", "resume", "default").code == 0
    wait_until(lambda: [state(gateway, one) for one in jobs] == ["succeeded"] * 3, what="the jobs")
    assert queue(gateway)["state"] == "running"


def test_a_draining_queue_refuses_new_jobs_and_says_when_to_come_again(service, gateway):
    asking = flows.chat(flows.script(["a", "b"]), user={"human_input_mode": "ALWAYS"}, replies=5)
    asked = gateway.post("/api/jobs", {"workflow": asking, "text": "x", "wait_ms": 20000}, user="ann").body
    key = {"Idempotency-Key": "known"}
    body = {"workflow": flows.script_chat(["fine"]), "text": "x"}
    known = gateway.post("/api/jobs", body, user="ann", headers=key)
    assert gateway.post("/api/queues/*/drain", {"of": "ann", "reason": "moving"}, user="root").status == 200
    began = time.monotonic()
    refused = submit(gateway)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "60") and time.monotonic() - began < 5
    error = refused.body["error"]
    assert error["code"] == "unavailable" and error["retryable"] and "being drained for this user: moving" in error["message"]
    fork = gateway.post(f"/api/jobs/{known.body['job']}/fork", {}, user="ann")
    assert fork.status == 503, "a fork is a new job"
    again = gateway.post("/api/jobs", body, user="ann", headers=key)
    assert again.status == 202 and again.body["job"] == known.body["job"], "what was taken before is no new job"
    other = submit(gateway, "bob", wait_ms=20000)
    assert other.body["state"] == "succeeded", "nobody else is concerned"
    answer = submit(gateway, session=asked["session"], text="exit")
    assert answer.status == 202 and answer.body["job"] == asked["job"], "an answer is no new job"
    listed = bots(service, "queues", "--json").lines()
    assert {(row["pool"], row.get("of"), row["state"]) for row in listed} >= {("*", "ann", "draining"), ("default", None, "running")}
    assert bots(service, "queues", "resume", "*", "--of", "ann").code == 0
    assert submit(gateway, wait_ms=20000).body["state"] == "succeeded"


def test_who_sees_whose_queue(service, gateway):
    assert gateway.post("/api/queues/default/pause", {}, user="root").status == 200
    submit(gateway, "ann")
    submit(gateway, "bob")
    rows = gateway.get("/api/queues", user="ann").body["queues"]
    assert {row.get("of") for row in rows} == {None, "ann"}
    assert queue(gateway, "bob", "/api/queues/all")["ready"] == 1
    bad = gateway.post("/api/queues/default/stop", {}, user="root")
    assert bad.status == 404
    long = gateway.post("/api/queues/default/pause", {"reason": "x" * 300}, user="root")
    assert long.status == 400 and long.body["error"]["path"] == "reason"
    usage = bots(service, "queues", "pause")
    assert usage.code == 2
