"""Approved tools of MCP servers, and the verbs that list and approve them."""

import json

import cli
import flows
import pytest
from service import ROOT, slow
from test_mcp import calls, flow, of, program


@pytest.fixture
def make(make_service, tmp_path):
    """A service whose server's first tool, `say`, says something else of itself from its second start on."""
    def start(pin=None, **more):
        given = {"pin": pin} if pin else {}
        service = make_service(config={"mcp_servers": {"s": program("list=changing", f"file={tmp_path}/starts", **given),
                                                       **more}})
        return service
    return start


def run(client, *names, server="s", allow=None):
    entry = {"mcp": server, **({"allow": allow} if allow else {})}
    made = flow([calls(*names, server=server), "Done."], [entry])
    events = client.events_to_end(client.submit(made, "go", watch="all").id, timeout=30 * slow())
    return {one["tool"].split("__")[1]: one for one in of(events, "tool_result")}, events[-1]


def autobots(service, *args):
    return cli.run(*service.flags, *args, home=service.dir)


def test_a_tool_that_changes_is_not_used_any_more_until_it_is_approved(make):
    service = make()
    with service.client() as client:
        results, end = run(client, "say", "key")
        assert not results["say"].get("failed") and end["state"] == "succeeded"
        results, end = run(client, "say", "key", "newcomer")
        assert "no tool" in results["say"]["content"] and not results["key"].get("failed") and not results["newcomer"].get("failed")
        assert "it has changed since this worker first saw it" in service["worker1"].log()
        end = run(client, "say", allow=["say"])[1]
        assert end["state"] == "failed" and "its tool say is not used" in end["text"] and "autobots mcp pin s" in end["text"]
        done = autobots(service, "mcp", "pin")
        assert done.code == 0 and "s: new say" in done.out, done
        results, end = run(client, "say", allow=["say"])
        assert end["state"] == "succeeded" and not results["say"].get("failed")


def test_only_approved_tools_of_a_strict_server_are_used(make):
    service = make("strict")
    with service.client() as client:
        end = run(client, "say", allow=["say"])[1]
        assert end["state"] == "failed" and "no tools of it are approved" in end["text"]
        assert autobots(service, "mcp", "pin", "s").code == 0  # as they are now, at the second start
        pins = json.loads((service.dir / "mcp-pins.json").read_text())
        assert {"say", "newcomer", "key"} <= set(pins["s"]) and all(len(digest) == 64 for digest in pins["s"].values())
        assert not run(client, "say", "newcomer")[0]["say"].get("failed")
        del pins["s"]["newcomer"]
        pins["s"]["say"] = "0" * 64
        (service.dir / "mcp-pins.json").write_text(json.dumps(pins))
        results, _ = run(client, "say", "newcomer", "key")
        assert "no tool" in results["say"]["content"] and "no tool" in results["newcomer"]["content"]
        assert not results["key"].get("failed")
        listed = autobots(service, "mcp", "list", "s")
        assert "not used: it has changed since it was approved" in listed.out and "not among" in listed.out
        (service.dir / "mcp-pins.json").write_text("{broken")
        end = run(client, "say")[1]
        assert end["state"] == "failed" and "no file of pins" in end["text"]


def test_a_server_whose_changes_are_only_reported(make):
    service = make("report")
    with service.client() as client:
        run(client, "say")
        results, _ = run(client, "say")
        assert not results["say"].get("failed")
        assert "event=mcp.tool_changed" in service["worker1"].log() or "mcp.tool_changed" in service["worker1"].log()


@pytest.mark.parametrize("entry", [{}, {"allow": ["changes", "works_slowly", "say"]}], ids=["all", "allowed"])
def test_a_change_while_a_job_runs_is_heard(make, entry):
    service = make(live=program("x=1"))
    with service.client() as client:
        made = flow([calls("changes", server="live"), calls(("works_slowly", {"steps": 8, "step_s": 0.1}), server="live"),
                     calls("say", server="live"), "Done."], [{"mcp": "live", **entry}])
        events = client.events_to_end(client.submit(made, "go", watch="all").id, timeout=30 * slow())
        results = {one["tool"].split("__")[1]: one for one in of(events, "tool_result")}
        assert results["changes"]["content"] == "changed" and results["works_slowly"]["content"] == "done"
        assert results["say"]["failed"] and events[-1]["state"] == "succeeded"


def test_listing(make):
    service = make(dead={"command": ["/nonexistent"]}, odd=program("list=odd"))
    listed = autobots(service, "mcp")
    assert listed.code == 1 and "s__say" in listed.out and "dead: no answer" in listed.out and "cannot start" in listed.out
    assert "no_schema: its inputSchema is not that of an object" in listed.out
    one = autobots(service, "mcp", "list", "s", "--json")
    [server] = one.lines()
    assert one.code == 0 and server["ok"] and server["revision"] == "2025-11-25"
    assert {"name", "called", "description", "parameters", "idempotent", "digest", "ok"} <= set(server["tools"][0])
    wrong = autobots(service, "mcp", "list", "nowhere")
    assert wrong.code == 2 and "no MCP server nowhere" in wrong.err
    checked = autobots(service, "doctor")
    assert "s answers, " in checked.out and "MCP server dead" in checked.out
    pinned = autobots(service, "mcp", "pin")
    assert pinned.code == 1 and "dead" in pinned.err and (service.dir / "mcp-pins.json").exists()


def test_nothing_is_configured(shared):
    assert "no MCP servers are configured" in cli.run("mcp", home=shared.dir).out
    assert cli.run("mcp", "pin", home=shared.dir).code == 2


@pytest.mark.parametrize("servers, says", [
    ([], "must be a mapping"), ({"a b": {"command": ["x"]}}, "no name of a server"), ({"a__b": {"url": "http://x"}}, "no name"),
    ({"a": {}}, "either command or url"), ({"a": {"command": ["x"], "url": "http://x"}}, "either command or url"),
    ({"a": {"command": "x"}}, "must be a list"), ({"a": {"command": [""]}}, "begin with a program"),
    ({"a": {"command": ["x"], "headers": {}}}, "belongs to a server with `url`"),
    ({"a": {"url": "http://x", "env": {}}}, "belongs to a server with `command`"),
    ({"a": {"url": "ftp://x"}}, "http:// or https://"), ({"a": {"url": "http://me:secret@x/"}}, "user or password"),
    ({"a": {"url": "http://x", "headers": {"Authorization": "Bearer abc"}}}, "a secret does not belong"),
    ({"a": {"command": ["x"], "env": {"API_KEY": "abc"}}}, "a secret does not belong"),
    ({"a": {"url": "http://x", "headers": {"A": "b\r\nC: d"}}}, "on one line"), ({"a": {"command": ["x"], "comand": 1}}, "command"),
    ({"a": {"command": ["x"], "per": "session"}}, "job, user or worker"), ({"a": {"command": ["x"], "pin": "never"}}, "strict"),
    ({"a": {"command": ["x"], "timeout_ms": "10s"}}, "milliseconds"), ({"a": {"command": ["x"], "cwd": "tmp"}}, "absolute"),
    ({"a": {"command": ["x"], "timeout_ms": 5000, "timeout_max_ms": 1000}}, "below its timeout_ms"),
])
def test_faults_of_the_configuration_are_told(tmp_path, servers, says):
    file = tmp_path / "autobots.yaml"
    file.write_text(json.dumps({"mcp_servers": servers}))
    result = cli.run("--config", file, "config", home=tmp_path)
    assert result.code == 2 and says in result.err and "mcp_servers" in result.err, result
