"""MCP servers through the whole system: tools listed and called by agents in jobs, and servers that misbehave."""

import json
import pathlib
import time

import flows
import pytest
from service import ROOT, processes, slow, wait_until

SERVER = str(ROOT / "tests" / "lib" / "mcp_server.py")
PYTHON = "/usr/bin/python3"


def program(*args, **more):
    return {"command": [PYTHON, SERVER, *args], **more}


def flow(says, tools, **more):
    script = {"model": "script", "api_type": "script", "script": {"replies": says}}
    made = flows.chat(script, **more)
    made["agents"][1]["agent"]["tools"] = tools
    return made


def calls(*names, server="bad"):
    """One reply of the model that calls tools: NAME or (NAME, arguments)."""
    pairs = [(name, {}) if isinstance(name, str) else name for name in names]
    return {"tool_calls": [{"name": f"{server}__{name}", "arguments": arguments} for name, arguments in pairs]}


def of(events, kind):
    return [event for event in events if event["kind"] == kind]


def run(client, *names, server="bad", entry=None, timeout=60):
    """Calls the tools in one reply; yields events, results by tool and the end."""
    made = flow([calls(*names, server=server), "Done."], [entry or {"mcp": server}])
    events = client.events_to_end(client.submit(made, "go", watch="all").id, timeout=timeout * slow())
    return events, {one["tool"].split("__")[1]: one for one in of(events, "tool_result")}, events[-1]


@pytest.fixture(scope="module")
def service(short_folder):
    from service import Service
    folder = short_folder()
    file = lambda name: f"file={folder}/{name}"
    one = Service(folder, env={"SECRET_OF_TESTS": "hunter2-and-more", "PLAIN": "for all"}, config={"mcp_servers": {
        "bad": program(timeout_ms=5000, per="worker", timeout_max_ms=10000),
        "brief": program(file("brief"), timeout_ms=1000, timeout_max_ms=3000),
        "modern": program("era=modern"), "dual": program("era=dual"), "silent": program("era=silent", start_ms=3000),
        "exits": program("era=exits"), "slow": program("slow_start=1"),
        "many": program("list=many"), "endless": program("list=endless"), "odd": program("list=odd"),
        "none": program("list=none"), "pages": program("list=pages"),
        "dead": {"command": ["/nonexistent/server"]}, "crashing": {"command": ["/bin/sh", "-c", "echo broken >&2; exit 9"]},
        "mute": {"command": ["/bin/sleep", "3600"], "start_ms": 900},
        "unset": program(env={"A": "${NOT_SET_ANYWHERE}"}),
        "env": program(env={"GREETING": "hi", "API_TOKEN": "${SECRET_OF_TESTS}"}, env_from=["PLAIN"]),
        "own": program("mark=own", file("own")), "users": program(file("users"), per="user"),
        "kids": program("deaf=1", "mark=kids"),
    }})
    yield one
    one.stop()


@pytest.fixture
def client(service, user):
    with service.client(user) as one:
        yield one
    service.assert_alive()


def notes(service, name):
    return notes_of(service.folder / name)


def notes_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def alive(pid):
    try:
        return "\nState:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("server", ["bad", "modern", "dual", "silent", "exits", "slow", "pages"])
def test_tools_of_a_server_of_each_era_are_called(client, server):
    events, results, end = run(client, ("say", {"text": "Grüße"}), "key", server=server)
    assert end["state"] == "succeeded" and end["content"] == "Done."
    assert results["say"]["content"] == "Grüße" and not results["say"].get("failed")
    step = of(events, "tool_started")[1]["step"]
    assert results["key"]["content"].endswith(f":{step}:1") and len(results["key"]["content"]) > 36


def test_what_a_model_is_told(client, model):
    model.behave(texts=["Fine."])
    made = flows.http_chat(model)
    made["agents"][1]["agent"]["tools"] = [{"mcp": "bad", "allow": ["twice", "say"]}, "calculator"]
    end = client.events_to_end(client.submit(made, "go", watch="all").id)[-1]
    assert end["state"] == "succeeded", end
    told = [tool["function"] for tool in model.calls()[0]["body"]["tools"]]
    assert [tool["name"] for tool in told] == ["bad__say", "bad__twice", "calculator"]
    assert told[0]["description"] == "Gives back its text." and told[0]["parameters"] == {"type": "object"}


