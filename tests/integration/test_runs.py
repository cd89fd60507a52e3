"""A run as a whole: its timeline, its export, and what the listings say about it while it is open."""

import fcntl
import hashlib
import json
import os
import pty
import struct
import subprocess
import termios

import autobots_wire as wire
import cli
import code
import flows
import pytest
from service import Service


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

    def run(workflow, text="hello", codes=(0, 4)):
        path = tmp_path / "flow.json"
        path.write_text(json.dumps(workflow))
        assert bots("submit", "-w", path, text).code in codes
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


def speakers(*texts):
    """A group chat whose moderator's model says these when it is asked who speaks."""
    def llm(*texts):
        return {"config_list": [flows.script(list(texts), repeat="loop")]}

    members = [{"name": name, "type": "assistant", "config": {"llm_config": llm(f"I am the {name}.")}}
               for name in ("writer", "critic")]
    group = {"name": "panel", "type": "groupchat", "agents": members,
             "config": {"admin_name": "moderator", "max_round": 2, "speaker_selection_method": "auto",
                        "llm_config": llm(*texts)}}
    return {"name": "choice", "type": "groupchat", "sender": {"name": "user", "type": "userproxy", "config": {}},
            "receiver": group}


def test_watch_tells_who_chose_whom_and_why(bots, chat):
    job = chat(speakers("critic, I think", "hm", "one of them", "whoever likes to"))
    text = bots("watch", job).out
    assert "moderator chooses who speaks: critic, I think" in text
    assert "moderator chooses who speaks: hm" in text
    assert "moderator chooses who speaks, asked again as nobody was named alone: one of them" in text
    assert "nobody was named alone: writer is next in the list" in text, text
    made = bots("show", job, "--timeline", "--json").json()
    assert {row["agent"]: row["turns"] for row in made["agents"]} == {"moderator": 0, "critic": 1, "writer": 1}
    assert [len(row["spans"]) for row in made["agents"] if row["agent"] == "moderator"] == [4]


def test_watch_tells_how_often_a_call_was_tried(bots, chat, model):
    model.behave(fail={"status": 503, "times": 2})
    job = chat(flows.http_chat(model))
    assert " · 3 tries" in bots("watch", job).out


@pytest.mark.parametrize("kind", ["autonomous", "in a sequence"])
def test_the_timeline_shows_who_worked_at_the_same_time(bots, chat, kind):
    def one(name, delay_ms):
        return {"name": name, "type": "assistant", "config": {
            "llm_config": {"config_list": [flows.script([f"{name} is done"], delay_ms=delay_ms)]}}}

    if kind == "autonomous":
        flow = {"name": "all", "type": "autonomous", "sender": {"name": "user", "type": "userproxy", "config": {
            "max_consecutive_auto_reply": 0}}, "receiver": [one(n, 400) for n in ("ann", "bob", "cid")]}
    else:
        flow = {"name": "chain", "type": "sequential", "agents": [
            {"agent": {"name": "user", "type": "userproxy", "config": {"max_consecutive_auto_reply": 0}},
             "link": {"agent_type": "sender"}},
            *({"agent": one(n, 200), "link": {"agent_type": "receiver"}} for n in ("ann", "bob", "cid"))]}
    job = chat(flow)
    made = bots("show", job, "--timeline", "--json").json()
    spans = {row["agent"]: [s for s in row["spans"] if s["kind"] == "model_reply"] for row in made["agents"]}
    firsts = [spans[name][0] for name in ("ann", "bob", "cid")]
    latest_start, earliest_end = max(s["from_ms"] for s in firsts), min(s["to_ms"] for s in firsts)
    assert (latest_start < earliest_end) == (kind == "autonomous"), firsts
    assert all(len(spans[name]) == 1 for name in ("ann", "bob", "cid"))
    assert len({s["step"] for s in firsts}) == 3
    drawn = bots("show", job, "--timeline", env={"COLUMNS": "80"}).out.splitlines()
    columns = {line.split()[0]: {i for i, c in enumerate(line) if c == "#"} for line in drawn if "#" in line[:60]}
    together = columns["ann"] & columns["bob"] & columns["cid"]
    assert bool(together) == (kind == "autonomous"), drawn


