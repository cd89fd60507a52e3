"""Skills in jobs: called as tools, imported by code, their files, limits, versions; workers that die; what they cannot reach."""

import json
import os
import time

import code
import flows
from service import processes, wait_until

MEAN = '''"""title: Mean of numbers
parameters:
  type: object
  properties:
    numbers: {type: array, items: {type: number}, minItems: 1}
  required: [numbers]
"""
import json, sys

def mean(numbers):
    return sum(numbers) / len(numbers)

def _inside():
    pass

if __name__ == "__main__":
    print(mean(json.load(sys.stdin)["numbers"]))
'''


ANY = {"type": "object"}


def save(client, content, name, **more):
    return client.storage.ask("save_skill", content=content, name=name, **{"language": "python", **more})["skill"]


def calls(*pairs):
    return {"tool_calls": [{"name": name, "arguments": arguments} for name, arguments in pairs]}


def flow(says, *skills, runs_code=None, **more):
    made = flows.chat({"model": "script", "api_type": "script", "script": {"replies": says, "repeat": "error"}},
                      user={"code_execution_config": runs_code} if runs_code else None, **more)
    made["agents"][1]["agent"]["tools"] = [one if isinstance(one, dict) else {"skill": one} for one in skills]
    return made


def of(events, kind):
    return [event for event in events if event["kind"] == kind]


def run(client, *args, **more):
    events = client.events_to_end(client.submit(flow(*args, **more), "go", watch="all").id)
    return events, events[-1]


def results(client, *args, **more):
    events, end = run(client, *args, **more)
    assert end["state"] == "succeeded", end
    return of(events, "tool_result")


def hex_of(skill):
    return f"{skill['version']} {skill['hash'].hex()}"


def test_a_skill_is_called_with_json_and_its_output_is_the_result(client):
    skill = save(client, MEAN, "mean")
    events, end = run(client, [calls(("mean", {"numbers": [1, 2, 6]}), ("mean", {"numbers": []}), ("mean", {"numbers": "x"})), "3."], "mean")
    assert end["state"] == "succeeded" and end["content"] == "3."
    [started] = of(events, "tool_started")
    assert started["version"] == hex_of(skill)
    good, empty, wrong = sorted(of(events, "tool_result"), key=lambda one: one["call"])
    assert good["content"] == "3.0\n" and not good.get("failed") and "files" not in good
    assert empty["failed"] and "fewer" in empty["content"] or "at least" in empty["content"], empty
    assert wrong["failed"] and "numbers" in wrong["content"]


def test_what_a_model_is_told(client, model):
    save(client, MEAN, "mean", description="Of a list.")
    save(client, "# title: Says hello\necho hello\n", "greet", language="sh")
    model.behave(texts=["Hello.", "Hello. TERMINATE"])
    made = flows.http_chat(model, assistant={"system_message": "You help."})
    made["agents"][1]["agent"]["tools"] = [{"skill": "mean"}, {"skill": "greet@1"}]
    client.events_to_end(client.submit(made, "go", watch="all").id)
    made["agents"][0]["agent"]["config"]["code_execution_config"] = "local"
    client.events_to_end(client.submit(made, "go", watch="all").id)
    without, told = [request["body"] for request in model.calls()]
    functions = [tool["function"] for tool in told["tools"]]
    assert [function["name"] for function in functions] == ["mean", "greet"]
    assert functions[0]["description"] == "Mean of numbers\nOf a list." and functions[0]["parameters"]["required"] == ["numbers"]
    assert without["messages"][0]["content"] == "You help."
    system = told["messages"][0]["content"]
    assert system.startswith("You help.\n\n") and "- mean: Mean of numbers: from mean import mean\n- /skills/greet.sh: Says hello" in system


def test_faults_are_told_to_the_model_with_what_it_wrote_to_stderr(client):
    save(client, "import sys\nprint('half')\nprint('why', file=sys.stderr)\nsys.exit(3)\n", "fails")
    save(client, "import sys\nprint('noise', file=sys.stderr)\nprint('fine')\n", "chatty")
    save(client, "import time\ntime.sleep(60)\n", "slow", timeout_s=1)
    save(client, "print('x' * 100000)\n", "long")
    got = results(client, [calls(("fails", {}), ("chatty", {}), ("slow", {}), ("long", {})), "So."], "fails", "chatty", "slow", "long")
    fails, chatty, slow, long = sorted(got, key=lambda one: one["call"])
    assert fails["failed"] and fails["content"] == "exit code 3\nhalf\nwhy\n"
    assert not chatty.get("failed") and chatty["content"] == "fine\n"
    assert slow["failed"] and slow["content"].startswith("stopped: it ran longer than 1 s")
    assert len(long["content"]) < 65536 and long["content"].endswith("[of 100001 bytes of output only the first are shown]")


