"""Agents and workflows as tools, through the whole system: what they are told, stored ones by their names, people, cancelling,
forks, code, and what clients see of it."""

import json

import autobots_wire as wire
import cli
import flows
import pytest
from http_client import Gateway
from service import ROOT, wait_until


def asks(*names, message="well?"):
    return {"tool_calls": [{"name": name, "arguments": {"message": message}} for name in names]}


def says(*replies, **more):
    return {"script": {"replies": list(replies), **more}}


def one(name, *replies, **more):
    """A workflow of one agent."""
    return {"name": name, "agents": [{"name": f"{name}-agent", **says(*replies), **more}]}


def boss(*replies, tools, **more):
    return {"name": "delegating", "agents": [{"name": "boss", **says(*replies), "tools": tools}], **more}


def of(events, kind):
    return [event for event in events if event["kind"] == kind]


def save(client, workflow, name=None):
    answer = client.storage.ask("save_workflow", name=name or workflow["name"], workflow=json.dumps(workflow))
    return answer["workflow"]["version"]


def said(events):
    return [event["content"] for event in of(events, "model_reply") if event["content"]]


def ended(client, job):
    """The journal of a watched job, once it has ended."""
    client.wait_for(lambda m: m.name == "EVENT" and m["job"] == job and m.get("end"))
    return client.journal(job)


def fork(client, job, seq, workflow=None, **more):
    header = {"job": wire.make_id(), "user": client.user, "fork_of": job, "fork_seq": seq, **more}
    if workflow:
        text = wire.workflow_text(workflow)
        header.update(workflow=text, hash=wire.workflow_hash(text))
    return wire.Accepted(client.request("SUBMIT", header, wire.pack(None))).id


# -- what happens -----------------------------------------------------------------------------------------------------


def test_what_models_are_told_and_what_is_journaled(client, cast):
    """Both calls of one reply are made before either is answered; each is told its message only."""
    def called(name, text):
        return {"id": name, "type": "function", "function": {"name": name, "arguments": json.dumps({"message": text})}}

    cast.behave(a={"texts": [{"tool_calls": [called("b", "to b"), called("team", "to the team")]}, "So be it."]},
                b={"text": "b says", "meet": [cast.name("both"), 2]}, c={"text": "c says", "meet": [cast.name("both"), 2]})
    team = {"name": "the team", "description": "Decides.", "agents": [{"agent": {"name": "user", "type": "userproxy", "config": {
        "llm_config": False, "max_consecutive_auto_reply": 0}}, "link": {"agent_type": "sender"}},
        {"agent": cast.agent("c"), "link": {"agent_type": "receiver"}}]}
    flow = cast.flow("default", {**cast.agent("a"), "tools": [{"agent": cast.agent("b")}, {"name": "team", "workflow": team}]})
    events = client.events_to_end(client.submit(flow, "decide", watch="all").id)
    bodies = {call["model"].rpartition("-")[2]: call["body"] for call in cast.calls()}
    assert bodies["b"]["messages"] == [{"role": "user", "content": "to b"}]
    assert bodies["c"]["messages"] == [{"role": "user", "content": "to the team"}]
    [first, last] = [call["body"] for call in cast.calls() if call["model"] == cast.name("a")]
    told = {tool["function"]["name"]: tool["function"] for tool in first["tools"]}
    assert told["team"]["description"] == "Decides." and "b" in told["b"]["description"]
    assert told["b"]["parameters"]["required"] == ["message"]
    assert [(m["tool_call_id"], m["content"]) for m in last["messages"] if m["role"] == "tool"] == [
        ("b", "b says"), ("team", "c says")]
    steps = {event["agent"]: event["step"] for event in of(events, "model_reply")}
    assert steps["b"] == "chat/2.1/chat:1" and steps["c"] == "chat/2.2/chat:1"
    assert [event["step"] for event in of(events, "tool_started") + of(events, "tool_result")] == ["chat:2"] * 4
    end = events[-1]
    assert end["content"] == "So be it." and [m["content"] for m in end["result"]["messages"]] == ["decide", "So be it."]
    assert {name: row["calls"] for name, row in end["result"]["usage"]["agents"].items()} == {"a": 2, "b": 1, "c": 1}