def test_export_is_the_whole_run(bots, chat):
    flow = flows.script_chat(["one", "two"], replies=1)
    job = chat(flow, "what is it?")
    run = bots("export", job[:20], "--json").json()
    assert run["format"] == "autobots.run" and run["version"] == 2 and run["exported_at"].endswith("Z")
    assert run["job"]["id"] == job and run["job"]["state"] == "succeeded" and run["job"]["content"] == "what is it?"
    assert run["workflow"]["name"] == flow["name"] and len(run["job"]["hash"]) == 64
    assert [e["seq"] for e in run["events"]] == list(range(1, len(run["events"]) + 1))
    assert run["events"][0]["kind"] == "started" and run["events"][-1]["kind"] == "end"
    watched = bots("watch", job, "--json").lines()
    assert [{k: v for k, v in event.items() if k != "job"} for event in watched] == run["events"]
    assert bots("export", job).json()["events"] == run["events"]
    unpacker = wire.msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(bytes.fromhex(run["exact"]["journal"]))
    assert [{"seq": seq, **event} for seq, event in enumerate(unpacker, 1)] == run["events"]
    assert wire.unpack(bytes.fromhex(run["exact"]["input"]))["content"] == "what is it?"
    assert json.loads(run["exact"]["workflow"]) == run["workflow"]
    assert wire.workflow_hash(run["exact"]["workflow"]).hex() == run["job"]["hash"]


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


# -- import -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def elsewhere(short_folder):
    """Another service, with nothing in it."""
    with Service(short_folder(), workers=1) as service:
        yield service


@pytest.fixture
def there(elsewhere, user):
    def run(*args, **more):
        return cli.run(*args, home=elsewhere.dir, env={"AUTOBOTS_USER": user}, **more)

    yield run
    elsewhere.assert_alive()


@pytest.fixture
def exported(bots, tmp_path):
    def export(job, change=None, name="run.json"):
        run = bots("export", job).json()
        if change:
            change(run)
        (tmp_path / name).write_text(json.dumps(run))
        return tmp_path / name

    return export