def test_the_time_of_a_call_does_not_run_while_it_waits_for_others(client):
    save(client, "import time\ntime.sleep(0.7)\nprint('slept')\n", "naps")
    got = results(client, [calls(*[("naps", {})] * 5), "So."], {"skill": "naps", "timeout_s": 2.5})
    assert [one["content"] for one in got] == ["slept\n"] * 5


def test_files_that_skills_make_are_the_jobs_and_later_calls_and_code_find_them(client):
    save(client, "import os\nn = len(os.listdir('.'))\nopen(f'{n}.csv', 'w').write('a,b')\nprint(n)\n", "adds")
    events, end = run(client, [calls(("adds", {}), ("adds", {}), ("adds", {})), code.block("import os\nprint(sorted(os.listdir('.')))"),
                               calls(("adds", {})), "TERMINATE"], "adds", runs_code="local", replies=3)
    assert end["state"] == "succeeded", end
    assert sorted(one["content"] for one in of(events, "tool_result")[:3]) == ["0\n", "1\n", "2\n"], "one after the other"
    [block] = of(events, "code_result")
    assert "['0.csv', '1.csv', '2.csv', 'code-" in block["output"] and block["skills"] == "adds@1"
    assert of(events, "tool_result")[3]["content"] == "3\n"
    assert [file["path"] for file in end["result"]["files"]] == ["0.csv", "1.csv", "2.csv", "3.csv"]
    assert [file["path"] for file in client.storage.ask("list_files", job="last")["files"]] == ["0.csv", "1.csv", "2.csv", "3.csv"]
    assert client.storage.ask("get_file", job="last", path="3.csv")["data"] == b"a,b"


def test_code_imports_skills_which_it_cannot_change(client):
    save(client, MEAN, "mean")
    save(client, "echo $((1 + 1))\n", "two", language="sh")
    text = "\n".join([code.block("from mean import mean\nimport mean as module, os\nprint(mean([2, 4]), module.__file__)\n"
                                 "try:\n    open('/skills/mean.py', 'a')\nexcept OSError as e:\n    print('refused', e.errno)\n"
                                 "print(sorted(os.listdir('/skills')))"),
                      code.block("sh /skills/two.sh; echo x > /skills/new || echo refused", "sh")])
    events, end = run(client, [text, "TERMINATE"], "mean", "two@1", runs_code="local", replies=1)
    python, shell = of(events, "code_result")
    assert python["output"] == "3.0 /skills/mean.py\nrefused 30\n['mean.py', 'two.sh']\n", python
    assert shell["output"].startswith("2\n") and shell["output"].endswith("refused\n")
    assert python["skills"] == "mean@1 two@1" and not end["result"]["files"]


def test_without_a_sandbox_the_model_is_told_where_skills_are_found(make_service, model):
    service = make_service(config={"isolation": "unsafe-host"})
    with service.client() as client:
        save(client, MEAN, "mean")
        save(client, "echo $((1 + 1))\n", "two", language="sh")
        model.behave(texts=[code.block("sh $PYTHONPATH/two.sh", "sh") + "\n" + code.block("from mean import mean\nprint(mean([2, 4]))"),
                            "TERMINATE"])
        made = flows.http_chat(model, replies=1)
        made["agents"][1]["agent"]["tools"] = [{"skill": "mean"}, {"skill": "two"}]
        made["agents"][0]["agent"]["config"]["code_execution_config"] = "local"
        events = client.events_to_end(client.submit(made, "go", watch="all").id)
    told = model.calls()[0]["body"]["messages"][0]["content"]
    assert "installed in $PYTHONPATH," in told and "- $PYTHONPATH/two.sh: " in told and "/skills" not in told, told
    assert [one["output"] for one in of(events, "code_result")] == ["2\n", "3.0\n"], events


def test_files_of_the_message_are_there(client):
    save(client, "print(open('note.txt').read())\n", "reads")
    content = [{"type": "text", "text": "go"}, {"type": "file", "name": "note.txt", "media_type": "text/plain", "data": "aGVsbG8="}]
    events = client.events_to_end(client.submit(flow([calls(("reads", {})), "Read."], "reads"), content, watch="all").id)
    assert of(events, "tool_result")[0]["content"] == "hello\n", events[-1]