def test_a_person_is_asked_in_a_call_and_the_job_waits(client):
    asked = {"agent": {"name": "clerk", "human": "ALWAYS", **says("never")}}
    job = client.submit(boss(asks("clerk"), "As the clerk says.", tools=[asked]), "go", watch="all").id
    waiting = client.wait_for(lambda m: m.name == "EVENT" and m.body_value()["kind"] == "waiting").body_value()
    assert waiting["ask"] == "chat/2.1/chat:1" and waiting["agent"] == "clerk"
    wait_until(lambda: client.job_status(job)["state"] == "waiting")
    client.inbox(job, "input", text="Granted.", ask=waiting["ask"])
    events = ended(client, job)
    assert events[-1]["state"] == "succeeded" and events[-1]["content"] == "As the clerk says."
    assert [e["content"] for e in of(events, "tool_result")] == ["Granted."]


def test_cancelling_ends_the_call_under_way(client, cast):
    cast.behave(a={"texts": [{"tool_calls": [{"id": "1", "type": "function", "function": {
        "name": "b", "arguments": '{"message": "wait"}'}}]}]}, b={"stall": "headers"})
    flow = cast.flow("default", {**cast.agent("a"), "tools": [{"agent": cast.agent("b")}]})
    job = client.submit(flow, "go", watch="all").id
    wait_until(lambda: len(cast.calls()) == 2, what="the call in the call")
    client.cancel(job)
    assert client.events_to_end(job)[-1]["state"] == "cancelled"


@pytest.mark.parametrize("stop", ["terminate", "kill"])
def test_a_worker_that_goes_in_the_middle_of_two_calls_leaves_them_to_another(make_service, cast, stop):
    """What was said in them is not said again; the one under way is asked again, under the same name."""
    def called(name):
        return {"id": name, "type": "function", "function": {"name": name, "arguments": json.dumps({"message": f"to {name}"})}}

    inner = cast.flow("sequential", [cast.agent("c"), cast.agent("d")])
    cast.behave(a={"texts": [{"tool_calls": [called("b"), called("inner")]}, "So be it."]}, b={"text": "b says"},
                c={"text": "c says"}, d={"text": "d says", "stall": "headers"})
    flow = cast.flow("default", {**cast.agent("a"), "tools": [{"agent": cast.agent("b")}, {"name": "inner", "workflow": inner}]})
    service = make_service(workers=0, config={"heartbeat_ms": 300, "lease_ms": 1500})
    service.start("worker1")
    service.wait_ready(1)
    with service.client() as client:
        job = client.submit(flow, "decide", watch="all").id
        wait_until(lambda: sorted(e["agent"] for e in of(client.journal(job), "model_reply")) == ["a", "b", "c"]
                   and [call for call in cast.calls() if call["model"] == cast.name("d")], what="d, whom c has been before")
        cast.behave(d={"text": "d says"})
        if stop == "terminate":
            service.start("worker2")
            service.wait_ready(2)
            assert service["worker1"].terminate() == 0
        else:
            service.kill("worker1")
            service.start("worker2")
        events = ended(client, job)
    asked = [call["model"].rpartition("-")[2] for call in cast.calls()]
    assert {name: asked.count(name) for name in "abcd"} == {"a": 2, "b": 1, "c": 1, "d": 2}
    assert events[-1]["content"] == "So be it." and [e["attempt"] for e in of(events, "started")] == [1, 2]
    assert sorted(e["content"] for e in of(events, "tool_result")) == ["b says", "d says"]
    assert len(of(events, "tool_started")) == 2 and not of(events, "attempt_failed")


def test_a_pause_in_a_call_and_going_on(client, cast):
    called = {"id": "1", "type": "function", "function": {"name": "b", "arguments": '{"message": "wait"}'}}
    cast.behave(a={"texts": [{"tool_calls": [called]}, "Done."]}, b={"text": "b says", "delay_ms": 300})
    job = client.submit(cast.flow("default", {**cast.agent("a"), "tools": [{"agent": cast.agent("b")}]}), "go", watch="all").id
    wait_until(lambda: len(cast.calls()) == 2, what="the call in the call")
    client.inbox(job, "pause")
    wait_until(lambda: client.job_status(job)["state"] == "paused")
    client.inbox(job, "resume")
    events = ended(client, job)
    assert said(events) == ["b says", "Done."] and len(cast.calls()) == 3
    kinds = [event["kind"] for event in events]
    assert kinds.index("paused") > kinds.index("model_reply") and kinds.count("tool_started") == 1


