"""Real MCP servers of npm over stdio and HTTP, of both eras, and HTTP servers that misbehave, used by agents in jobs."""

import json
import os
import subprocess

import cli
import flows
import mcp_http
import npm
import pytest
from service import ROOT, clean_environment, slow, wait_until

SERVERS = ("@modelcontextprotocol/server-everything@2026.8.31", "@modelcontextprotocol/server-filesystem@2026.8.31",
           "@modelcontextprotocol/server-memory@2026.8.31")
MODERN = ("@modelcontextprotocol/server@2.4.0",)
LIB = ROOT / "tests" / "lib"


def main_of(modules, name):
    return str(modules / "@modelcontextprotocol" / name / "dist" / "index.js")


class Listening:
    """A node program that listens on HTTP, on the loopback only."""

    def __init__(self, folder, name, *argv, modules=None):
        file = folder / f"{name}.port"
        environment = clean_environment({"PORT_FILE": str(file), **({"NODE_PATH": str(modules)} if modules else {})})
        with open(folder / f"{name}.log", "w") as log:
            self.process = subprocess.Popen(["node", "--require", str(LIB / "mcp_loopback.cjs"), *argv], env=environment,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(file.exists, 30 * slow(), f"{name} to listen")
        self.url = f"http://127.0.0.1:{file.read_text()}/mcp"

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def world(short_folder):
    """A service with all of these servers in its worker's configuration."""
    from service import Service
    modules, modern, folder = npm.install("mcp-servers", *SERVERS), npm.install("mcp-modern", *MODERN), short_folder()
    (folder / "files").mkdir()
    (folder / "files" / "hello.txt").write_text("Hello from a file.\n")
    listening = [Listening(folder, "everything", main_of(modules, "server-everything"), "streamableHttp")]
    servers = {
        "everything": {"command": ["node", main_of(modules, "server-everything"), "stdio"]},
        "files": {"command": ["node", main_of(modules, "server-filesystem"), str(folder / "files")]},
        "memory": {"command": ["node", main_of(modules, "server-memory")], "per": "user",
                   "env": {"MEMORY_FILE_PATH": str(folder / "memory.jsonl")}},
        "web": {"url": listening[0].url},
    }
    listening.append(Listening(folder, "modern", str(LIB / "mcp_modern.cjs"), "http", modules=modern))
    servers |= {"modern": {"command": ["node", str(LIB / "mcp_modern.cjs")], "env": {"NODE_PATH": str(modern)}},
                "modernweb": {"url": listening[1].url, "per": "worker"}}
    with mcp_http.Servers() as odd:
        servers |= {kind: {"url": odd.url(kind), "timeout_ms": 5000} for kind in (
            "plain", "lost", "stream", "cut", "garbage", "fails", "huge", "future", "open", "pings")}
        servers["open"]["per"] = "worker"  # it is kept behind the job
        servers |= {"guarded": {"url": odd.url("guarded"), "headers": {"Authorization": "Bearer ${SESAME}"}},
                    "tells": {"url": odd.url("tells"), "headers": {"Authorization": "Bearer ${SESAME}"}},
                    "closed": {"url": odd.url("guarded")}, "absent": {"url": "http://127.0.0.1:9/mcp"},
                    "silent": {"url": odd.url("silent"), "start_ms": 600}}
        service = Service(folder, env={"SESAME": "open sesame, please"}, config={"mcp_servers": servers})
        service.odd = odd
        yield service
        service.stop()
    for one in listening:
        one.stop()


@pytest.fixture
def client(world, user):
    with world.client(user) as one:
        yield one
    world.assert_alive()


def submit(client, server, *pairs, watch="all"):
    script = {"model": "script", "api_type": "script", "script": {"replies": [{"tool_calls": [
        {"name": f"{server}__{name}", "arguments": arguments} for name, arguments in pairs]}, "Done."]}}
    made = flows.chat(script)
    made["agents"][1]["agent"]["tools"] = [{"mcp": server}]
    return client.submit(made, "go", watch=watch).id


def call(client, server, *pairs):
    """Results by tool, and the end."""
    events = client.events_to_end(submit(client, server, *pairs), timeout=60 * slow())
    return {one["tool"].split("__")[1]: one for one in events if one["kind"] == "tool_result"}, events[-1]


@pytest.mark.parametrize("server", ["everything", "web"])
def test_everything(client, server):
    results, end = call(client, server, ("echo", {"message": "Grüße"}), ("get-sum", {"a": 2, "b": 40}), ("get-tiny-image", {}),
                        ("get-structured-content", {"location": "New York"}), ("get-resource-links", {"count": 2}),
                        ("trigger-long-running-operation", {"duration": 1, "steps": 4}))
    assert end["state"] == "succeeded", end
    assert not [one for one in results.values() if one.get("failed")], results
    assert results["echo"]["content"] == "Echo: Grüße" and "42" in results["get-sum"]["content"]
    assert "[image 1, image/png]" in results["get-tiny-image"]["content"]
    assert "[link: " in results["get-resource-links"]["content"]
    assert "completed" in results["trigger-long-running-operation"]["content"]


def test_a_tool_that_needs_what_we_do_not_offer_is_not_there(client):
    results, end = call(client, "everything", ("trigger-sampling-request", {"prompt": "hi"}))
    assert end["state"] == "succeeded" and results["trigger-sampling-request"]["failed"]  # the server itself leaves it out
    assert "there is no tool" in results["trigger-sampling-request"]["content"]


def test_files(client, world):
    results, end = call(client, "files", ("read_text_file", {"path": str(world.folder / "files" / "hello.txt")}),
                        ("write_file", {"path": str(world.folder / "files" / "new.txt"), "content": "made"}),
                        ("read_media_file", {"path": "/etc/passwd"}))
    assert end["state"] == "succeeded", end
    assert results["read_text_file"]["content"].startswith("Hello from a file.")
    assert (world.folder / "files" / "new.txt").read_text() == "made"
    assert results["read_media_file"]["failed"] and "denied" in results["read_media_file"]["content"].lower()


def test_memory(client):
    entity = {"name": "autobots", "entityType": "service", "observations": ["is durable"]}
    call(client, "memory", ("create_entities", {"entities": [entity]}))
    results, _ = call(client, "memory", ("search_nodes", {"query": "durable"}))
    assert "autobots" in results["search_nodes"]["content"]


@pytest.mark.parametrize("server", ["modern", "modernweb"])
def test_the_modern_era(client, server):
    results, end = call(client, server, ("add", {"a": 40, "b": 2, "region": "Köln"}))
    assert end["state"] == "succeeded", end
    assert results["add"]["content"] == "42 in Köln"
    results, _ = call(client, server, ("add", {"a": 40, "b": "two"}))
    assert results["add"]["failed"]


def test_the_example_with_the_example_configuration(short_folder, tmp_path):
    """deploy/mcp.yaml as it is; npx, which would fetch the packages, is a script that starts those that are there."""
    from service import Service
    modules = npm.install("mcp-servers", *SERVERS)
    npx = tmp_path / "npx"
    npx.write_text(f'#!/bin/sh\nname=${{2##*/}}\nshift 2\nexec node {modules}/@modelcontextprotocol/${{name%@*}}/dist/index.js "$@"\n')
    npx.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    service = Service(short_folder(), start=False, env=environment)
    service.flags = ["--config", str(ROOT / "deploy" / "mcp.yaml")]
    service.start_all()
    with service:
        result = cli.run("submit", "-w", ROOT / "client" / "examples" / "mcp.yaml", home=service.dir, env=environment)
        assert result.code == 0 and f"Allowed directories:" in result.out and str(tmp_path) in result.out, result
        listed = cli.run(*service.flags, "mcp", home=service.dir, env=environment)
        assert listed.code == 0 and "files__read_text_file" in listed.out and "memory__search_nodes" in listed.out, listed


# -- HTTP servers that misbehave --------------------------------------------------------------------------------------


def test_a_legacy_session_is_kept_and_ended(client, world):
    results, _ = call(client, "plain", ("say", {}))
    assert results["say"]["content"] == "said over HTTP"
    wait_until(lambda: [1 for message, _ in world.odd.seen("plain") if message == "DELETE"], what="the end of the session")
    seen = {message["method"]: headers for message, headers in world.odd.seen("plain") if message != "DELETE"}
    assert seen["server/discover"]["MCP-Protocol-Version"] == "2026-07-28"
    assert seen["server/discover"]["Mcp-Method"] == "server/discover"
    assert "Mcp-Session-Id" not in seen["initialize"]
    for method in ("notifications/initialized", "tools/list", "tools/call"):
        assert seen[method]["Mcp-Session-Id"].startswith("session-") and seen[method]["MCP-Protocol-Version"] == "2025-06-18"
        assert "Mcp-Method" not in seen[method]


def test_a_lost_session_is_begun_again_and_the_call_made(client, world):
    world.odd.server.sessions = 0
    results, end = call(client, "lost", ("say", {}))
    assert results["say"]["content"] == "said over HTTP" and end["state"] == "succeeded"
    assert [message["method"] for message, _ in world.odd.seen("lost") if "method" in message].count("initialize") == 2


def test_a_stream_with_requests_and_progress(client, world):
    results, _ = call(client, "stream", ("say", {}))
    assert results["say"]["content"] == "said over HTTP"
    wait_until(lambda: any(message.get("id") == "q" and "result" in message for message, _ in world.odd.seen("stream")
                           if message != "DELETE"), what="the answer to the server's ping")


def test_answers_that_a_server_does_not_take_do_not_pile_up(client, world):
    results, _ = call(client, "pings", ("say", {}))
    assert results["say"]["content"] == "said over HTTP"
    assert sum("result" in message for message, _ in world.odd.seen("pings") if message != "DELETE") <= 64


def test_a_stream_that_stays_open_behind_its_answer_is_closed(client, world):
    results, _ = call(client, "open", ("say", {}))
    assert results["say"]["content"] == "said over HTTP"
    wait_until(lambda: "/open" in world.odd.server.closed, what="the end of the stream")


@pytest.mark.parametrize("server, says", [("cut", "ended without a message"), ("garbage", "no JSON"), ("fails", "HTTP 503: try later"),
                                          ("huge", "too long")])
def test_a_call_that_fails_says_why(client, world, server, says):
    results, end = call(client, server, ("say", {}))
    assert results["say"]["failed"] and says in results["say"]["content"] and end["state"] == "succeeded"
    assert world["worker1"].memory("VmHWM") < (200 << 20) * slow()


@pytest.mark.parametrize("server, says", [("future", "2031-01-01"), ("closed", "headers")])
def test_a_server_that_cannot_be_used_fails_the_job(client, server, says):
    end = call(client, server, ("say", {}))[1]
    assert end["state"] == "failed" and says in end["text"], end


@pytest.mark.parametrize("server, says", [("absent", "MCP server absent: "), ("silent", "not ready within 1 s")])
def test_a_server_that_is_away_makes_the_attempt_fail(client, server, says):
    job, event = submit(client, server, ("say", {})), {}
    while event.get("kind") != "attempt_failed":
        event = client.next_event(job, timeout=20 * slow()).body_value()
    assert says in event["text"]
    client.inbox(job, "cancel", "")


def test_a_secret_is_not_shown_in_part_either(client, world):
    end = call(client, "tells", ("say", {}))[1]
    assert end["state"] == "failed" and "xxx***): see `headers`" in end["text"], end["text"]
    assert not world.files_holding("open sesam")


def test_a_secret_of_the_environment_goes_into_a_header_and_nowhere_else(client, world):
    results, _ = call(client, "guarded", ("say", {}))
    assert results["say"]["content"] == "said over HTTP"
    assert not world.files_holding("open sesame, please")
    assert json.dumps([headers for _, headers in world.odd.seen("guarded")]).count("Bearer open sesame, please") >= 4
