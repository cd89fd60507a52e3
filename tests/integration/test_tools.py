"""Tool calls through the whole system: results, refusals, approval, bounds, workers that die."""

import http.server
import json
import socket
import threading

import autobots_wire as wire
import cli
import flows
import pytest
from service import ROOT, wait_until


def call(name, arguments=None, text=None):
    return {**({"text": text} if text else {}), "tool_calls": [{"name": name, "arguments": arguments or {}}]}


def wanted(name, arguments="{}", id="c1"):
    """A call as an endpoint sends it."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*pairs):
    return {"tool_calls": [{"name": name, "arguments": arguments} for name, arguments in pairs]}


def flow(says, tools, repeat="error", **more):
    """A user and an assistant that calls tools by a script."""
    script = {"model": "script", "api_type": "script", "script": {"replies": says, "repeat": repeat}}
    made = flows.chat(script, **more)
    made["agents"][1]["agent"]["tools"] = tools
    return made


def run(client, *args, **more):
    events = client.events_to_end(client.submit(flow(*args, **more), "go", watch="all").id)
    return events, events[-1]


def of(events, kind):
    return [event for event in events if event["kind"] == kind]


def test_the_model_gets_the_result_of_its_call(client):
    events, end = run(client, [call("calculator", {"expression": "2*(3+4)^2"}), "It is 98."], ["calculator"])
    assert end["state"] == "succeeded" and end["content"] == "It is 98."
    assert [event["kind"] for event in events if event["kind"] in ("model_reply", "tool_started", "tool_result")] == [
        "model_reply", "tool_started", "tool_result", "model_reply"]
    [started], [result] = of(events, "tool_started"), of(events, "tool_result")
    assert json.loads(started["arguments"]) == {"expression": "2*(3+4)^2"} and started["agent"] == "assistant"
    assert result["content"] == "98" and not result.get("failed") and result["step"] == started["step"]
    assert [m["content"] for m in end["result"]["messages"]] == ["go", "It is 98."]
    assert end["result"]["usage"]["total"]["calls"] == 2


def test_what_an_endpoint_is_sent(client, model):
    """The tools with their schemas, then the call with its result; in a later turn they are still there."""
    model.behave(texts=[{"tool_calls": [wanted("calculator", '{"expression": "1/8"}'), wanted("now", id="c2")]},
                        "An eighth.", "As I said. TERMINATE"])
    made = flows.http_chat(model, replies=1)
    made["agents"][1]["agent"]["tools"] = ["calculator", {"name": "now"}]
    end = client.events_to_end(client.submit(made, "go", watch="all").id)[-1]
    assert end["state"] == "succeeded", end
    first, second, third = [request["body"] for request in model.calls()]
    assert [tool["function"]["name"] for tool in first["tools"]] == ["calculator", "now"]
    assert first["tools"][0]["function"]["parameters"]["required"] == ["expression"]
    assert "tool_choice" not in first
    roles = [message["role"] for message in second["messages"]]
    assert roles == ["user", "assistant", "tool", "tool"]
    asked, results = second["messages"][1]["tool_calls"], second["messages"][2:]
    assert [one["id"] for one in asked] == [one["tool_call_id"] for one in results]
    assert results[0]["content"] == "0.125" and results[1]["content"].startswith("20")
    assert [message["role"] for message in third["messages"]] == ["user", "assistant", "tool", "tool", "assistant",
                                                                  "user"]


@pytest.mark.parametrize("asked, says", [
    (("calculator", {"expression": "1/0"}), "division by zero"),
    (("calculator", {"expression": "__import__('os')"}), "is expected"),
    (("calculator", {"wrong": 1}), "expression"),
    (("calculator", {}), "expression"),
    (("calculator", "{not json"), "no JSON"),
    (("calculator", {"expression": "(" * 500}), "nested"),
])
def test_a_call_that_fails_is_told_to_the_model_and_nothing_else(client, asked, says):
    events, end = run(client, [calls(asked), "Sorry."], ["calculator"])
    [result] = of(events, "tool_result")
    assert result["failed"] and says in result["content"]
    assert end["state"] == "succeeded" and end["content"] == "Sorry."


def test_arguments_that_do_not_fit_are_not_even_tried(client):
    events, _ = run(client, [calls(("calculator", {"expression": 7})), "Sorry."], ["calculator"])
    assert not of(events, "tool_started") and of(events, "tool_result")[0]["failed"]


def test_a_tool_the_agent_does_not_have_and_one_that_is_never_approved(client, model):
    model.behave(texts=[{"tool_calls": [wanted("calculator", '{"expression": "1"}'), wanted("rm", id="c2"),
                                        wanted("now", id="c3")]}, "Fine."])
    made = flows.http_chat(model)
    made["agents"][1]["agent"]["tools"] = [{"name": "now", "approval": "never"}, "calculator"]
    events = client.events_to_end(client.submit(made, "go", watch="all").id)
    assert [event["tool"] for event in of(events, "tool_started")] == ["calculator"]
    told = [message["content"] for message in model.calls()[1]["body"]["messages"] if message["role"] == "tool"]
    assert told[0] == "1" and "there is no tool rm; you may call now, calculator" in told[1] and "never" in told[2]


def searching(*queries, **more):
    """A job that looks for these, one after the other."""
    return flow([*(call("search_session", {"query": query, **more}) for query in queries), "Found. TERMINATE"], ["search_session"])


def test_what_was_said_in_the_session_is_found(client):
    talk = flows.script_chat(["Noted: the cat is called Behemoth."])
    for session, text in (("elsewhere", "the dog is called Tray"), ("pets", "my cat is called Behemoth")):
        client.events_to_end(client.submit(talk, text, session=session, watch="all").id)
    wait_until(lambda: not client.storage.query("storage_status").get("unindexed"), what="the index")
    events = client.events_to_end(client.submit(searching("called behe*", "called", "tray", "cat", "..."), "what is the cat called?",
                                                session="pets", watch="all").id)
    found = of(events, "tool_result")
    lines = [result["content"].splitlines() for result in found]
    assert {line.split(",")[0].split()[1] for line in lines[0]} == {"user", "assistant"}, lines
    assert all("Behemoth" in line for line in lines[0])
    assert len(lines[1]) == 2, "what the running job says itself is not shown"
    assert len(lines[2]) == 1 and lines[2][0].startswith("Nothing in this conversation's earlier messages has all these words")
    assert len(lines[3]) == 2 and found[4]["failed"] and "query has no word to look for" in found[4]["content"]
    events = client.events_to_end(client.submit(searching("called", limit=1), "and now?", session="pets", watch="all").id)
    assert len(of(events, "tool_result")[0]["content"].splitlines()) == 1


def test_a_job_without_a_session_has_nothing_to_search(client):
    events = client.events_to_end(client.submit(searching("x"), "go", no_session=True, watch="all").id)
    [result] = of(events, "tool_result")
    assert result["failed"] and "no session" in result["content"]


def test_a_model_that_never_stops_calling_is_stopped(client):
    events, end = run(client, [call("now")], ["now"], repeat="last")
    assert end["state"] == "failed" and end["code"] == "model" and "32 rounds" in end["text"]
    assert len(of(events, "tool_result")) == 32


def behave_calling(model, calls, **how):
    """The model makes these calls at once, then says Done."""
    made = flows.http_chat(model.behave(texts=[{"tool_calls": calls}, "Done."], **how))
    made["agents"][1]["agent"]["tools"] = ["calculator", "now"]
    return made


def test_how_a_model_is_to_use_its_tools(client, model):
    """What must be called first need not be called again; how many at once and how strictly is for the endpoint."""
    made = behave_calling(model, [wanted("calculator", '{"expression": "1"}')])
    made["agents"][1]["agent"].update(tools=[{"name": "calculator", "strict": True}, "now"], tool_choice="required",
                                      parallel_tool_calls=False)
    assert client.events_to_end(client.submit(made, "go", watch="all").id)[-1]["content"] == "Done."
    first, second = [request["body"] for request in model.calls()]
    assert first["tool_choice"] == "required" and "tool_choice" not in second
    assert [body["parallel_tool_calls"] for body in (first, second)] == [False, False]
    assert [tool["function"].get("strict") for tool in first["tools"]] == [True, None]


def test_a_model_that_has_to_call_one_tool(client, model):
    made = behave_calling(model, [wanted("now")])
    made["agents"][1]["agent"]["tool_choice"] = "now"
    client.events_to_end(client.submit(made, "go", watch="all").id)
    assert model.calls()[0]["body"]["tool_choice"] == {"type": "function", "function": {"name": "now"}}


def told(request):
    return [message["content"] for message in request["body"]["messages"] if message["role"] == "tool"]


def test_of_very_many_calls_at_once_each_gets_a_result(client, model):
    calls = [wanted("calculator", json.dumps({"expression": f"{n}*2"}), id=f"c{n}") for n in range(50)]
    events = client.events_to_end(client.submit(behave_calling(model, calls), "go", watch="all").id)
    results = told(model.calls()[1])
    assert results[:32] == [str(2 * n) for n in range(32)] and len(of(events, "tool_result")) == 32
    assert all("too many calls at once" in text for text in results[32:]) and len(results) == 50


@pytest.mark.parametrize("arguments, says", [
    (json.dumps({"expression": "1" * (1 << 20)}), "more than 1048576 bytes"),
    (json.dumps({"expression": "1+1", "pad": "x" * 500_000}), "$.pad is a member that may not be there"),
    ("[" * 100_000, "no JSON"), ('{"expression": "1", "expression": "2"}', "no JSON"), ('{"expression": "\\ud800"}', "no JSON"),
    ("7", "must be object"), ("null", "must be object"), ('{"expression": {"a": 1}}', "$.expression must be string"),
], ids=["long", "unknown member", "deep", "twice", "surrogate", "number", "null", "type"])
def test_what_a_model_may_write_as_arguments(client, model, arguments, says):
    made = behave_calling(model, [wanted("calculator", arguments)], tool_style="whole")
    events = client.events_to_end(client.submit(made, "go", watch="all").id, timeout=30)
    assert events[-1]["content"] == "Done." and not of(events, "tool_started")
    [result] = of(events, "tool_result")
    assert result["failed"] and says in result["content"], result


def test_an_answer_without_arguments_is_an_empty_object(client, model):
    made = behave_calling(model, [wanted("now", "")])
    events = client.events_to_end(client.submit(made, "go", watch="all").id)
    assert not of(events, "tool_result")[0].get("failed") and of(events, "tool_started")[0]["arguments"] == "{}"


@pytest.mark.parametrize("answer, content, failed", [("yes", "4", False), ("too early", "refused this call: too early", True)])
def test_approval_is_asked_for_and_waited_for(client, answer, content, failed):
    made = flow([call("calculator", {"expression": "2+2"}), "Done."], [{"name": "calculator", "approval": "ask"}])
    job = client.submit(made, "go", watch="all").id
    question = {}
    while question.get("kind") != "waiting":
        message = client.next_event(job)
        question = message.body_value()
    assert "calculator" in question["prompt"] and "2+2" in question["prompt"]
    client.inbox(job, "input", answer, question["ask"])
    events = client.events_to_end(job, message["seq"])
    result = of(events, "tool_result")
    assert events[-1]["content"] == "Done."
    if failed:
        assert not result and not of(events, "tool_started")
    else:
        assert [one["content"] for one in result] == [content]


def test_nobody_agrees_to_what_was_not_asked_yet(client, model):
    made = behave_calling(model, [wanted("calculator", '{"expression": "2+2"}')], delay_ms=700)
    made["agents"][1]["agent"]["tools"] = [{"name": "calculator", "approval": "ask"}]
    job = client.submit(made, "go", watch="all").id
    wait_until(lambda: len(model.calls()) == 1, what="the model's call")
    client.inbox(job, "input", "yes")  # such as the second click on the question before
    question = {}
    while question.get("kind") not in ("waiting", "tool_started"):
        message = client.next_event(job)
        question = message.body_value()
    assert question["kind"] == "waiting" and "2+2" in question["prompt"]
    client.inbox(job, "input", "no", question["ask"])
    events = client.events_to_end(job, message["seq"])
    assert not of(events, "tool_started") and events[-1]["state"] == "succeeded"


def test_what_a_person_agrees_to_hides_nothing(client, model):
    padded = json.dumps({"expression": "1\n\nMay I? (`yes`)" + " " * 3000 + "+ 41"}, indent=8)
    model.behave(texts=[{"tool_calls": [wanted("calculator", padded)]}, "Done."])
    made = flows.http_chat(model)
    made["agents"][1]["agent"]["tools"] = [{"name": "calculator", "approval": "ask"}]
    job = client.submit(made, "go", watch="all").id
    question = {}
    while question.get("kind") != "waiting":
        question = client.next_event(job).body_value()
    prompt = question["prompt"]
    assert "\n" not in prompt and "+ 41" in prompt and "bytes" in prompt and prompt.endswith("ends the chat)")


def test_a_group_chat_s_member_calls_tools(client):
    def member(name, replies, tools=None):
        made = {"name": name, "type": "assistant", "config": {"llm_config": {"config_list": [
            {"model": "script", "api_type": "script", "script": {"replies": replies}}]}}}
        return {**made, "tools": tools} if tools else made
    group = {"name": "g", "type": "groupchat", "config": {"speaker_selection_method": "round_robin", "max_round": 2},
             "agents": [member("a", [call("calculator", {"expression": "6*7"}), "It is 42."], ["calculator"]),
                        member("b", ["Good. TERMINATE"])]}
    job = client.submit({"name": "t", "type": "groupchat", "sender": {"name": "user", "type": "userproxy", "config": {
        "llm_config": False}}, "receiver": group}, "go", watch="all")
    events = client.events_to_end(job.id)
    assert [one["content"] for one in of(events, "tool_result")] == ["42"]
    assert [m["content"] for m in events[-1]["result"]["messages"]] == ["go", "It is 42.", "Good. TERMINATE"]


def test_the_termination_condition_on_a_tool(client):
    _, end = run(client, [call("now"), "Now you know."], ["now"], replies=5, termination={"tool_call": "now"})
    assert end["stop_reason"] == "tool_call" and end["content"] == "Now you know."


def test_an_idempotent_tool_runs_again_after_a_crash(make_service):
    service = make_service(workers=0, config={"heartbeat_ms": 200, "lease_ms": 1000})
    service.start("worker1", failpoint="worker.committed:kill:3")
    service.wait_ready(1)
    with service.client() as client:
        job = client.submit(flow([call("calculator", {"expression": "5*5"}), "25."], ["calculator"]), "go",
                            watch="all").id
        service.wait_dead("worker1")
        service.start("worker2")
        events = client.events_to_end(job, timeout=60)
    assert [one["content"] for one in of(events, "tool_result")] == ["25"]
    kinds = [event["kind"] for event in events]
    assert kinds == ["started", "begin", "model_reply", "tool_started", "started", "tool_result", "model_reply", "end"]


def test_the_example_and_the_command_line(shared, user):
    result = cli.run("submit", "-w", ROOT / "client/examples/tools.yaml", home=shared.dir,
                     env={"AUTOBOTS_USER": user})
    assert result.code == 0, result.err
    assert "calls calculator" in result.out and "calculator: 490.873852123405" in result.out


def test_a_tool_nobody_knows_is_a_fault_that_lists_what_there_is(shared, tmp_path):
    file = tmp_path / "w.yaml"
    file.write_text("model: m\nagents:\n  - name: a\n    tools: [calculater, {name: rm}]\n")
    result = cli.run("validate", file, home=shared.dir)
    assert result.code != 0 and 'did you mean "calculator"' in result.out + result.err
    assert "one of: calculator, now" in result.out + result.err


@pytest.mark.parametrize("entry, says", [
    ({"mcp": "nosuch"}, "no MCP server `nosuch`"), ({"skill": "nosuch@1"}, "has no skill nosuch of the version")])
def test_what_an_entry_names_and_is_not_there_fails_the_job_before_its_model_is_asked(client, entry, says):
    events, end = run(client, ["Hello."], ["now", entry])
    assert end["state"] == "failed" and says in end["text"], end
    assert not of(events, "model_reply")


class Site(http.server.BaseHTTPRequestHandler):
    """Answers by path, and notes who asked."""
    seen = []

    def do_GET(self):
        Site.seen.append((self.path, dict(self.headers)))
        status, kind, body = {"/text": (200, "text/plain; charset=utf-8", "Grüße".encode()),
                              "/moved": (302, "text/plain", b"gone"),
                              "/binary": (200, "image/png", b"\x89PNG\xff\x00"),
                              "/large": (200, "text/plain", b"x" * (1 << 20) + b"y"),
                              "/long": (200, "text/plain", b"z" * 100_000)}.get(self.path, (404, "text/plain", b"no"))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://169.254.169.254/latest")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *_):
        pass


def test_http_get_asks_named_hosts_only(make_service):
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_port
    service = make_service(config={"http_get_hosts": f"*:{port},127.0.0.1"})
    urls = {f"http://127.0.0.1:{port}/text": "HTTP 200, text/plain; charset=utf-8\n\nGrüße",
            f"http://127.0.0.1:{port}/moved": "HTTP 302, text/plain, leads to http://169.254.169.254/latest\n\ngone",
            f"http://127.0.0.1:{port}/none": "HTTP 404, text/plain\n\nno"}
    refused = {f"http://127.0.0.1:{port}/binary": "is no text",
               f"http://127.0.0.1:{port}/large": "more than 1048576 bytes",
               f"http://127.0.0.2:{port}/text": "private address", f"http://2130706434:{port}/text": "private address",
               f"http://0:{port}/text": "private address", f"http://[::ffff:127.0.0.1]:{port}/text": "private address",
               f"http://127.0.0.1:{port + 1}/text": "does not name", "http://169.254.169.254/latest": "does not name",
               "file:///etc/passwd": "http", f"http://user:pass@127.0.0.1:{port}/": "user or password"}
    asked = [("http_get", {"url": url}) for url in [*urls, *refused, f"http://127.0.0.1:{port}/long"]]
    with service.client() as client:
        events, end = run(client, [calls(*asked), "Done."], ["http_get"])
    server.shutdown()
    results = {asked[one["call"]][1]["url"]: one for one in of(events, "tool_result")}
    assert len(results) == len(asked) and end["content"] == "Done."
    for url, text in urls.items():
        assert results[url]["content"] == text, url
    for url, text in refused.items():
        assert results[url]["failed"] and text in results[url]["content"], (url, results[url])
    long = results[f"http://127.0.0.1:{port}/long"]
    assert len(long["content"]) == 65536 and long["content_bytes"] > 100_000
    paths = [path for path, _ in Site.seen]
    assert sorted(set(paths)) == ["/binary", "/large", "/long", "/moved", "/none", "/text"] and paths.count("/text") == 1


def test_results_of_a_turn_have_a_bound(make_service, model):
    """Of 64 KiB each, 4 MiB in all: then the model is told to answer."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"
    many = [wanted("http_get", json.dumps({"url": f"http://{host}/long"}), id=f"c{n}") for n in range(32)]
    made = flows.http_chat(model.behave(texts=[{"tool_calls": many}, {"tool_calls": many}, "Enough."]))
    made["agents"][1]["agent"]["tools"] = ["http_get"]
    with make_service(config={"http_get_hosts": host}).client() as client:
        end = client.events_to_end(client.submit(made, "go", watch="all").id, timeout=60)[-1]
    server.shutdown()
    assert end["content"] == "Enough."
    assert [request["body"].get("tool_choice") for request in model.calls()] == [None, None, "none"]