def test_calls_count_for_the_jobs_budget(client):
    flow = boss(asks("b", "b"), "Done.", tools=[{"agent": {"name": "b", **says("b says")}}])
    job = client.submit(flow, "go", watch="all", budget="calls=2").id
    waiting = client.wait_for(lambda m: m.name == "EVENT" and m.body_value()["kind"] == "waiting").body_value()
    assert waiting["reason"] == "budget"
    assert said(client.journal(job)) == ["b says"]


def test_a_model_that_fails_in_a_call_fails_the_job_and_a_retry_goes_on_there(client, user):
    failing = {"agent": {"name": "b", **says({"error": {"status": 400, "message": "no"}})}}
    job = client.submit(boss(asks("b"), "Done.", tools=[failing]), "go", watch="all")
    events = client.events_to_end(job.id)
    assert events[-1]["state"] == "failed" and of(events, "tool_started")
    forked = client.watch_to_end(fork(client, job.id, len(events) - 1))
    assert forked[-1]["state"] == "failed" and len(of(forked, "tool_started")) == 1


def test_a_fork_changes_what_was_said_in_a_call(client):
    flow = boss(asks("b"), "Done.", tools=[{"agent": {"name": "b", **says("The wrong thing.")}}])
    job = client.submit(flow, "go", watch="all").id
    events = client.events_to_end(job)
    [seq] = [event["seq"] for event in of(events, "model_reply") if event["agent"] == "b"]
    forked = client.watch_to_end(fork(client, job, seq, fork_text="The right thing."))
    assert [e["content"] for e in of(forked, "tool_result")] == ["The right thing."]


def test_code_of_a_call_has_a_folder_of_its_own(client):
    pair = {"name": "pair", "agents": [{"name": "coder", **says("```sh\necho made > made.txt\n```", "TERMINATE")},
                                       {"name": "runner", "type": "user", "code": "local", "max_replies": 1}]}
    _, events = client.run(boss(asks("pair", "pair"), "Done.", tools=[{"workflow": pair}]))
    end = events[-1]
    assert end["state"] == "succeeded", end
    assert [file["path"] for file in end["result"]["files"]] == ["call-chat-2.1/made.txt", "call-chat-2.2/made.txt"]


# -- stored workflows -------------------------------------------------------------------------------------------------


def test_a_stored_workflow_is_run_as_it_was_when_the_job_was_submitted(client):
    inner = one("inner", "first version", human="ALWAYS")
    assert save(client, inner) == 1
    flow = boss(asks("inner"), "Done.", tools=[{"workflow": "inner"}])
    job = client.submit(flow, "go", watch="all").id
    client.wait_for(lambda m: m.name == "EVENT" and m.body_value()["kind"] == "waiting")
    assert save(client, one("inner", "second version")) == 2
    client.inbox(job, "input", text="")  # the agent replies by itself
    assert said(ended(client, job)) == ["first version", "Done."]
    _, events = client.run(flow)
    assert said(events) == ["second version", "Done."]
    _, events = client.run(boss(asks("study"), "Done.", tools=[{"workflow": "inner@2", "name": "study"}]))
    assert said(events) == ["second version", "Done."]


def test_the_same_request_is_the_same_job_whatever_was_stored_since(client):
    save(client, one("inner", "first version"))
    flow, job = boss(asks("inner"), "Done.", tools=[{"workflow": "inner"}]), wire.make_id()
    first = client.submit(flow, "go", job=job, watch="all")
    client.events_to_end(job)
    save(client, one("inner", "second version"))
    assert client.submit(flow, "go", job=job).n == first.n


