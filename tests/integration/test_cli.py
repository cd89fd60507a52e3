"""Every verb of `autobots` as a person uses it: what it prints, its JSON, its exit code."""

import json
import os
import pathlib
import re
import signal
import time

import cli
import flows
import pytest
from service import ROOT, processes, slow, wait_until

EXAMPLES = ROOT / "client" / "examples"
ID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


@pytest.fixture
def bots(shared, user):
    """Runs a verb as this test's user on the shared service."""

    def run(*args, **more):
        more.setdefault("env", {}).setdefault("AUTOBOTS_USER", user)
        return cli.run(*args, home=shared.dir, **more)

    yield run
    shared.assert_alive()


@pytest.fixture
def flow_file(tmp_path):
    """Writes a workflow; returns its path."""

    def write(workflow, name="flow.json"):
        path = tmp_path / name
        path.write_text(workflow if isinstance(workflow, str) else json.dumps(workflow))
        return str(path)

    return write


def detached(bots, flow_file, workflow, text="hello"):
    result = bots("submit", "-w", flow_file(workflow), "--detach", text)
    assert result.code == 0, result
    job = result.out.strip()
    assert ID.match(job), result
    return job


# -- submit and watch -------------------------------------------------------------------------------------------------


def test_submit_streams_the_turns_and_ends_with_0(bots, flow_file):
    result = bots("submit", "-w", flow_file(flows.script_chat(["Ahoy there."])), "hello", "you")
    assert result.code == 0, result
    assert "Ahoy there." in result.out and "assistant" in result.out
    assert "unpriced" in result.out and "offline" in result.out
    assert "\x1b" not in result.out, "colours without a terminal"


def test_submit_json_is_one_event_per_line_and_the_last_has_the_result(bots, flow_file):
    result = bots("submit", "-w", flow_file(flows.script_chat(["a", "b"], replies=1)), "--json", "x")
    assert result.code == 0, result
    events = result.lines()
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert events[0]["kind"] == "started" and events[-1]["kind"] == "end"
    assert events[-1]["state"] == "succeeded" and events[-1]["content"] == "b" and events[-1]["result"]["messages"]


def test_submit_reads_standard_input(bots, flow_file, model):
    result = bots("submit", "-w", flow_file(flows.http_chat(model)), "-", input="from äöü stdin\nsecond line\n")
    assert result.code == 0, result
    assert model.calls()[0]["body"]["messages"][-1]["content"].rstrip("\n") == "from äöü stdin\nsecond line"


@pytest.mark.parametrize("text,code", [(b"a\0b", "invalid"), (b"a\xff\xfeb", "invalid")], ids=["nul", "no utf-8"])
def test_submit_refuses_standard_input_that_is_no_text(bots, flow_file, text, code):
    result = bots("submit", "-w", flow_file(flows.script_chat(["x"])), "--json", "-", input=text)
    assert result.code == 1 and result.json()["error"]["code"] == code, result
    assert bots("jobs", "--json").lines() == []


