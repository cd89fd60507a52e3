"""Bad input, one case each: the error's code and path, and that the next job succeeds."""

import json
import os
import pathlib
import socket
import subprocess

import autobots_wire as wire
import cli
import flows
import pytest
import service as service_module
from service import Service, wait_until


def good_job_passes(client):
    assert client.run(flows.script_chat(["fine"]), "still there?")[1][-1]["content"] == "fine"


def broken(change):
    """A good workflow with one thing wrong."""
    flow = json.loads(json.dumps(flows.script_chat(["x"])))
    change(flow)
    return flow


def set_in(flow, path, value):
    *way, last = path
    for key in way:
        flow = flow[key]
    if value is KeyError:
        del flow[last]
    else:
        flow[last] = value


HELPER = ["agents", 1, "agent"]
# what is set, its value, the fault's path, words that must be in the text or hint
WORKFLOWS = {
    "unknown agent type": (HELPER + ["type"], "wizard", "$.agents[1].agent.type", ["assistant", "userproxy", "groupchat"]),
    "no agents": (["agents"], [], "$.agents", ["agent"]),
    "agents no list": (["agents"], "all", "$.agents", []),
    "no name": (["name"], KeyError, "$.name", ["name"]),
    "agent without name": (HELPER + ["name"], KeyError, "$.agents[1].agent.name", ["name"]),
    "two agents of one name": (HELPER + ["name"], "user", "$.agents[1].agent.name", []),
    "unknown workflow type": (["type"], "circus", "$.type", ["sequential", "groupchat"]),
    "unknown human input mode": (HELPER + ["config", "human_input_mode"], "MAYBE",
                                 "$.agents[1].agent.config.human_input_mode", ["NEVER", "TERMINATE", "ALWAYS"]),
    "negative replies": (HELPER + ["config", "max_consecutive_auto_reply"], -1,
                         "$.agents[1].agent.config.max_consecutive_auto_reply", []),
    "temperature text": (HELPER + ["config", "llm_config", "temperature"], "hot",
                         "$.agents[1].agent.config.llm_config.temperature", []),
    "no model": (HELPER + ["config", "llm_config", "config_list"], [],
                 "$.agents[1].agent.config.llm_config.config_list", []),
    "file base_url": (HELPER + ["config", "llm_config", "config_list"], [{"model": "m", "base_url": "file:///etc/passwd"}],
                      "$.agents[1].agent.config.llm_config.config_list[0].base_url", []),
    "unknown link": (["agents", 1, "link", "agent_type"], "listener", "$.agents[1].link.agent_type", ["sender", "receiver"]),
}


@pytest.mark.parametrize("place,value,path,words", WORKFLOWS.values(), ids=WORKFLOWS.keys())
def test_a_faulty_workflow_is_refused_with_its_path(client, place, value, path, words):
    flow = broken(lambda flow: set_in(flow, place, value))
    job = wire.make_id()
    with pytest.raises(wire.Failure) as failure:
        client.submit(flow, "x", job=job)
    assert failure.value.code in ("invalid", "no_model")
    faults = {fault["path"]: fault for fault in failure.value.faults}
    assert failure.value.path == path and path in faults, failure.value.header
    said = failure.value.text + json.dumps(faults[path])
    assert all(word in said for word in words), said
    with pytest.raises(wire.Failure) as failure:
        client.job(job)
    assert failure.value.code == "not_found"
    good_job_passes(client)


def test_all_faults_are_named_at_once(client):
    def change(flow):
        flow["type"] = "circus"
        flow["agents"][0]["agent"]["type"] = "wizard"
        flow["agents"][1]["agent"]["config"]["human_input_mode"] = 7

    with pytest.raises(wire.Failure) as failure:
        client.submit(broken(change), "x")
    assert {f["path"] for f in failure.value.faults} == {
        "$.type", "$.agents[0].agent.type", "$.agents[1].agent.config.human_input_mode"}