def test_http_get_is_off_unless_hosts_are_named(client):
    events, end = run(client, [calls(("http_get", {"url": "http://127.0.0.1:9/"})), "Off."], ["http_get"])
    [result] = of(events, "tool_result")
    assert result["failed"] and "http_get_hosts does not name 127.0.0.1:9" in result["content"]


def test_cancelling_stops_a_fetch(make_service):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        service = make_service(config={"http_get_hosts": f"127.0.0.1:{port}"})
        with service.client() as client:
            job = client.submit(flow([calls(("http_get", {"url": f"http://127.0.0.1:{port}/"})), "x"], ["http_get"]),
                                "go", watch="all").id
            silent.settimeout(20)
            connection, _ = silent.accept()
            assert connection.recv(1000).startswith(b"GET / HTTP/1.1")
            client.cancel(job)
            assert client.events_to_end(job)[-1]["state"] == "cancelled"
            connection.settimeout(5)
            assert connection.recv(1000) == b""  # it was closed
            connection.close()


def test_a_fork_may_say_something_instead_of_calling(client):
    made = flow([call("calculator", {"expression": "1+1"}), "Two."], ["calculator"])
    job = client.submit(made, "go", watch="all").id
    events = client.events_to_end(job)
    new = wire.make_id()
    seq = [event["kind"] for event in events].index("model_reply") + 1
    client.request("SUBMIT", {"job": new, "user": client.user, "fork_of": job, "fork_seq": seq, "watch": "all",
                              "fork_text": "I know it."}, wire.pack(None))
    again = client.events_to_end(new)
    assert not of(again, "tool_started") and again[-1]["content"] == "I know it."


def test_a_terminal_shows_calls_apart_from_what_is_said(shared, user):
    """A reply that only calls tools has no empty line for its words; behind results the next speaker is set apart."""
    env = {"AUTOBOTS_USER": user}
    shown = cli.run("submit", "-w", ROOT / "client" / "examples" / "tools.yaml", "go", home=shared.dir, env=env).out
    lines = shown.splitlines()
    results = [i for i, line in enumerate(lines) if line.startswith("  now: ")]
    assert len(results) == 1 and lines[results[0] + 1:results[0] + 3] == ["", "assistant → user"], shown
    assert lines[results[0] - 1] and "\n\n\n" not in shown
    shown = cli.run("submit", "-w", ROOT / "client" / "examples" / "delegate.yaml", home=shared.dir, env=env).out
    assert shown.startswith("planner → user\n  script · ") and "\n\n\n" not in shown, shown