def test_a_tool_that_is_not_allowed_is_not_there(client):
    _, results, end = run(client, "say", "crash", entry={"mcp": "bad", "allow": ["say"]})
    assert end["state"] == "succeeded" and not results["say"].get("failed")
    assert "crash" not in results


def test_all_kinds_of_content(client, model):
    model.behave(texts=[{"tool_calls": [{"id": "c1", "type": "function", "function": {
        "name": "bad__everything", "arguments": "{}"}}]}, "I see."])
    made = flows.http_chat(model)
    made["agents"][1]["agent"]["tools"] = [{"mcp": "bad"}]
    events = client.events_to_end(client.submit(made, "go", watch="all").id)
    [result] = of(events, "tool_result")
    for words in ("words\n", "[image 1, image/png]", "audio/wav", "file:///a.txt: a file", "inside", "application/x", "hologram"):
        assert words in result["content"]
    sent = json.dumps(model.calls()[1]["body"]["messages"])
    assert "data:image/png;base64,iVBORw0KGgo=" in sent


@pytest.mark.parametrize("tool, says", [
    ("says_error", "the disk is on fire"),
    ("refuses", "no such thing"),
    ("misfits", "outputSchema"),
    ("needs_input", "elicitation/create"),
    ("garbage", "no JSON"),
    ("crash", "exit code 7"),
    (("long_line", {"mib": 100}), "too long"),
])
def test_a_call_that_fails_says_why_and_others_go_on(client, tool, says):
    _, results, end = run(client, tool, ("works_slowly", {"steps": 2, "step_s": 0.05}))
    name = tool if isinstance(tool, str) else tool[0]
    assert end["state"] == "succeeded" and end["content"] == "Done."
    assert results[name]["failed"] and says in results[name]["content"] and "MCP server bad" in results[name]["content"] + (
        "MCP server bad" if name == "says_error" else "")
    if name != "crash":  # with which all that is under way at the server ends
        assert results["works_slowly"]["content"] == "done"
    _, results, _ = run(client, ("say", {"text": "still here"}))
    assert results["say"]["content"] == "still here"


@pytest.mark.parametrize("tool, content", [
    ("noise", "after all"), ("wrong_id", "right"), ("twice", "first"), ("structured", '{"n":5}'),
    (("flood", {"mib": 20}), "flooded"),
    ("asks", '{"q0": "ok", "q1": -32601, "q2": -32601, "q3": -32601}'),
])
def test_what_a_server_does_besides_its_answer_does_no_harm(service, client, tool, content):
    name = tool if isinstance(tool, str) else tool[0]
    _, results, end = run(client, tool)
    assert results[name]["content"] == content and not results[name].get("failed") and end["state"] == "succeeded"
    assert service.folder.joinpath("log", "worker1.log").stat().st_size < 4 << 20


def test_the_worker_s_memory_stays_bounded(service, client):
    run(client, ("long_line", {"mib": 150}), ("flood", {"mib": 10}))
    assert service["worker1"].memory("VmHWM") < (200 << 20) * slow()


def test_time_limits_and_progress(service, client):
    """Without a word a call ends after timeout_ms; progress puts that off, up to timeout_max_ms. The server is told."""
    events, _, end = run(client, ("works_slowly", {"steps": 8, "step_s": 0.2}), ("works_slowly", {"steps": 1, "step_s": 10}),
                         ("works_slowly", {"steps": 100, "step_s": 0.1}), ("say", {"text": "x"}), server="brief")
    done, silent, endless, said = [(one["content"], one.get("failed", False), one.get("duration_ms", 0)) for one in sorted(
        of(events, "tool_result"), key=lambda one: one["call"])]
    assert done[:2] == ("done", False) and said[:2] == ("x", False) and end["state"] == "succeeded"
    assert silent[1] and "no answer in time" in silent[0] and 1000 <= silent[2] < 1600 * slow()
    assert endless[1] and "no answer in time" in endless[0] and endless[2] >= 3000
    wait_until(lambda: len([note for note in notes(service, "brief") if "cancelled" in note]) == 2, what="notifications/cancelled")