def checksum(run):
    """As the format says it."""
    rest = {key: value for key, value in run.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def test_a_run_is_the_same_in_another_service(bots, chat, exported, there):
    job = chat(flows.script_chat(["größer", "two \u0001"], replies=1), "what is it?")
    path = exported(job)
    done = there("import", path)
    assert done.code == 0 and done.out == f"{job}: imported, succeeded, {len(bots('watch', job, '--json').lines())} events\n"
    here, now = bots("export", job).json(), there("export", job).json()
    assert now["exact"] == here["exact"] and now["events"] == here["events"] and now["workflow"] == here["workflow"]
    mine, theirs = here["job"], now["job"]
    assert theirs.pop("imported_ms") and "session" not in theirs
    assert {**theirs, "n": 0} == {**{k: v for k, v in mine.items() if k != "session"}, "n": 0}
    for verb in (["show"], ["show", "--timeline"], ["watch"]):
        a, b = bots(*verb, job, "--json"), there(*verb, job, "--json")
        assert b.code == 0, b
        if verb != ["show"]:
            assert a.out == b.out
    assert there("jobs", "--json").lines()[0]["id"] == job
    again = there("import", path, "--json")
    assert again.code == 0 and again.json()["created"] is False and len(there("jobs", "--json").lines()) == 1
    assert bots("import", path).out.startswith(f"{job}: there already"), "in its own service too"


def test_an_imported_run_goes_into_a_session_if_one_is_named(chat, exported, there):
    job = chat(flows.script_chat(["an answer"]), "a question")
    assert there("import", exported(job), "-s", "archive").code == 0
    assert [(m["role"], m["content"]) for m in there("messages", "archive", "--json").lines()] == [
        ("user", "a question"), ("assistant", "an answer")]
    assert there("sessions", "delete", "archive").code == 0
    assert there("show", job).code == 1


def test_an_imported_run_can_be_forked(chat, exported, there):
    """Nothing here is left of the service it ran in but its journal."""
    job = chat(flows.script_chat(["one", "two", "three"], replies=2), "a question")
    assert there("import", exported(job)).code == 0
    events = there("export", job).json()["events"]
    first = next(e["seq"] for e in events if e["kind"] == "model_reply")
    forked = there("fork", job, "--at", str(first), "--json")
    assert forked.code == 0, forked
    assert forked.lines()[-1]["content"] == "three"
    replies = [e["content"] for e in forked.lines() if e["kind"] == "model_reply"]
    assert replies == ["one", "two", "three"]


def test_an_imported_fork_says_what_it_is_a_fork_of(bots, chat, exported, there):
    job = chat(flows.script_chat(["one", "two", "three"], replies=2), "a question")
    for seq in (4, 3):  # a fork of a fork is one of the last
        bots("fork", job, "--at", str(seq))
        source, job = job, bots("jobs", "--json").lines()[0]["id"]
    assert there("import", exported(job)).code == 0
    shown = there("show", job, "--json").json()
    assert (shown["fork_of"], shown["fork_seq"]) == (source, 3)
    assert {**shown, "n": 0, "session": 0} == {**bots("show", job, "--json").json(), "n": 0, "session": 0}


def test_of_files_the_export_has_the_names_only_and_says_so(shared, bots, exported, there, user):
    with shared.client(user) as client:
        code.run(client, code.block("open('a.txt','w').write('made')"))
    said = bots("export", "last")
    assert said.code == 0 and "files get" in said.err
    job = said.json()["job"]["id"]
    assert there("import", exported(job)).code == 0
    assert there("files", job).out == bots("files", job).out
    missing = there("files", "get", job, "a.txt")
    assert missing.code == 1 and "its job was imported" in missing.err


def test_an_export_with_files_brings_their_contents_along(shared, bots, there, user, tmp_path):
    maker = ("import os, random\nr = random.Random(3)\nopen('big','wb').write(r.randbytes(1200000))\nopen('16','wb').write(bytes(range(16)))\n"
             "open('empty','w')\nos.mkdir('d')\nopen('d/same','wb').write(bytes(range(16)))")
    with shared.client(user) as client:
        code.run(client, code.block(maker))
    said = bots("export", "last", "--files")
    assert said.code == 0 and not said.err and len(said.json()["contents"]) == 3, "each content once"
    (tmp_path / "run.json").write_text(said.out)
    for created in (True, False):
        assert there("import", tmp_path / "run.json", "--json").json()["created"] is created
    job = said.json()["job"]["id"]
    for path in ("big", "16", "empty", "d/same"):
        for one, name in ((bots, "a"), (there, "b")):
            assert one("files", "get", job, path, "-o", tmp_path / f"{name}-{path.replace('/', '-')}").code == 0
        assert (tmp_path / f"a-{path.replace('/', '-')}").read_bytes() == (tmp_path / f"b-{path.replace('/', '-')}").read_bytes()
    run = json.loads(said.out)
    run["contents"][next(iter(run["contents"]))] = "AAAA"
    run["checksum"] = checksum(run)
    (tmp_path / "other.json").write_text(json.dumps(run))
    refused = there("import", tmp_path / "other.json")
    assert refused.code == 1 and "does not have this hash" in refused.err


def test_storage_takes_files_of_imported_runs_only_and_what_they_say(shared, bots, there, elsewhere, user, tmp_path):
    with shared.client(user) as client:
        code.run(client, code.block("open('a','w').write('made')"))
        run = bots("export", "last", "--files").json()
        job, (digest, *_) = wire.id_bytes(run["job"]["id"]), [f["hash"] for f in run["events"][-1]["result"]["files"] if f["path"] == "a"]
        with pytest.raises(wire.Failure) as refused:
            client.storage.ask("put_run_file", job=job, hash=digest, data=b"made")
        assert refused.value.code == "conflict"
    del run["contents"]
    run["checksum"] = checksum(run)
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert there("import", tmp_path / "run.json").code == 0
    with elsewhere.client(user) as client:
        def put(**more):
            return client.storage.ask("put_run_file", **{"job": job, "hash": digest, "data": b"made", **more})
        for change, path in (({"data": b"fake"}, "data"), ({"data": b"mad"}, "data"), ({"at": 524288}, "data"), ({"hash": "0" * 64}, "hash"),
                             ({"user": "eve"}, "job"), ({"hash": "x"}, "hash")):
            with pytest.raises(wire.Failure) as refused:
                put(**change)
            assert refused.value.path in (path, ""), (change, refused.value)
        assert put() == put() == {}
    assert there("files", "get", run["job"]["id"], "a").out == "made"


def test_a_failed_run_is_imported_as_failed(chat, exported, there):
    flow = flows.script_chat(["one"], replies=2)
    flow["agents"][1]["agent"]["config"]["llm_config"]["config_list"][0]["script"]["repeat"] = "error"
    job = chat(flow, codes=[1])
    assert there("import", exported(job), "--json").json()["state"] == "failed"
    assert there("watch", job).code == 1


@pytest.mark.parametrize("change,word", [
    (lambda run: run["events"][1].update(at_ms=1), "checksum"),
    (lambda run: run["exact"].update(journal=run["exact"]["journal"][:-2]), "checksum"),
    (lambda run: run.update(version=3), "version 3"),
    (lambda run: run.update(version=1), "version 1"),
    (lambda run: run.update(format="other"), "no exported run"),
    (lambda run: run.pop("checksum"), "checksum"),
], ids=["an event changed", "bytes cut", "newer", "older", "other format", "no checksum"])
def test_a_file_that_is_not_what_was_exported_is_refused(chat, exported, there, change, word):
    job = chat(flows.script_chat(["fine"]))
    refused = there("import", exported(job, change))
    assert refused.code == 1 and word in refused.err, refused
    assert there("show", job).code == 1


def damage(key, value):
    """With a checksum that fits: what storage itself must find."""
    def change(run):
        run["exact"][key] = value(run["exact"][key])
        run["checksum"] = checksum(run)
    return change


@pytest.mark.parametrize("change,path", [
    (damage("journal", lambda hex: hex[:-2]), "events"),
    (damage("journal", lambda hex: hex + hex), "events"),
    (damage("journal", lambda hex: hex.replace(b"end".hex(), b"ond".hex())), "events"),
    (damage("journal", lambda hex: hex.replace(b"succeeded".hex(), b"succumbed".hex())), "events"),
    (damage("journal", lambda hex: ""), "events"),
    (damage("input", lambda hex: "c0"), "input"),
    (damage("workflow", lambda text: text + " "), "hash"),
], ids=["cut", "twice", "other kind", "other state", "empty", "no input", "other workflow"])
def test_storage_takes_no_run_that_does_not_fit_together(chat, exported, there, change, path):
    job = chat(flows.script_chat(["fine"]))
    refused = there("import", exported(job, change), "--json")
    assert refused.code == 1 and refused.json()["error"]["code"] == "invalid", refused
    assert refused.json()["error"]["path"] in (path, ""), refused
    assert there("show", job).code == 1


def test_a_run_that_has_not_ended_is_not_imported(chat, exported, there, model):
    model.behave(texts=["Which one?"])
    job = chat(flows.http_chat(model, replies=3, user={"human_input_mode": "ALWAYS"}))
    refused = there("import", exported(job))
    assert refused.code == 1 and "had not ended" in refused.err and "waiting" in refused.err


def test_an_id_that_another_run_has_is_a_conflict(chat, exported, there, elsewhere):
    job = chat(flows.script_chat(["fine"]))
    path = exported(job)
    assert there("import", path).code == 0
    other = cli.run("import", path, "--json", home=elsewhere.dir, env={"AUTOBOTS_USER": "somebody-else"})
    assert other.code == 1 and other.json()["error"]["code"] == "conflict"


def test_what_is_neither_a_run_nor_a_database_is_told(there, tmp_path):
    (tmp_path / "odd").write_text("{ not json")
    odd = there("import", tmp_path / "odd")
    assert odd.code == 1 and "odd:1" in odd.err and "damaged" in odd.err
    (tmp_path / "odd").write_text("neither")
    assert there("import", tmp_path / "odd").code in (1, 2)
    assert there("import", tmp_path / "nothing").code == 2
