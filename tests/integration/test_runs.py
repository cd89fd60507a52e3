"""A run as a whole: its timeline, its export, and what the listings say about it while it is open."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios

import cli
import flows
import pytest


@pytest.fixture
def bots(shared, user):
    def run(*args, **more):
        more.setdefault("env", {}).setdefault("AUTOBOTS_USER", user)
        return cli.run(*args, home=shared.dir, **more)

    yield run
    shared.assert_alive()


@pytest.fixture
def chat(bots, tmp_path):
    """Runs a chat to its end; returns the job's id."""

    def run(workflow, text="hello"):
        path = tmp_path / "flow.json"
        path.write_text(json.dumps(workflow))
        assert bots("submit", "-w", path, text).code in (0, 4)
        return bots("show", "last", "--json").json()["id"]

    return run


def test_the_timeline_has_a_row_per_agent(bots, chat):
    job = chat(flows.script_chat(["one", "two"], replies=1, delay_ms=200))
    made = bots("show", job, "--timeline", "--json").json()
    rows = {row["agent"]: row for row in made["agents"]}
    assert made["id"] == job and made["state"] == "succeeded" and list(rows) == ["assistant", "user"]
    assert rows["assistant"]["turns"] == 2 and rows["user"]["turns"] >= 1
    spans = rows["assistant"]["spans"]
    assert all(s["kind"] == "model_reply" and made["from_ms"] <= s["from_ms"] <= s["to_ms"] <= made["to_ms"]
               for s in spans)
    assert spans[0]["to_ms"] <= spans[1]["from_ms"] and rows["assistant"]["busy_ms"] >= 300
    [attempt] = made["attempts"]
    assert attempt["ended_by"] == "end" and attempt["worker"]
    text = bots("show", job, "--timeline", env={"COLUMNS": "70"})
    assert text.code == 0 and "###" in text.out and text.out.isascii(), text
    assert max(map(len, text.out.splitlines()[1:4])) == 70


def on_terminal(argv, environment, columns):
    """What a program writes to a terminal that wide."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    process = subprocess.Popen(argv, env=environment, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    text = b""
    try:
        while piece := os.read(leader, 65536):
            text += piece
    except OSError:  # the other side is closed
        pass
    os.close(leader)
    assert process.wait(20) == 0
    return text.decode()


def test_the_timeline_fits_a_terminal(bots, chat, shared, user):
    job = chat(flows.script_chat(["one"], delay_ms=100))
    argv, environment = cli.command("show", job, "--timeline", home=shared.dir,
                                    env={"AUTOBOTS_USER": user, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "TERM": "xterm"})
    lines = on_terminal(argv, environment, 91).splitlines()
    assert "█" in lines[1] and max(map(len, lines[1:3])) == 91, lines


def test_a_timeline_of_a_job_that_waits(bots, chat, model):
    model.behave(texts=["Which one?"])
    job = chat(flows.http_chat(model, replies=3, user={"human_input_mode": "ALWAYS"}))
    made = bots("show", job, "--timeline", "--json").json()
    last = [row for row in made["agents"] if row["agent"] == "user"][0]["spans"][-1]
    assert made["state"] == "waiting" and last["kind"] == "waiting" and last["open"] is True


def test_jobs_shows_what_open_jobs_wait_for_and_have_used(bots, chat, model):
    done = chat(flows.script_chat(["fine"]))
    model.behave(texts=["Which one?"])
    job = chat(flows.http_chat(model, replies=3, user={"human_input_mode": "ALWAYS"}))
    waiting, ended = bots("jobs", "--json").lines()
    assert (waiting["id"], waiting["state"]) == (job, "waiting") and ended["id"] == done
    assert waiting["waiting"]["agent"] == "user" and waiting["waiting"]["prompt"]
    assert waiting["usage_so_far"]["calls"] == 1 and waiting["usage_so_far"]["tokens"] > 0
    assert "usage_so_far" not in ended and "waiting" not in ended
    text = bots("jobs").out
    assert f"user asks: {waiting['waiting']['prompt'][:60]}" in text and "unpriced" in text
    assert f"{waiting['usage_so_far']['tokens']} tokens" in text


def test_watch_says_what_was_used_so_far(bots, chat):
    job = chat(flows.script_chat(["one", "two", "three"], replies=2))
    text = bots("watch", job).out
    assert "so far 2 calls, " in text and "so far 3 calls, " in text and "so far 1 " not in text


def test_export_is_the_whole_run(bots, chat):
    flow = flows.script_chat(["one", "two"], replies=1)
    job = chat(flow, "what is it?")
    run = bots("export", job[:20], "--json").json()
    assert run["format"] == "autobots.run" and run["version"] == 1 and run["exported_at"].endswith("Z")
    assert run["job"]["id"] == job and run["job"]["state"] == "succeeded" and run["job"]["content"] == "what is it?"
    assert run["workflow"]["name"] == flow["name"] and len(run["job"]["hash"]) == 64
    assert [e["seq"] for e in run["events"]] == list(range(1, len(run["events"]) + 1))
    assert run["events"][0]["kind"] == "started" and run["events"][-1]["kind"] == "end"
    watched = bots("watch", job, "--json").lines()
    assert [{k: v for k, v in event.items() if k != "job"} for event in watched] == run["events"]
    assert bots("export", job).json()["events"] == run["events"]


def test_export_of_a_long_run_has_all_its_pages(bots, chat):
    job = chat(flows.script_chat(["x" * 50_000] * 13, replies=12))
    events = bots("export", job).json()["events"]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1)) and events[-1]["kind"] == "end"
    assert sum(e["kind"] == "model_reply" for e in events) == 13


def test_export_of_an_open_job_and_of_none(bots, chat, model):
    model.behave(texts=["Which one?"])
    job = chat(flows.http_chat(model, replies=3, user={"human_input_mode": "ALWAYS"}))
    assert bots("export", job).json()["events"][-1]["kind"] == "waiting"
    assert bots("export", job, env={"AUTOBOTS_USER": "somebody-else"}).code == 1
    assert bots("export", "ffffffff", "--json").json()["error"]["code"] == "not_found"