def test_a_server_that_hangs_costs_one_call(client):
    _, results, end = run(client, "hang", server="brief")
    assert results["hang"]["failed"] and "no answer in time" in results["hang"]["content"] and end["state"] == "succeeded"


@pytest.mark.parametrize("server, says", [
    ("dead", "cannot start /nonexistent/server"), ("crashing", "exit code 9; it last wrote: broken"),
    ("unset", "no NOT_SET_ANYWHERE"), ("many", "more than 512 tools"), ("endless", "after 64 pages"),
    ("none", "no list of tools"), ("nowhere", "no MCP server `nowhere`"),
])
def test_a_server_that_cannot_be_used_fails_the_job_and_says_why(client, server, says):
    end = run(client, "say", server=server)[2]
    assert end["state"] == "failed" and says in end["text"], end


def test_a_server_that_never_answers_makes_the_attempt_fail(service, client):
    made = flow([calls("say", server="mute"), "Done."], [{"mcp": "mute"}])
    job = client.submit(made, "go", watch="all").id
    event = {}
    while event.get("kind") != "attempt_failed":
        event = client.next_event(job, timeout=20 * slow()).body_value()
    assert "MCP server mute: it was not ready within 1 s" in event["text"]
    client.inbox(job, "cancel", "")


def test_a_tool_that_the_server_does_not_have_is_named(client):
    end = run(client, "say", entry={"mcp": "bad", "allow": ["say", "fly"]})[2]
    assert end["state"] == "failed" and "no tool `fly`" in end["text"] and "garbage" in end["text"]


def test_odd_names_and_definitions(client, model):
    model.behave(texts=["Fine."])
    made = flows.http_chat(model)
    made["agents"][1]["agent"]["tools"] = [{"mcp": "odd"}]
    end = client.events_to_end(client.submit(made, "go", watch="all").id)[-1]
    assert end["state"] == "succeeded", end
    names = [tool["function"]["name"] for tool in model.calls()[0]["body"]["tools"]]
    assert len(names) == len(set(names)) and all(len(name) <= 64 and name.isascii() for name in names)
    assert {"odd__say", "odd__deep", "odd__loop"} <= set(names)
    assert sum(name.startswith("odd__dots_and_more_") for name in names) == 1
    assert not [name for name in names if "no_schema" in name or "big" in name or "task" in name or "list" in name]
    [dotted] = [name for name in names if "dots" in name]
    model.behave(texts=[{"tool_calls": [{"id": "c1", "type": "function", "function": {"name": dotted, "arguments":
                                                                                        '{"text": "by name"}'}}]}, "Fine."])
    events = client.events_to_end(client.submit(made, "go", watch="all").id)
    assert of(events, "tool_result")[0]["content"] == "by name"


def test_the_environment_of_a_server_is_what_the_configuration_names(service, client):
    _, results, _ = run(client, "environment", server="env")
    seen = json.loads(results["environment"]["content"])
    assert seen["GREETING"] == "hi" and seen["PLAIN"] == "***" and seen["API_TOKEN"] == "***"  # secrets go no further
    assert not [name for name in seen if name.startswith("AUTOBOTS") or name == "SECRET_OF_TESTS"]
    assert "PATH" in seen and not service.files_holding("hunter2-and-more")


# -- processes --------------------------------------------------------------------------------------------------------


def test_each_job_has_a_server_of_its_own_which_goes_with_it(service, client):
    for _ in range(2):
        assert run(client, "say", server="own")[2]["state"] == "succeeded"
    pids = {note["pid"] for note in notes(service, "own") if "started" in note}
    assert len(pids) == 2
    wait_until(lambda: not any(alive(pid) for pid in pids), 15 * slow(), "their end")


def test_a_user_s_jobs_share_a_server_and_other_users_do_not(service, client, user):
    for _ in range(2):
        run(client, "say", server="users")
    with service.client(user + "2") as other:
        run(other, "say", server="users")
    assert len({note["pid"] for note in notes(service, "users")}) == 2