def test_a_fork_runs_what_its_job_ran(client):
    save(client, one("inner", "first version"))
    flow = boss(asks("inner"), "Done.", tools=[{"workflow": "inner"}])
    job = client.submit(flow, "go", watch="all").id
    client.events_to_end(job)
    assert said(client.watch_to_end(fork(client, job, 0, flow))) == ["first version", "Done."]
    save(client, one("inner", "second version"))
    assert said(client.watch_to_end(fork(client, job, 0))) == ["first version", "Done."]
    with pytest.raises(wire.Failure, match="another workflow"):
        fork(client, job, 0, flow)


def test_a_stored_workflow_keeps_what_it_names(client):
    save(client, one("inner", "first version"))
    assert save(client, boss(asks("inner"), "Done.", tools=[{"workflow": "inner"}]), "outer") == 1
    save(client, one("inner", "second version"))
    kept = json.loads(client.storage.ask("get_workflow", name="outer")["workflow"])
    [tool] = kept["agents"][1]["agent"]["tools"]
    assert tool["source"] == "inner@1" and tool["workflow"]["name"] == "inner"
    _, events = client.run(kept)
    assert said(events) == ["first version", "Done."]
    assert save(client, boss(asks("inner"), "Done.", tools=[{"workflow": "inner"}]), "outer") == 2


@pytest.mark.parametrize("name, why", [("nothing", "no workflow nothing"), ("inner@7", "no version 7")])
def test_what_is_not_stored_is_told_with_its_place(shared, client, name, why):
    save(client, one("inner", "x"))
    flow = boss(asks("x"), tools=["now", {"workflow": name, "name": "x"}])
    with pytest.raises(wire.Failure) as refused:
        client.submit(flow, "go")
    assert refused.value.code == "not_found" and why in refused.value.text
    assert refused.value.path == "$.agents[1].agent.tools[1].workflow"
    with pytest.raises(wire.Failure) as refused:
        save(client, flow, "outer")
    assert refused.value.path == "$.agents[1].agent.tools[1].workflow"
    with shared.client(client.user + "-other") as stranger:
        with pytest.raises(wire.Failure, match="no workflow inner"):
            stranger.submit(boss(asks("inner"), tools=[{"workflow": "inner"}]), "go")


def test_workflows_that_name_each_other_end(client):
    """A name stands for what is stored already, so there is no way round."""
    save(client, one("a", "a1"))
    save(client, {**boss(asks("a"), "b1", tools=[{"workflow": "a"}]), "name": "b"})
    save(client, {**boss(asks("b"), "a2", tools=[{"workflow": "b"}]), "name": "a"})
    _, events = client.run(boss(asks("a"), "Done.", tools=[{"workflow": "a"}]))
    assert said(events) == ["a1", "b1", "a2", "Done."]


def test_how_deep_calls_go_counts_what_is_looked_up(client):
    save(client, one("w0", "bottom"))
    for i in range(1, 5):
        save(client, {**boss(asks(f"w{i - 1}"), f"w{i}", tools=[{"workflow": f"w{i - 1}"}]), "name": f"w{i}"})
    with pytest.raises(wire.Failure, match="more than 4 levels"):
        client.submit(boss(asks("w4"), tools=[{"workflow": "w4"}]), "go")
    _, events = client.run(boss(asks("w3"), "top", tools=[{"workflow": "w3"}]))
    assert events[-1]["content"] == "top" and said(events)[0] == "bottom"


def test_a_worker_that_asks_storage_for_the_workflow_gets_the_whole_one(make_service):
    """The broker is restarted before a worker is there: the job comes back by what storage has."""
    service = make_service(workers=0)
    with service.client() as client:
        save(client, one("inner", "found"))
        job = client.submit(boss(asks("inner"), "Done.", tools=[{"workflow": "inner"}]), "go").id
    service.kill("broker")
    service.start("broker")
    service.start("worker1")
    service.wait_ready(1)
    with service.client() as client:
        assert said(client.watch_to_end(job)) == ["found", "Done."]


# -- what clients see -------------------------------------------------------------------------------------------------