TEXTS = {"not json": "{name: ", "empty": "", "a number": "5", "a list": "[]", "duplicate keys": '{"name":"a","name":"b"}',
         "deep": "[" * 10_000, "nul": '{"name":"a\\u0000b"}'}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_workflow_text_that_is_no_workflow(client, text):
    with pytest.raises(wire.Failure) as failure:
        client.submit(text, "x")
    assert failure.value.code == "invalid" and failure.value.text
    good_job_passes(client)


def test_a_hash_that_is_not_the_texts(client):
    header = {**client.submit_header(flows.script_chat(["x"])), "hash": os.urandom(32)}
    with pytest.raises(wire.Failure) as failure:
        client.request("SUBMIT", header, wire.pack({"content": "x"}))
    assert (failure.value.code, failure.value.path) == ("invalid", "hash")
    good_job_passes(client)


FILES = {
    "broken yaml": ("agents:\n  - name: a\n   script: echo\n", 2, 3, ""),
    "unknown key": ("agents:\n  - name: a\n    script: echo\n    colour: red\n", 4, 4, "$.agents[0].colour"),
    "unknown agent type": ("agents:\n  - name: a\n    script: echo\n    type: wizard\n", 4, 4, "$.agents[0].type"),
    "no agents": ("name: x\nagents: []\n", 2, 2, "$.agents"),
    "a tab": ("agents:\n\t- name: a\n", 2, 2, ""),
    "two documents": ("agents: [{name: a, script: echo}]\n---\nagents: []\n", 1, 3, ""),
    "an alias": ("agents: &a [{name: a, script: echo}]\nname: *a\n", 1, 2, ""),
    "no model": ("agents:\n  - name: a\n", 1, 2, "$.agents[0]"),
}


@pytest.mark.parametrize("text,first,last,path", FILES.values(), ids=FILES.keys())
def test_a_faulty_file_is_refused_with_its_line(shared, client, tmp_path, text, first, last, path):
    file = tmp_path / "flow.yaml"
    file.write_text(text)
    for args in (["submit", "-w", file, "x"], ["validate", file]):
        result = cli.run(*args, home=shared.dir)
        assert result.code == 1, result
        assert any(f"{file}:{line}:" in result.out + result.err for line in range(first, last + 1)), result
        answer = json.loads(cli.run(*args, "--json", home=shared.dir).out)
        found = answer["error"]["path"] if "error" in answer else answer["faults"][0]["path"]
        assert found.startswith(path) if path else str(file) in found, answer
    good_job_passes(client)


def test_a_message_of_a_hundred_megabytes_from_the_command_line(shared, client, tmp_path):
    file = tmp_path / "flow.json"
    file.write_text(json.dumps(flows.script_chat(["x"])))
    for size in (100_000_000, 20_000_000):
        result = cli.run("submit", "-w", file, "-", "--json", home=shared.dir, input=b"x" * size)
        assert result.code == 1, result
        assert result.json()["error"]["code"] == "too_large" and "bytes" in result.err, result
    good_job_passes(client)


def test_no_model_configured_ends_the_job_with_the_variable_to_set(shared, client):
    _, events = client.run(flows.chat(flows.endpoint("gpt-something")), "x")
    end = events[-1]
    assert end["state"] == "failed" and end["code"] == "no_model" and "OPENAI_API_KEY" in end["text"], end
    good_job_passes(client)


# -- starting servers where they cannot ------------------------------------------------------------------------------


def start_refused(service, name, flags=(), code=(100,)):
    process = service.start(name, flags=flags)
    process.killed = True
    wait_until(lambda: not process.running(), 15 * service_module.slow(), f"{name} refuses")
    assert process.process.returncode in code, process.log()
    return process.log()


def test_a_second_storage_on_the_file_refuses(shared, client):
    done = subprocess.run([service_module.program("autobots-storage"), "--dir", str(shared.dir)], capture_output=True,
                          text=True, timeout=30, env=service_module.clean_environment(), check=False)
    assert done.returncode == 100 and str(shared["storage"].pid) in done.stderr, done
    good_job_passes(client)