def test_a_version_that_is_named_is_run_and_what_is_not_there_fails_the_job(client):
    save(client, "print('old')\n", "which")
    save(client, "print('new')\n", "which")
    for word, says in (("which", "new\n"), ("which@1", "old\n"), ("which@2", "new\n")):
        assert [one["content"] for one in results(client, [calls(("which", {})), "So."], word)] == [says]
    for word in ("which@3", "nosuch"):
        events, end = run(client, [calls(("which", {})), "So."], word)
        assert end["state"] == "failed" and end["code"] == "not_found" and "skills add" in end["text"], end
        assert not of(events, "model_reply")
    client.storage.ask("delete_skill", name="which")
    assert run(client, ["x"], "which")[1]["code"] == "not_found"


def test_another_users_skill_is_not_there(shared, client):
    save(client, MEAN, "mean")
    with shared.client("somebody else") as other:
        assert run(other, [calls(("mean", {"numbers": [1]})), "x"], "mean")[1]["code"] == "not_found"


def test_a_skill_cannot_leave_its_sandbox(client, shared):
    marker = shared.dir / "escaped"
    save(client, f'''
import json, os, socket, sys
def attempt(what, call):
    try:
        call()
    except OSError as e:
        print(what, "refused")
    else:
        print(what, "ESCAPED")
attempt("network", lambda: socket.create_connection(("1.1.1.1", 53), 1))
attempt("files", lambda: open("{marker}", "w"))
attempt("service", lambda: os.listdir("{shared.dir}"))
attempt("library", lambda: open("/skills/other.py", "w"))
attempt("arguments", lambda: open("/skills/.arguments", "w"))
print(sorted(name for name in os.environ if "KEY" in name), os.getuid())
''', "escapes")
    [result] = results(client, [calls(("escapes", {})), "So."], "escapes")
    assert result["content"].splitlines() == [*(f"{what} refused" for what in ("network", "files", "service", "library", "arguments")),
                                              "['AUTOBOTS_CALL_KEY'] 65534"]
    assert not marker.exists()


def test_cancelling_kills_it_at_once_and_those_that_wait_for_it(client):
    marker = f"97{os.getpid()}7"
    save(client, f"import os\nos.execvp('sleep', ['sleep', '{marker}'])\n", "sleeps", timeout_s=600)
    job = client.submit(flow([calls(("sleeps", {}), ("sleeps", {})), "x"], "sleeps"), "go", watch="all").id
    wait_until(lambda: processes("sleep", marker), what="it runs")
    start = time.monotonic()
    client.cancel(job)
    assert client.events_to_end(job)[-1]["state"] == "cancelled" and time.monotonic() - start < 5
    wait_until(lambda: not processes("sleep", marker), 5, "it is gone")


def test_a_pause_waits_for_the_calls_that_are_announced(client):
    marker = f"0.8{os.getpid()}3"
    save(client, f"import os, json, sys\nn = json.load(sys.stdin)['n']\nos.system('sleep {marker}') if n == 1 else None\n"
                 "open(f'{n}', 'w')\nprint(n)\n", "pauses", parameters=ANY)
    job = client.submit(flow([calls(("pauses", {"n": 1}), ("pauses", {"n": 2})), calls(("pauses", {"n": 3})), "So."], "pauses"), "go", watch="all").id
    wait_until(lambda: processes("sleep", marker), what="the first runs, the second waits")
    client.inbox(job, "pause")
    seen = []
    while not seen or seen[-1]["kind"] != "paused":
        seen.append(client.next_event(job, 20).body_value())
    assert [one["content"] for one in of(seen, "tool_result")] == ["1\n", "2\n"]
    client.inbox(job, "resume")
    events = client.events_to_end(job, after=len(seen))
    assert [one["content"] for one in of(events, "tool_result")] == ["3\n"]
    assert [file["path"] for file in events[-1]["result"]["files"]] == ["1", "2", "3"]


def test_an_agent_that_is_called_has_its_skills_too_and_a_directory_of_its_own(client):
    save(client, "open('mine', 'w')\ndef f():\n    return 'imported'\nprint('called')\n", "inner")
    worker = {"name": "worker", "tools": [{"skill": "inner"}], "script": [{"tool_calls": [{"name": "inner"}]}, {"text": "It is called."}]}
    coder = {"name": "in", "agents": [{"name": "writer", "script": [code.block("from inner import f\nprint(f())"), "Ran. TERMINATE"]},
                                      {"name": "machine", "model": False, "code": "local"}]}
    flow = {"name": "w", "agents": [{"name": "boss", "script": [
        {"tool_calls": [{"name": "worker", "arguments": {"message": "go"}}, {"name": "coder", "arguments": {"message": "go"}}]}, "Done."],
        "tools": [{"agent": worker}, {"name": "coder", "workflow": coder}]}]}
    events = client.events_to_end(client.submit(flow, "go", watch="all").id)
    assert events[-1]["state"] == "succeeded", events[-1]
    [inner] = [one for one in of(events, "tool_result") if one["tool"] == "inner"]
    assert inner["content"] == "called\n" and inner["folder"].startswith("call-")
    [block] = of(events, "code_result")
    assert block["output"] == "called\nimported\n" and block["skills"] == "inner@1" and block["folder"] != inner["folder"]
    assert {file["path"] for file in events[-1]["result"]["files"]} == {f"{inner['folder']}/mine", f"{block['folder']}/mine"}