def test_what_a_server_has_started_goes_with_it(client):
    _, results, _ = run(client, "leaves_children", server="kids")
    pid = int(results["leaves_children"]["content"])
    wait_until(lambda: not alive(pid), 15 * slow(), "the end of a server's child")


def test_two_agents_of_a_job_use_one_process(service, client):
    def agent(name, link):
        made = {"name": name, "type": "assistant", "tools": [{"mcp": "own"}], "config": {"llm_config": {"config_list": [
            {"model": "script", "api_type": "script", "script": {"replies": [calls("say", server="own"), f"{name} did."]}}]},
            "max_consecutive_auto_reply": 1}}
        return {"agent": made, "link": {"agent_type": link}}
    before = len([note for note in notes(service, "own") if "started" in note])
    made = {"name": "two", "type": "default", "agents": [agent("a", "sender"), agent("b", "receiver")]}
    events = client.events_to_end(client.submit(made, "go", watch="all").id)
    assert len(of(events, "tool_result")) == 2, events[-1]
    assert len([note for note in notes(service, "own") if "started" in note]) == before + 1


def test_cancelling_the_job_ends_its_server(service, client):
    made = flow([calls(("works_slowly", {"steps": 1000}), server="own")], [{"mcp": "own"}])
    job = client.submit(made, "go", watch="all").id
    event = {}
    while event.get("kind") != "tool_started":
        message = client.next_event(job)
        event = message.body_value()
    wait_until(lambda: notes(service, "own")[-1].get("call") == "works_slowly", what="the call")
    pid = notes(service, "own")[-1]["pid"]
    client.inbox(job, "cancel", "")
    assert client.events_to_end(job, message["seq"])[-1]["state"] == "cancelled"
    wait_until(lambda: not alive(pid), 15 * slow(), "the end of the server")


def test_when_there_may_be_no_more_processes_a_job_waits_for_its_server(make_service, tmp_path):
    service = make_service(config={"mcp_processes_max": 1, "mcp_servers": {"bad": program(f"file={tmp_path}/starts")}})
    with service.client() as client:
        made = flow([calls(("works_slowly", {"steps": 3, "step_s": 0.2})), "Done."], [{"mcp": "bad"}])
        jobs = [client.submit(made, "go").id for _ in range(3)]
        ended, most = 0, 0
        while ended < len(jobs):
            most = max(most, len(processes(SERVER, tmp_path)))
            ended = service["worker1"].log().count("job.end")
        assert service["worker1"].log().count("state=succeeded") == len(jobs) and most <= 2  # a keeper and its server


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_no_server_outlives_its_worker(make_service, how):
    """Not even one that ignores every signal and its input's end, nor what it has started."""
    deaf = ["deaf=1"] if how == "kill" else []
    service = make_service(config={"mcp_servers": {"bad": program("mark=outlives", *deaf)}})
    with service.client() as client:
        made = flow([calls("leaves_children"), calls(("works_slowly", {"steps": 1000}))], [{"mcp": "bad"}])
        job = client.submit(made, "go", watch="all").id
        event = {}
        while event.get("kind") != "tool_result":
            event = client.next_event(job).body_value()
        found = processes(SERVER, "mark=outlives") + [int(event["content"])]
        assert len(found) >= 3  # keeper, server, child
        if how == "kill":
            service.kill("worker1")
        else:
            assert service["worker1"].terminate() == 0
        wait_until(lambda: not any(alive(pid) for pid in found), 10 * slow(), "the end of all processes")
        service["worker1"].killed = True


class Gated:
    """Jobs at a server that starts and serves nobody before it may: their tools are being prepared until then."""

    def __init__(self, service, folder):
        self.service, self.notes, self.gate = service, folder / "notes", folder / "gate"

    def submit(self, client):
        """A job, and the process of the server that it waits for."""
        job = client.submit(flow([calls(("say", {"text": "late"}), server="late"), "Done."], [{"mcp": "late"}]), "go", watch="all").id
        return job, self.started()

    def started(self, nth=1):
        wait_until(lambda: len(notes_of(self.notes)) >= nth or self.service.died(), 20 * slow(), "the server's start")
        return notes_of(self.notes)[nth - 1]["pid"]