def test_watch_and_the_timeline_show_who_speaks_in_a_call(shared, user):
    env, example = {"AUTOBOTS_USER": user}, ROOT / "client" / "examples" / "delegate.yaml"
    shown = cli.run("submit", "-w", example, home=shared.dir, env=env)
    assert shown.code == 0
    for line in ("planner calls budget_check", "weather → planner  in chat/2.1", "accountant → sceptic  in chat/2.2", "budget_check: Train 180"):
        assert line in shown.out, shown.out
    timeline = cli.run("show", "last", "--timeline", "--json", home=shared.dir, env=env).json()
    steps = {row["agent"]: [span["step"] for span in row["spans"]] for row in timeline["agents"]}
    assert steps["weather"] == ["chat/2.1/chat:1"] and steps["sceptic"] == ["chat/2.2/chat:2"]


def test_watch_and_the_timeline_say_by_which_rule_a_speaker_was_chosen(shared, user):
    env = {"AUTOBOTS_USER": user}
    shown = cli.run("submit", "-w", ROOT / "client" / "examples" / "meeting.yaml", home=shared.dir, env=env)
    assert shown.code == 0 and shown.out.count(" · in turn") == 6, shown.out
    assert "speakers: 6 in turn\n" in cli.run("show", "last", "--timeline", home=shared.dir, env=env).out


def test_a_name_of_the_command_line_is_looked_up(shared, user, tmp_path):
    env = {"AUTOBOTS_USER": user}
    for name, flow in (("inner", one("inner", "found")), ("outer", boss(asks("inner"), "Done.", tools=[{"workflow": "inner"}]))):
        (tmp_path / f"{name}.json").write_text(json.dumps(flow))
    missing = cli.run("submit", "-w", tmp_path / "outer.json", "go", home=shared.dir, env=env)
    assert missing.code == 1 and "has no workflow inner" in missing.err
    assert cli.run("validate", tmp_path / "outer.json").code == 0
    assert cli.run("workflows", "add", tmp_path / "inner.json", home=shared.dir, env=env).code == 0
    for flow in (tmp_path / "outer.json", tmp_path / "outer.json"):
        done = cli.run("submit", "-w", flow, "--json", "go", home=shared.dir, env=env)
        assert done.code == 0 and said(done.lines()) == ["found", "Done."]


@pytest.fixture(scope="module")
def gateway(shared):
    one = Gateway(shared)
    yield one
    shared.processes.pop(one.name).terminate()


def test_a_gateway_submits_what_names_a_stored_workflow_again_and_again(gateway, user):
    assert gateway.request("PUT", "/api/workflows/inner", {"workflow": one("inner", "found")}, user=user).status == 200
    flow = boss(asks("inner"), "Done.", tools=[{"workflow": "inner"}])
    for _ in range(3):
        done = gateway.post("/api/jobs", {"workflow": flow, "text": "go", "wait_ms": 20000}, user=user).body
        assert done["state"] == "succeeded" and done["content"] == "Done."
    with gateway.stream(f"/api/jobs/{done['job']}/events", user=user) as stream:
        events = stream.journal()
    assert [e["step"] for e in events if e.get("agent") == "inner-agent"] == ["chat/2.1/chat:1"]
    refused = gateway.post("/api/jobs", {"workflow": boss("x", tools=[{"workflow": "none"}]), "text": "go"}, user=user)
    assert refused.status == 404 and "no workflow none" in json.dumps(refused.body)


def test_openais_clients_get_the_callers_answer(gateway, user):
    """The agent whose turns are the answer is called as a tool too: what it says there is a thought."""
    flow = {"name": "press", "type": "sequential", "output": "writer", "agents": [
        {"name": "editor", **says(asks("writer"), "Take the draft."), "tools": [{"agent": "writer"}]},
        {"name": "writer", **says("The text.", chunk_bytes=3)}]}
    assert gateway.request("PUT", "/api/workflows/press", {"workflow": flow}, user=user).status in (200, 201)
    body = {"model": "press", "messages": [{"role": "user", "content": "write"}]}
    answer = gateway.post("/v1/chat/completions", body, user=user).body
    assert answer["choices"][0]["message"]["content"] == "The text."
    streamed = gateway.post("/v1/chat/completions", {**body, "stream": True}, user=user).text
    pieces = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"] for piece in pieces for choice in piece["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "The text."
    response = gateway.post("/v1/responses", {"model": "press", "input": "write"}, user=user).body
    assert response["status"] == "completed" and "The text." in json.dumps(response["output"])
