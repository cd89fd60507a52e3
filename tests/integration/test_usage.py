"""Usage through the whole system: what running workers journal, over HTTP and in the program."""

import cli
import flows
import pytest
from http_client import Gateway


@pytest.fixture(scope="module")
def gateway(shared):
    one = Gateway(shared, "gateway32")
    yield one
    shared.processes.pop(one.name).terminate()


def run(gateway, user, replies, **more):
    workflow = flows.chat({**flows.script(["a", "b", "c"]), "model": f"used-by-{user}"}, replies=replies)
    done = gateway.post("/api/jobs", {"workflow": workflow, "text": "hello", "wait_ms": 20000, **more}, user=user)
    assert done.status == 200 and done.body["state"] == "succeeded", done
    return done.body


def total(runs):
    rows = [one["result"]["usage"]["total"] for one in runs]
    return {key: sum(row[key] for row in rows) for key in ("calls", "prompt_tokens", "completion_tokens")}


def everybody(gateway):
    """The rows of all users, page by page: the shared service has had many."""
    rows, page = [], gateway.get("/api/usage/all", by="user").body
    while "next" in page:
        rows += page["usage"]
        page = gateway.get("/api/usage/all", by="user", after=page["next"]).body
    return rows + page["usage"]


def test_usage_is_what_the_results_of_all_jobs_say(gateway, user, shared):
    runs = [run(gateway, user, 0), run(gateway, user, 2), run(gateway, user, 1, no_session=True)]
    expected = total(runs)
    [row] = gateway.get("/api/usage", user=user).body["usage"]
    assert {key: row[key] for key in expected} == expected and row["jobs"] == 3
    assert row["unpriced_calls"] == row["calls"] == 6 and row["cost_pico_usd"] == 0
    [by_model] = gateway.get("/api/usage", user=user, by="model").body["usage"]
    assert by_model["key"] == f"used-by-{user}" and by_model["calls"] == 6
    fork = gateway.post(f"/api/jobs/{runs[1]['job']}/fork", {"seq": 4, "wait_ms": 20000}, user=user)
    assert fork.status == 200, fork
    [after] = gateway.get("/api/usage", user=user).body["usage"]
    own = fork.body["result"]["usage"]["total"]
    assert after["calls"] - row["calls"] == own["calls"] < total([runs[1]])["calls"]
    assert after["prompt_tokens"] - row["prompt_tokens"] == own["prompt_tokens"]
    sessions = gateway.get("/api/usage", user=user, by="session").body["usage"]
    assert {one["key"] for one in sessions} == {runs[0]["session"], runs[1]["session"], fork.body["session"]}
    assert gateway.request("DELETE", f"/api/sessions/{runs[1]['session']}", user=user).status == 200
    assert gateway.get("/api/usage", user=user).body["usage"] == [after]
    assert {**after, "key": user} in everybody(gateway)
    bad = gateway.get("/api/usage", user=user, by="week")
    assert bad.status == 400 and bad.body["error"]["path"] == "by"


def test_the_program_shows_it(gateway, user, shared):
    done = run(gateway, user, 1)
    bots = lambda *args: cli.run(*args, home=shared.dir, env={"AUTOBOTS_USER": user})
    assert bots("usage", "--by", "session", "--json").json()["key"] == done["session"]
    shown = bots("usage", "--by", "agent", "--since", "1d")
    assert shown.code == 0 and "assistant" in shown.out and "unpriced" in shown.out
    header, line = bots("usage").out.splitlines()
    assert header.split()[:2] == ["jobs", "calls"] and line.split()[:3] == ["total", "1", "2"]
    assert user in bots("usage", "--by", "user").out
    wrong = bots("usage", "--since", "yesterday")
    assert wrong.code == 2 and "yesterday is no time" in wrong.err