def test_a_second_broker_on_the_sockets_refuses(shared, client):
    done = subprocess.run([service_module.program("autobots-broker"), "--dir", str(shared.dir)], capture_output=True,
                          text=True, timeout=30, env=service_module.clean_environment(), check=False)
    assert done.returncode == 100 and "in use" in done.stderr, done
    good_job_passes(client)


@pytest.mark.parametrize("name", ["storage", "broker"])
def test_a_port_in_use_is_named(make_service, name):
    service = make_service(workers=0, start=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flag = "--storage-endpoint" if name == "storage" else "--endpoint"
        log = start_refused(service, name, [flag, f"tcp://127.0.0.1:{port}"])
        assert str(port) in log and "use" in log


@pytest.mark.parametrize("name", ["storage", "broker"])
def test_an_open_network_address_is_refused(make_service, name):
    service = make_service(workers=0, start=False)
    flag = "--storage-endpoint" if name == "storage" else "--endpoint"
    assert "loopback" in start_refused(service, name, [flag, "tcp://0.0.0.0:0"])


@pytest.mark.parametrize("name", ["storage", "broker"])
def test_a_folder_that_others_may_enter_is_refused(make_service, name):
    service = make_service(workers=0, start=False)
    service.dir.chmod(0o755)
    assert "chmod 700" in start_refused(service, name)


def test_a_directory_that_is_a_file(make_service):
    service = make_service(workers=0, start=False)
    service.dir.rmdir()
    service.dir.write_text("not a folder")
    assert start_refused(service, "storage", code=(100, 111)).strip()


@pytest.mark.parametrize("name", ["storage", "broker", "worker1"])
@pytest.mark.parametrize("flags,word", [(["--no-such-flag"], "no-such-flag"), (["--lease-ms", "soon"], "lease"),
                                        (["--config", "/nonexistent.yaml"], "nonexistent"), (["extra"], "extra")],
                         ids=["flag", "value", "file", "word"])
def test_a_wrong_command_line_ends_with_100(make_service, name, flags, word):
    service = make_service(workers=0, start=False)
    assert word in start_refused(service, name, flags)


def damaged_header(path):
    with open(path, "r+b") as file:
        file.write(b"this is no database at all")


def newer_schema(path):
    import sqlite3
    database = sqlite3.connect(path)
    [(version,)] = database.execute("pragma user_version")
    assert version > 0, "the schema's version stands elsewhere now"
    database.execute(f"pragma user_version = {version + 1}")
    database.commit()
    database.execute("pragma wal_checkpoint(truncate)")
    database.close()


@pytest.mark.parametrize("damage", [damaged_header, newer_schema], ids=["no database", "newer schema"])
def test_a_file_that_is_not_ours_is_refused_and_left_alone(make_service, damage):
    service = make_service(workers=1)
    with service.client("d") as client:
        good_job_passes(client)
    for name in ("worker1", "broker", "storage"):
        assert service[name].terminate() == 0
    database = pathlib.Path(service.dir / "database.sqlite")
    damage(database)
    content = database.read_bytes()
    log = start_refused(service, "storage", code=(100, 111))
    assert "database" in log
    assert database.read_bytes() == content, "a file that was refused was changed"


def test_storage_answers_queries_while_broker_and_workers_are_down(make_service):
    service = make_service(workers=1)
    with service.client("q") as client:
        accepted, _ = client.run(flows.script_chat(["kept"]), "question")
        for name in ("worker1", "broker"):
            service.kill(name)
        assert [m["content"] for m in client.messages(accepted.session)] == ["question", "kept"]
        assert client.storage.ask("get_job", job="last")["job"]["state"] == "succeeded"


def test_everything_is_there_after_a_clean_restart(short_folder):
    folder = short_folder()
    with Service(folder / "s", workers=1) as service:
        with service.client("r") as client:
            accepted, events = client.run(flows.script_chat(["kept"]), "question")
        for name in ("worker1", "broker", "storage"):
            assert service[name].terminate() == 0
        service.start_all()
        with service.client("r") as client:
            assert client.journal(accepted.id) == [{k: v for k, v in e.items() if k != "seq"} for e in events]
            assert client.watch_to_end(accepted.id) == events
            good_job_passes(client)