COUNTS = '''
import json, os, sys, time
asked = json.load(sys.stdin)
print(json.dumps({"version": VERSION, "files": sorted(os.listdir(".")), "key": os.environ["AUTOBOTS_CALL_KEY"]}))
open(f"made-{asked['n']}", "w").write(str(VERSION))
time.sleep(asked.get("sleep", 0))
'''
def test_a_call_whose_worker_dies_is_made_again_with_its_version_and_the_files_before_it(make_service, tmp_path):
    """In mid-call; on a worker with other directories; though there is a newer version by then."""
    service = make_service(workers=0, config={"heartbeat_ms": 300, "lease_ms": 1200})
    service.start("worker1", flags=("--work-dir", str(tmp_path / "one")))
    service.wait_ready(1)
    with service.client() as client:
        first = save(client, "VERSION = 1" + COUNTS, "counts", parameters=ANY)
        job = client.submit(flow([calls(("counts", {"n": 1})), calls(("counts", {"n": 2, "sleep": 2})), calls(("counts", {"n": 3})), "Done."],
                                 "counts"), "go", watch="all").id
        wait_until(lambda: list((tmp_path / "one").glob("w-*/*-skills-2")), what="the second call runs")
        save(client, "VERSION = 2" + COUNTS, "counts", parameters=ANY)
        service.kill("worker1")
        service.start("worker2", flags=("--work-dir", str(tmp_path / "two")))
        events = client.events_to_end(job, timeout=60)
        assert events[-1]["state"] == "succeeded", events[-1]
        said = [json.loads(one["content"]) for one in of(events, "tool_result")]
        assert [one["version"] for one in said] == [1, 1, 2], "what was announced keeps its version, what comes later is new"
        assert [one["files"] for one in said] == [[], ["made-1"], ["made-1", "made-2"]]
        assert [one["version"] for one in of(events, "tool_started")][:2] == [hex_of(first)] * 2
        assert len(of(events, "tool_started")) == 3 and len({one["key"] for one in said}) == 3
        assert [file["path"] for file in events[-1]["result"]["files"]] == ["made-1", "made-2", "made-3"]


def test_a_worker_that_is_stopped_gives_its_call_to_another(make_service):
    service = make_service(workers=1)
    with service.client() as client:
        save(client, "VERSION = 1" + COUNTS, "counts", parameters=ANY)
        job = client.submit(flow([calls(("counts", {"n": 1, "sleep": 1})), "Done."], "counts"), "go", watch="all").id
        wait_until(lambda: list((service.dir / "work").glob("w-*/*-skills-1")), what="the call runs")
        service.start("worker2")
        assert service["worker1"].terminate() == 0
        service["worker1"].killed = True
        events = client.events_to_end(job, timeout=60)
    [result] = of(events, "tool_result")
    assert json.loads(result["content"])["files"] == [] and len(of(events, "tool_started")) == 1 and events[-1]["state"] == "succeeded"


def test_without_a_sandbox_only_what_says_so_is_made_again(make_service):
    service = make_service(workers=0, config={"heartbeat_ms": 300, "lease_ms": 1200, "isolation": "unsafe-host"})
    service.start("worker1")
    service.wait_ready(1)
    with service.client() as client:
        save(client, "VERSION = 1" + COUNTS, "once", parameters=ANY)
        save(client, "VERSION = 1" + COUNTS, "often", parameters=ANY, idempotent=True)
        arguments = {"n": 1, "sleep": 2}
        jobs = {name: client.submit(flow([calls((name, arguments)), "Done."], name), "go", watch="all").id for name in ("once", "often")}
        wait_until(lambda: len(list(service.dir.glob("work/w-*/*/made-1"))) == 2, what="both run")
        service.kill("worker1")
        service.start("worker2")
        once, often = (client.events_to_end(jobs[name], timeout=60) for name in ("once", "often"))
        [result] = of(once, "tool_result")
        assert result["failed"] and "outcome is unknown" in result["content"]
        [result] = of(often, "tool_result")
        assert not result.get("failed") and json.loads(result["content"])["files"] == []
        assert once[-1]["state"] == often[-1]["state"] == "succeeded"