@pytest.fixture
def gated(make_service, tmp_path):
    service = make_service(workers=0, config={"mcp_servers": {
        "late": program(f"gate={tmp_path / 'gate'}", f"file={tmp_path / 'notes'}", "mark=gated", start_ms=60000)}})
    service.start("worker1")
    service.wait_ready(1)
    yield Gated(service, tmp_path)
    wait_until(lambda: not processes(SERVER, f"gate={tmp_path / 'gate'}"), 20 * slow(), "no server and no keeper is left")


def end_of_gated(client, job, attempts):
    events = client.journal(job)
    assert [one["content"] for one in of(events, "tool_result")] == ["late"] and events[-1]["content"] == "Done."
    assert len(of(events, "started")) == attempts and len(of(events, "model_reply")) == 2
    assert not of(events, "attempt_failed")


def test_a_pause_while_tools_are_prepared_ends_their_server(gated):
    with gated.service.client() as client:
        job, pid = gated.submit(client)
        client.inbox(job, "pause")
        wait_until(lambda: client.job_status(job)["state"] == "paused", 20 * slow(), "the pause")
        wait_until(lambda: not alive(pid), 20 * slow(), "the server's end")
        assert not of(client.journal(job), "model_reply")
        gated.gate.touch()
        client.inbox(job, "resume")
        client.wait_for(lambda m: m.name == "EVENT" and m["job"] == job and m.get("end"), 20 * slow())
        end_of_gated(client, job, 2)


def test_a_cancel_while_tools_are_prepared_ends_their_server(gated):
    with gated.service.client() as client:
        job, pid = gated.submit(client)
        client.cancel(job)
        assert client.events_to_end(job)[-1]["state"] == "cancelled"
        wait_until(lambda: not alive(pid), 20 * slow(), "the server's end")
        assert not of(client.journal(job), "model_reply")


def test_a_worker_that_goes_while_tools_are_prepared_leaves_the_job_to_another(gated):
    service = gated.service
    with service.client() as client:
        job, pid = gated.submit(client)
        service.start("worker2")
        service.wait_ready(2)
        assert service["worker1"].terminate() == 0
        service["worker1"].killed = True
        other = gated.started(2)
        wait_until(lambda: not alive(pid), 20 * slow(), "the first server's end")
        assert alive(other)
        gated.gate.touch()
        client.wait_for(lambda m: m.name == "EVENT" and m["job"] == job and m.get("end"), 20 * slow())
        end_of_gated(client, job, 2)
        assert [one["worker"] for one in of(client.journal(job), "started")][0] != [
            one["worker"] for one in of(client.journal(job), "started")][1]


@pytest.mark.parametrize("tool, again", [("works_slowly", True), ("hang", False)])
def test_a_call_under_way_when_the_worker_dies(make_service, tmp_path, tool, again):
    """What the server calls read-only is called again, with the same key; of another the model is told that nobody knows."""
    notes_file = tmp_path / "calls"
    service = make_service(workers=0, config={"heartbeat_ms": 200, "lease_ms": 1000, "mcp_servers": {
        "bad": program(f"file={notes_file}")}})
    service.start("worker1")
    service.wait_ready(1)
    with service.client() as client:
        job = client.submit(flow([calls((tool, {"steps": 5})), "Done."], [{"mcp": "bad"}]), "go", watch="all").id
        wait_until(lambda: [note for note in notes_of(notes_file) if "call" in note], 20 * slow(), "the call")
        service.kill("worker1")
        service.start("worker2")
        events = client.events_to_end(job, timeout=60)
    made = [note for note in notes_of(notes_file) if "call" in note]
    [result] = of(events, "tool_result")
    assert events[-1]["state"] == "succeeded"
    if again:
        assert result["content"] == "done" and len(made) == 2 and len({note["key"] for note in made}) == 1
    else:
        assert result["failed"] and "outcome is unknown" in result["content"] and len(made) == 1