def test_submit_says_when_standard_input_cannot_be_read(shared, user, flow_file, tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    process = cli.start("submit", "-w", flow_file(flows.script_chat(["x"])), "-", home=shared.dir, stdin=folder,
                        env={"AUTOBOTS_USER": user})
    _, err = process.communicate(timeout=20)
    os.close(folder)
    assert process.returncode in (1, 2) and "standard input" in err


def test_control_characters_of_a_model_do_not_reach_the_terminal(bots, flow_file):
    evil = "\x1b[31mred\x1b[0m \x07 \x9b31m bell"
    result = bots("submit", "-w", flow_file(flows.script_chat([evil])), "x")
    assert result.code == 0 and "red" in result.out
    assert not any(c in result.out for c in "\x1b\x07\x9b")


def test_without_a_workflow_and_a_model_it_says_what_to_set(bots):
    result = bots("submit", "hello")
    assert result.code in (1, 2), result
    assert "MODEL" in result.err + result.out or "model" in result.err + result.out


def test_a_failed_job_is_exit_code_1(bots, flow_file, model):
    model.behave(fail={"status": 400, "error": {"message": "refused for the test"}})
    result = bots("submit", "-w", flow_file(flows.http_chat(model)), "x")
    assert result.code == 1 and "refused for the test" in result.out + result.err


def test_a_job_that_waits_for_a_person_is_exit_code_4_and_input_answers_it(bots, flow_file, model):
    model.behave(texts=["Which one?", "Thanks."])
    flow = flow_file(flows.http_chat(model, replies=3, user={"human_input_mode": "ALWAYS"}))
    result = bots("submit", "-w", flow, "pick")
    assert result.code == 4, result
    assert "Which one?" in result.out and "autobots input" in result.err
    job = bots("jobs", "--state", "waiting", "--json").lines()[0]["id"]
    assert bots("input", job, "the", "red", "one").code == 0
    result = bots("watch", job)
    assert result.code == 4 and "Thanks." in result.out, result
    assert bots("input", job, "exit").code == 0
    assert bots("watch", job).code == 0


def test_ctrl_c_detaches_and_says_how_to_go_on(shared, bots, flow_file, model, user):
    model.behave(stall="headers")
    process = cli.start("submit", "-w", flow_file(flows.http_chat(model)), "x", home=shared.dir,
                        env={"AUTOBOTS_USER": user})
    wait_until(model.calls, what="the call is made")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, (out, err)
    assert "autobots watch" in out + err and "autobots cancel" in out + err
    job = bots("show", "last", "--json").json()
    assert job["state"] == "running"
    assert bots("cancel", job["id"]).code == 0
    result = bots("watch", job["id"])
    assert result.code == 1 and "cancelled" in result.out + result.err


def test_watch_takes_up_after_a_seq(bots, flow_file):
    job = detached(bots, flow_file, flows.script_chat(["one", "two", "three"], replies=2))
    whole = bots("watch", job, "--json").lines()
    part = bots("watch", job[:13], "--after", 3, "--json").lines()
    assert part == whole[3:] and whole[-1]["kind"] == "end"


def test_two_submits_with_a_session_share_it(bots, flow_file):
    flow = flow_file(flows.script_chat(["yes"]))
    assert bots("submit", "-w", flow, "-s", "holiday", "first").code == 0
    assert bots("submit", "-w", flow, "-s", "holiday", "second").code == 0
    messages = bots("messages", "holiday", "--json").lines()
    assert [m["content"] for m in messages] == ["first", "yes", "second", "yes"]


def test_a_task_of_the_workflow_needs_no_text(bots):
    result = bots("submit", "-w", EXAMPLES / "hello.yaml")
    assert result.code == 0 and "Hello!" in result.out, result


# -- jobs, show, cancel ------------------------------------------------------------------------------------------------


def test_show_json_is_one_object(bots, flow_file):
    job = detached(bots, flow_file, flows.script_chat(["done"]))
    bots("watch", job)
    shown = bots("show", job, "--json").json()
    assert {"id", "state", "attempt", "result", "error"} <= set(shown)
    assert shown["id"] == job and shown["state"] == "succeeded" and shown["attempt"] == 1 and shown["error"] is None
    assert shown["result"]["messages"]
    text = bots("show", job)
    assert text.code == 0 and job in text.out and "succeeded" in text.out


@pytest.mark.parametrize("name", ["prefix", "last", "full"])
def test_a_job_is_named_by_prefix_or_last(bots, flow_file, name):
    job = detached(bots, flow_file, flows.script_chat(["done"]))
    word = {"prefix": job[:20], "last": "last", "full": job}[name]
    assert bots("show", word, "--json").json()["id"] == job


def test_an_unknown_job_is_exit_code_1(bots):
    for verb in (["show", "ffffffff"], ["watch", "00000000-0000-7000-8000-000000000000"], ["cancel", "last"]):
        result = bots(*verb)
        assert result.code == 1 and result.err.strip(), (verb, result)
        answer = bots(*verb, "--json")
        assert answer.code == 1 and answer.json()["error"]["code"] == "not_found", (verb, answer)


def test_show_of_a_failed_job_has_the_error(bots, flow_file, model):
    model.behave(fail={"status": 400, "error": {"message": "not like this"}})
    bots("submit", "-w", flow_file(flows.http_chat(model)), "x")
    shown = bots("show", "last", "--json").json()
    assert shown["state"] == "failed" and shown["error"]["code"] == "model"
    assert "not like this" in shown["error"]["text"]


def test_jobs_lists_newest_first_by_state_and_time(bots, flow_file, model):
    model.behave(stall="headers")
    first = detached(bots, flow_file, flows.script_chat(["x"]))
    bots("watch", first)
    second = detached(bots, flow_file, flows.http_chat(model))
    assert [j["id"] for j in bots("jobs", "--json").lines()] == [second, first]
    assert [j["id"] for j in bots("jobs", "--state", "succeeded", "--json").lines()] == [first]
    assert [j["id"] for j in bots("jobs", "--state", "open", "--json").lines()] == [second]
    assert [j["id"] for j in bots("jobs", "--since", "1h", "--json").lines()] == [second, first]
    assert bots("jobs", "--since", "2000-01-01", "-n", 1, "--json").lines()[0]["id"] == second
    assert first in bots("jobs").out
    assert bots("cancel", second, "--json").json()["id"] == second
    assert bots("watch", second).code == 1


@pytest.mark.parametrize("args", [["status"], ["watch", "last"], ["show", "last"]], ids=lambda args: args[0])
def test_verbs_that_ask_broker_and_storage_answer_at_once(bots, flow_file, args):
    bots("watch", detached(bots, flow_file, flows.script_chat(["x"])))
    began = time.monotonic()
    assert bots(*args).code == 0
    assert time.monotonic() - began < 0.9 * slow(), "something waited for a whole second"


def test_cancel_of_an_ended_job_says_so(bots, flow_file):
    job = detached(bots, flow_file, flows.script_chat(["x"]))
    bots("watch", job)
    result = bots("cancel", job, "--json")
    assert result.code == 1 and result.json()["error"]["code"] == "already_ended"


def test_a_deadline_is_exit_code_1(bots, flow_file, model):
    model.behave(stall="headers")
    result = bots("submit", "-w", flow_file(flows.http_chat(model)), "--deadline", "1s", "x")
    assert result.code == 1 and "expired" in result.out + result.err


# -- sessions, messages, gallery --------------------------------------------------------------------------------------


def test_sessions_from_making_to_deleting(bots, flow_file):
    made = bots("sessions", "create", "trip", "--name", "The trip", "-w", flow_file(flows.script_chat(["x"])))
    assert made.code == 0 and "trip" in made.out, made
    other = bots("sessions", "create").out.strip()
    assert ID.match(other)
    assert [s["session_id"] for s in bots("sessions", "--json").lines()] == ["trip", other]
    assert bots("sessions", "rename", "trip", "A better name").code == 0
    shown = bots("sessions", "show", "trip", "--json").json()
    assert shown["name"] == "A better name" and shown["flow_config"]["name"]
    assert "A better name" in bots("sessions", "list").out
    assert bots("sessions", "delete", other).code == 0
    assert [s["session_id"] for s in bots("sessions", "--json").lines()] == ["trip"]
    assert bots("sessions", "show", other).code == 1


def test_messages_can_be_deleted_and_cleared(bots, flow_file):
    bots("submit", "-w", flow_file(flows.script_chat(["answer"])), "-s", "m", "question")
    messages = bots("messages", "list", "m", "--json").lines()
    assert [m["role"] for m in messages] == ["user", "assistant"]
    assert "question" in bots("messages", "m").out
    assert bots("messages", "delete", messages[0]["msg_id"], "m").code == 0
    assert [m["content"] for m in bots("messages", "m", "--json").lines()] == ["answer"]
    assert bots("messages", "clear", "m").code == 0
    assert bots("messages", "m", "--json").lines() == []
    assert bots("sessions", "clear", "m").code == 0


def test_search_finds_what_was_said(bots, flow_file, user):
    flow = flow_file(flows.script_chat(["who knows"]))
    assert bots("submit", "-w", flow, "-s", f"s-{user}", "where", "did", "the", "heron", "nest?").code == 0
    assert bots("submit", "-w", flow, "-s", f"o-{user}", "a nest and a heron").code == 0
    found = wait_until(lambda: (lambda hits: hits if len(hits) == 2 else None)(bots("search", "heron", "nest", "--json").lines()))
    assert {hit["session_id"] for hit in found} == {f"s-{user}", f"o-{user}"}
    assert [hit["session_id"] for hit in bots("search", "the heron", "where", "--json").lines()] == [f"s-{user}"], "a phrase"
    assert len(bots("search", "HERON", "-s", f"o-{user}", "--json").lines()) == 1
    shown = bots("search", "her*", "nest").out
    assert "where did the heron nest?" in shown and f"s-{user}" in shown
    assert bots("search", "albatross").code == 0 and bots("search", "albatross", "--json").lines() == []
    assert bots("search", "!").code == 1 and bots("search").code == 2
    assert {s["session_id"] for s in bots("sessions", "search", "heron", "--json").lines()} == {f"s-{user}", f"o-{user}"}
    assert [s["session_id"] for s in bots("sessions", "search", f"s-{user}", "heron", "--json").lines()] == [f"s-{user}"]


def test_gallery_from_publishing_to_deleting(bots, flow_file, user, tmp_path):
    bots("submit", "-w", flow_file(flows.script_chat(["a precious answer"])), "-s", "g", "a question")
    published = bots("sessions", "publish", "g", "--tag", f"tag-{user},nice", "--name", "Gem", "--json")
    assert published.code == 0, published
    item = published.json()
    item = item.get("gallery", item)
    assert [m["content"] for m in item["messages"]] == ["a question", "a precious answer"]
    bots("sessions", "delete", "g")
    assert [g["id"] for g in bots("gallery", "--mine", "--json").lines()] == [item["id"]]
    assert [g["id"] for g in bots("gallery", "--tag", f"tag-{user}", "--json").lines()] == [item["id"]]
    assert item["id"] in [g["id"] for g in bots("gallery", "search", "precious", "--json").lines()]
    assert bots("gallery", "search", "nothing-like-" + user, "--json").lines() == []
    assert {"tag": f"tag-{user}", "items": 1} in bots("gallery", "tags", "--mine", "--json").lines()
    exported = bots("gallery", "export", item["id"])
    assert exported.code == 0 and exported.json() == item
    file = tmp_path / "item.json"
    file.write_text(json.dumps({**item, "id": f"copy-{user}", "user_id": "somebody else"}))
    assert bots("gallery", "import", file).code == 0 and bots("gallery", "import", file).code == 0
    assert bots("gallery", "show", f"copy-{user}", "--json").json()["messages"] == item["messages"]
    file.write_text('{"id": 1,')
    assert bots("gallery", "import", file).code == 2 and bots("gallery", "import", tmp_path / "none").code == 2
    started = bots("gallery", "start", f"copy-{user}", "--json").json()["session_id"]
    assert [m["content"] for m in bots("messages", started, "--json").lines()] == [m["content"] for m in item["messages"]]
    assert bots("gallery", "start", "none").code == 1
    whole = bots("sessions", "export", started).json()
    assert (whole["format"], whole["version"], whole["session"]["session_id"]) == ("autobots.session", 1, started)
    assert [m["content"] for m in whole["messages"]] == ["a question", "a precious answer"]
    assert bots("sessions", "export", "none").code == 1
    assert bots("gallery", "delete", f"copy-{user}").code == 0
    assert bots("gallery", "rename", item["id"], "Jewel").code == 0
    assert bots("gallery", "show", item["id"], "--json").json()["name"] == "Jewel"
    assert bots("gallery", "delete", item["id"], env={"AUTOBOTS_USER": "thief"}).code == 1
    assert bots("gallery", "delete", item["id"]).code == 0
    assert bots("gallery", "--mine", "--json").lines() == []


# -- the service -------------------------------------------------------------------------------------------------------


def test_status_doctor_config_logs_version_help(bots, shared):
    status = bots("status", "--json").json()
    assert "2" in json.dumps(status) and "workers" in json.dumps(status)
    assert "worker" in bots("status").out
    doctor = bots("doctor")
    assert doctor.code in (0, 1) and re.search(r"\b(ok|warn|fail)\b", doctor.out)
    config = bots("config", "--json").json()
    assert config["dir"] == {"value": str(shared.dir), "source": "env AUTOBOTS_DIR"}
    assert "heartbeat_ms" in bots("config").out
    assert re.match(r"autobots \S+", bots("version").out) and bots("--version").code == 0
    for args in (["help"], ["--help"], ["help", "submit"], ["submit", "--help"], ["sessions", "--help"]):
        result = bots(*args)
        assert result.code == 0 and "usage" in result.out.lower(), (args, result)


def test_the_overview_has_each_verb_in_one_line_and_headings(bots):
    out = bots("help").out
    lines = re.sub(r"\n {20,}", " ", out).splitlines()
    assert max(map(len, out.splitlines())) <= 80
    for verb in verbs():
        noun, _, rest = verb.partition(" ")
        row = [line for line in lines if re.match(rf"  {noun} ", line)]
        assert len(row) == 1 and (rest in ("", "list") or re.search(rf"\b{rest}\b", row[0].split("; also ")[-1])), verb
    assert len([line for line in lines if line and not line.startswith(" ")]) > 7
    assert "--heartbeat-ms" in bots("help", "flags").out and "--heartbeat-ms" not in "\n".join(lines)


def verbs():
    source = (ROOT / "client" / "cli" / "main.c").read_text()
    return re.findall(r'^    \{"([a-z ]+)", "', source, re.M)


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_help_and_refuses_unknown_options(bots, verb):
    result = bots(*verb.split(), "--help")
    assert result.code == 0 and verb in result.out
    wrong = bots(*verb.split(), "--no-such-option")
    assert wrong.code == 2 and "no-such-option" in wrong.err


NEEDS_SERVICE = [["status"], ["submit", "hi"], ["watch", "last"], ["jobs"], ["show", "last"], ["export", "last"], ["chat"], ["cancel", "last"],
                 ["input", "last", "x"], ["sessions"], ["messages", "s"], ["gallery"], ["down"]]


@pytest.mark.parametrize("args", NEEDS_SERVICE, ids=lambda args: args[0])
def test_without_a_service_exit_code_3_and_what_to_do(tmp_path, args):
    result = cli.run(*args, home=tmp_path / "nothing", env={"MODEL": "m"})
    assert result.code == 3, result
    if args[0] != "down":
        assert f"no service in {tmp_path / 'nothing'}; start one: autobots up -d" in result.err


USAGE = [[], ["fly"], ["submti", "x"], ["submit"], ["show"], ["show", "a", "b"], ["watch", "last", "--after", "many"],
         ["jobs", "--since", "whenever"], ["jobs", "--limit", "0"], ["submit", "--deadline", "soon", "x"],
         ["sessions", "explode"], ["up", "--workers", "many"], ["up", "--no-such-flag"], ["--slots"]]


@pytest.mark.parametrize("args", USAGE, ids=lambda args: " ".join(args) or "nothing")
def test_wrong_usage_is_exit_code_2(bots, args):
    result = bots(*args)
    assert result.code == 2 and result.err.strip(), result


def test_a_mistyped_verb_is_guessed(bots):
    assert "submit" in bots("submti", "x").err


# -- validate ----------------------------------------------------------------------------------------------------------


def test_validate_names_every_fault_with_its_line(bots, flow_file):
    path = flow_file("name: x\nagents:\n  - name: a\n    script: echo\n    colour: red\n  - script: echo\n    typ: assistant\n",
                     "bad.yaml")
    result = bots("validate", path)
    assert result.code == 1, result
    assert f"{path}:5:" in result.out and "colour" in result.out
    assert f"{path}:6:" in result.out and "name" in result.out
    faults = bots("validate", path, "--json").json()["faults"]
    assert len(faults) >= 3 and {"$.agents[0].colour", "$.agents[1].name", "$.agents[1].typ"} <= {f["path"] for f in faults}
    assert all({"path", "what", "hint"} <= set(f) for f in faults)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.[yj]*")), ids=lambda path: path.name)
def test_examples_are_valid(bots, path):
    result = bots("validate", path, env={"OPENAI_API_KEY": "sk-unused"})
    assert result.code == 0, result


# -- up and down -------------------------------------------------------------------------------------------------------


def test_up_in_the_background_and_down(short_folder):
    home = short_folder() / "d"
    up = cli.run("up", "-d", "--dir", home, "--offline", "--workers", 2, timeout=60)
    try:
        assert up.code == 0 and up.out.startswith("ready"), up
        assert (home.stat().st_mode & 0o777) == 0o700
        done = cli.run("submit", "--dir", home, "hello there")
        assert done.code == 0 and "hello there" in done.out and "offline" in done.out, done
        second = cli.run("up", "-d", "--dir", home, "--offline")
        assert second.code in (1, 2, 100) and "already" in second.err, second
        logs = cli.run("logs", "--dir", home)
        assert logs.code == 0 and len(logs.out.splitlines()) > 3
        doctor = cli.run("doctor", "--dir", home)
        assert doctor.code == 0 and "fail" not in doctor.out, doctor
        # the service comes back by itself after kill -9 of a part
        os.kill(processes("autobots-broker", home)[0], signal.SIGKILL)
        again = cli.run("submit", "--dir", home, "once more")
        assert again.code == 0 and "once more" in again.out, again
    finally:
        down = cli.run("down", "--dir", home)
    assert down.code == 0, down
    assert cli.run("status", "--dir", home).code == 3
    assert not processes(home), "processes were left behind"


def test_up_in_the_foreground_ends_with_its_signal_and_its_children_die_with_it(short_folder):
    home = short_folder() / "d"
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        process = cli.start("up", "--dir", home, "--offline")
        assert process.stdout.readline().startswith("ready")
        process.send_signal(signo)
        process.communicate(timeout=30)
        assert process.returncode == (-9 if signo == signal.SIGKILL else 0)
        wait_until(lambda: not processes(home), 10, "the end of its children")


def test_up_with_a_faulty_configuration_names_file_and_line(short_folder):
    folder = short_folder()
    (folder / "c.yaml").write_text("slots: 4\nslotz: 5\n")
    result = cli.run("up", "-d", "--dir", folder / "d", "--config", folder / "c.yaml")
    assert result.code == 2 and "c.yaml:2" in result.err and "slots" in result.err, result


def test_a_path_too_long_for_a_socket_says_what_to_do(tmp_path):
    home = tmp_path / ("x" * 100)
    result = cli.run("up", "-d", "--dir", home, "--offline")
    assert result.code != 0 and "shorter --dir" in result.err, result


def test_demo(tmp_path):
    before = set(pathlib.Path("/tmp").iterdir())
    began = time.monotonic()
    result = cli.run("demo", env={"OPENAI_API_KEY": "sk-must-be-ignored", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
                                  "TMPDIR": str(tmp_path)})
    assert result.code == 0, result
    assert time.monotonic() - began < 10
    out = result.out
    for text in ("writer", "critic", "fencing token", "tokens", "unpriced", "start", "end",
                 "calls calculator", "calculator: 490.87385212",  # a tool
                 "10 rows; the last square is 100", "file squares.csv"):  # an agent's code ran in the sandbox
        assert text in out, text
    last = out.rstrip().splitlines()[-1]
    assert "offline" in last and "MODEL=" in last and "OPENAI_API_KEY=" in last, last
    assert out.count("critic") >= 2, "one turn is no chat"
    assert not list(tmp_path.iterdir()), "the demo left files behind"
    assert not {p.name for p in set(pathlib.Path("/tmp").iterdir()) - before if "autobots" in p.name and "test" not in p.name}


def test_demo_with_a_model_uses_it(tmp_path, model):
    model.behave(texts=["a real answer", "TERMINATE"])
    result = cli.run("demo", env={"MODEL": model.name, "OPENAI_API_KEY": "sk-demo", "OPENAI_BASE_URL": model.url,
                                  "TMPDIR": str(tmp_path)})
    assert result.code == 0 and "a real answer" in result.out, result
    assert model.calls() and all(call["authorization"] for call in model.calls())
    assert model.name in result.out.rstrip().splitlines()[-1]
    assert not list(tmp_path.iterdir()), "the demo left files behind"


def test_demo_that_is_interrupted_leaves_nothing_behind(tmp_path):
    process = cli.start("demo", env={"TMPDIR": str(tmp_path)})
    wait_until(lambda: list(tmp_path.rglob("client.sock")), what="the demo's service")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    wait_until(lambda: not list(tmp_path.iterdir()), 10, "an empty folder")
    assert not processes(tmp_path)
