"""Code of agents through the whole system: blocks, files, limits, cancelling, moving to another worker."""

import json
import os
import time

import code
import flows
import pytest
from service import processes, slow, wait_until


@pytest.fixture
def work_dirs(shared):
    return shared.dir / "work"


def test_the_reply_is_the_exit_code_and_the_output(client):
    results, end = code.run(client, code.block("print('hello')"), code.block("import sys; print('bad'); sys.exit(3)"))
    assert code.said(end) == ["exitcode: 0 (execution succeeded)\nCode output: hello\n",
                              "exitcode: 3 (execution failed)\nCode output: bad\n"]
    assert [result["exit_code"] for result in results] == [0, 3]
    for part in ("user", "pid", "net", "seccomp", "read-only system", "no capabilities"):
        assert part in results[0]["isolation"]


def test_blocks_run_in_order_and_stop_at_the_first_failure(client):
    text = "\n".join(["First", code.block("echo one > a", "sh"), "then", code.block("print(open('a').read())"),
                      "then", code.block("echo three; exit 7", "bash"), "never", code.block("echo four", "sh")])
    results, end = code.run(client, text)
    assert [(result["block"], result["language"]) for result in results] == [
        (0, "sh"), (1, "python"), (2, "bash")]
    assert code.said(end) == ["exitcode: 7 (execution failed)\nCode output: one\n\nthree\n"]


def test_other_fences_are_text(client):
    text = "```json\n{}\n```\n```\nls\n```\n```python\nnot closed"
    results, end = code.run(client, text)
    assert not results and code.said(end) == ["go on"]


def test_files_have_names_types_and_contents(client):
    results, end = code.run(
        client,
        code.block("open('plot.png','wb').write(bytes(range(256)) * 8)\nopen('t.csv','w').write('a,b\\n')\n"
                   "import os\nos.makedirs('sub/deep')\nopen('sub/deep/notes.txt','w').write('x')\nopen('empty','w')",
                   name="make.py"),
        code.block("printf '#!/bin/sh\\necho run' > tool; chmod +x tool; rm t.csv; ./tool", "sh"))
    files = {one["path"]: one for one in end["result"]["files"]}
    assert list(files) == ["empty", "make.py", "plot.png", "sub/deep/notes.txt", "tool"]
    assert [one["type"] for one in files.values()] == ["unknown", "code", "image", "text", "unknown"]
    assert files["sub/deep/notes.txt"]["name"] == "notes.txt" and files["sub/deep/notes.txt"]["extension"] == "txt"
    assert files["tool"]["executable"] is True and files["plot.png"]["bytes"] == 2048
    assert "run" in results[1]["output"]
    job = "last"
    listed = client.storage.ask("list_files", job=job)["files"]
    assert [one["path"] for one in listed] == list(files)
    got = client.storage.ask("get_file", job=job, path="plot.png")
    assert got["data"] == bytes(range(256)) * 8 and got["file"]["hash"] == files["plot.png"]["hash"]
    with pytest.raises(Exception, match="no file"):
        client.storage.ask("get_file", job=job, path="t.csv")


def test_a_file_of_several_pieces_comes_back_whole(client):
    code.run(client, code.block("import random\nopen('big','wb').write(random.Random(7).randbytes(3_000_001))"))
    data = b""
    while True:
        piece = client.storage.ask("get_file", job="last", path="big", at=len(data))
        data += piece["data"]
        if len(data) == piece["file"]["bytes"]:
            break
    import random
    assert data == random.Random(7).randbytes(3_000_001)


def test_another_user_sees_no_files(shared, client):
    _, end = code.run(client, code.block("open('secret.txt','w').write('x')"))
    assert end["result"]["files"]
    with shared.client("somebody-else") as other:
        with pytest.raises(Exception, match="no such job|no job"):
            other.storage.ask("list_files", job="last")


def test_files_are_deleted_with_their_session(shared, client):
    job = client.submit(code.flow(code.block("open('x','w').write('mine')")), "go", watch="all")
    client.events_to_end(job.id)
    record = client.job(job.id)
    n = record["n"]
    with shared.sqlite() as db:
        assert db.execute("SELECT count(*) FROM files WHERE n=?", (n,)).fetchone() == (1,)
    client.storage.ask("delete_user_sessions", session=record["session"])
    with shared.sqlite() as db:
        assert db.execute("SELECT count(*) FROM files WHERE n=?", (n,)).fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM job_files WHERE n=?", (n,)).fetchone() == (0,)


@pytest.mark.parametrize("name", ["../up.py", "/etc/up.py", "a/../../up.py", "a//b.py", ".", "a/" * 20 + "b.py"])
def test_a_file_name_stays_inside_of_the_directory(client, name):
    [result], end = code.run(client, code.block("print('ran')", name=name))
    assert result["exit_code"] == 1 and "ran" not in result["output"] and "file name" in result["stopped"]
    assert code.said(end)[0].startswith("exitcode: 1 (execution failed)")
    assert not end["result"]["files"]


def test_a_work_dir_is_a_folder_in_the_directory(client):
    [result], end = code.run(client, code.block("import os; print(os.getcwd()); open('x','w')", name="in.py"),
                             code={"work_dir": "coding/here", "use_docker": False})
    assert result["output"] == "/workspace/coding/here\n"
    assert [one["path"] for one in end["result"]["files"]] == ["coding/here/in.py", "coding/here/x"]


def test_a_time_limit_ends_all_its_processes(client):
    marker = f"97{os.getpid()}1"
    start = time.monotonic()
    [result], _ = code.run(client, code.block(f"echo before; setsid sleep {marker} & sleep {marker}", "sh"),
                           code={"timeout": 1, "use_docker": False})
    assert result["exit_code"] == 124 and result["output"] == "before\n" and "1 s" in result["stopped"]
    assert time.monotonic() - start < 10
    assert not processes("sleep", marker)


def test_nothing_is_left_behind_by_code_that_ends(client, work_dirs):
    marker = f"97{os.getpid()}2"
    result = code.one(client, f"(setsid sleep {marker} >/dev/null 2>&1 &) ; setsid sleep {marker} & echo done", "sh")
    assert result["exit_code"] == 0 and result["output"] == "done\n"
    assert not processes("sleep", marker)
    wait_until(lambda: not [path for worker in work_dirs.iterdir() for path in worker.iterdir()], 10, "empty work_dir")


def test_cancelling_kills_at_once(client):
    marker = f"97{os.getpid()}3"
    job = client.submit(code.flow(code.block(f"touch x; setsid sleep {marker} & sleep {marker}", "sh")), "go",
                        watch="all").id
    wait_until(lambda: processes("sleep", marker), what="the code runs")
    start = time.monotonic()
    client.cancel(job)
    end = client.events_to_end(job)[-1]
    wait_until(lambda: not processes("sleep", marker), 5, "the code is gone")
    assert end["state"] == "cancelled" and time.monotonic() - start < 1 * slow()


def test_simultaneous_conversations_have_folders_of_their_own(client):
    receivers = [{"name": name, "type": "assistant", "config": {
        "llm_config": {"config_list": [flows.script([code.block(f"import os; print(os.listdir()); open('{name}','w')"),
                                                     "TERMINATE"])]}}} for name in ("one", "two", "three")]
    sender = {"name": "user", "type": "userproxy", "config": {
        "llm_config": False, "max_consecutive_auto_reply": 3, "code_execution_config": "local"}}
    job = client.submit({"name": "t", "type": "autonomous", "sender": sender, "receiver": receivers}, "go", watch="all")
    events = client.events_to_end(job.id)
    assert [result["output"].count("'") for result in code.results(events)] == [2, 2, 2]  # only the script itself
    paths = ["chat-1/one", "chat-2/two", "chat-3/three"]
    assert [one["path"] for one in events[-1]["result"]["files"]] == paths
    assert sorted(one["path"] for one in client.storage.ask("list_files", job="last")["files"]) == paths


def test_a_job_whose_worker_dies_between_two_blocks_goes_on_with_its_files(make_service, tmp_path):
    service = make_service(workers=0, config={"heartbeat_ms": 200, "lease_ms": 1000})
    roots = [tmp_path / "here", tmp_path / "there"]
    marker = f"1.97{os.getpid()}4"
    first = code.block("import os\nos.mkdir('d')\nopen('d/data.bin','wb').write(b'\\0\\1' * 700_000)\n"
                       "open('empty','w')\nprint('made')", name="lib/tool.py")
    second = code.block(f"chmod +x lib/tool.py; sleep {marker}", "sh")
    third = code.block("import os\nprint(os.path.getsize('d/data.bin'), os.path.exists('empty'), "
                       "os.access('lib/tool.py', os.X_OK), open('d/data.bin','rb').read(3))")
    service.start("worker1", flags=["--work-dir", str(roots[0])])
    service.wait_ready(1)
    with service.client() as client:
        job = client.submit(code.flow("\n".join([first, second, third])), "go", watch="all").id
        wait_until(lambda: processes("sleep", marker), what="the second block runs")
        service.kill("worker1")
        wait_until(lambda: not processes("sleep", marker), 10, "the code died with its worker")
    service.start("worker2", flags=["--work-dir", str(roots[1])])
    with service.client() as client:  # the other one was silent for longer than three heartbeats
        events = client.watch_to_end(job)
    results = code.results(events)
    assert [result["block"] for result in results] == [0, 1, 2], results
    assert len([event for event in events if event["kind"] == "started"]) == 2
    assert results[2]["output"] == "1400000 True True b'\\x00\\x01\\x00'\n"
    assert [one["path"] for one in events[-1]["result"]["files"]] == ["d/data.bin", "empty", "lib/tool.py"]


def test_a_job_whose_worker_dies_between_two_blocks_of_two_turns_goes_on_with_its_files(make_service, model, tmp_path):
    """Nothing of it runs when the worker is killed: its first block is journaled, a model has yet to write the second."""
    service = make_service(workers=0, config={"heartbeat_ms": 200, "lease_ms": 1000})
    model.behave(texts=[code.block("import os\nos.mkdir('d')\nopen('d/data.bin','wb').write(b'\\0\\1' * 700_000)\n"
                                   "open('tool','w').write('#!/bin/sh\\necho ran\\n')\nos.chmod('tool', 0o755)\n"
                                   'print(\'[[{"stall": "headers", "stall_times": 1}]]\')'),
                        code.block("./tool; wc -c < d/data.bin; ls", "sh"), "TERMINATE"])
    flow = flows.http_chat(model, replies=3, user={"code_execution_config": "local"})
    service.start("worker1", flags=["--work-dir", str(tmp_path / "here")])
    service.wait_ready(1)
    with service.client() as client:
        job = client.submit(flow, "go", watch="all").id
        seen = []
        while not seen or seen[-1]["kind"] != "code_result":
            seen.append(client.next_event(job, 20).body_value())
        assert seen[-1]["exit_code"] == 0
        wait_until(lambda: len(model.calls()) == 2, what="the model is asked for the second block, and says nothing")
        service.kill("worker1")
    service.start("worker2", flags=["--work-dir", str(tmp_path / "there")])
    with service.client() as client:
        events = client.watch_to_end(job)
    results = code.results(events)
    assert [result["exit_code"] for result in results] == [0, 0] and len(model.calls()) >= 3, results
    assert results[1]["output"].startswith("ran\n1400000\n") and "tool" in results[1]["output"]
    assert len([event for event in events if event["kind"] == "started"]) == 2
    assert [one["path"] for one in events[-1]["result"]["files"]] == ["d/data.bin", "tool"]


def test_a_worker_removes_the_directories_of_a_dead_one(make_service):
    service = make_service(workers=1)
    marker = f"97{os.getpid()}5"
    with service.client() as client:
        job = client.submit(code.flow(code.block(f"touch file; sleep {marker}", "sh")), "go", watch="all").id
        wait_until(lambda: processes("sleep", marker), what="the code runs")
        service.kill("worker1")
        wait_until(lambda: not processes("sleep", marker), 10, "the code died with its worker")
        [left] = (service.dir / "work").iterdir()
        service.start("worker1")
        wait_until(lambda: not left.exists(), what="the removal of the dead worker's directory")
    with service.client() as client:
        client.cancel(job)
        client.watch_to_end(job)


def test_unsafe_host_is_only_what_the_configuration_says(make_service):
    service = make_service(config={"isolation": "unsafe-host"})
    with service.client() as client:
        [result], _ = code.run(client, code.block("import os; print(os.getpid() > 100, 'OPENAI_API_KEY' in os.environ)"))
        assert result["output"].endswith("False\n") and result["isolation"] == "none (unsafe-host)"


def test_files_on_the_command_line(shared, client, user, tmp_path):
    import cli
    code.run(client, code.block("open('a.bin','wb').write(bytes(range(16)))\nopen('b.txt','w').write('text\\n')"))
    flags = ["--dir", str(shared.dir), "--user", user]
    listed = cli.run("files", "list", "last", *flags)
    assert listed.code == 0 and [line.split()[-1] for line in listed.out.splitlines()] == ["a.bin", "b.txt"]
    assert cli.run("files", "get", "last", "b.txt", *flags).out == "text\n"
    target = tmp_path / "a.bin"
    assert cli.run("files", "get", "last", "a.bin", "-o", str(target), *flags).code == 0
    assert target.read_bytes() == bytes(range(16))
    missing = cli.run("files", "get", "last", "none", *flags)
    assert missing.code == 1 and "no file none" in missing.err


def test_a_fork_begins_with_the_files_of_its_origin(client):
    from autobots_wire import id_text, make_id, pack
    job = client.submit(code.flow(code.block("open('data','w').write('of the first job')"),
                                  code.block("print(open('data').read())")), "go", watch="all").id
    events = client.events_to_end(job)
    seq = events.index(code.results(events)[0]) + 1
    new = make_id()
    client.request("SUBMIT", {"job": new, "user": client.user, "fork_of": job, "fork_seq": seq, "watch": "all"},
                   pack(None))
    again = client.events_to_end(new)
    assert [result["output"] for result in code.results(again)] == ["", "of the first job\n"]
    assert again[-1]["result"]["files"] == events[-1]["result"]["files"]
    assert client.storage.ask("get_file", job=id_text(new), path="data")["data"] == b"of the first job"


def test_a_watcher_sees_output_before_the_code_ends(client):
    marker = f"97{os.getpid()}8"
    job = client.submit(code.flow(code.block(f"echo first; sleep {marker}; echo second", "sh")), "go", watch="all",
                        deltas=True).id
    seen = client.wait_for(lambda m: m.name == "DELTA" and m["job"] == job and m["text"] == "first\n", 20, "the output")
    [pid] = wait_until(lambda: processes("sleep", marker), what="the code still runs")
    os.kill(pid, 9)
    [result] = code.results(client.events_to_end(job))
    assert result["output"].startswith("first\n") and result["output"].endswith("second\n") and seen["offset"] == 0


def test_output_streams_in_pieces(client):
    job = client.submit(code.flow(code.block("echo first; sleep 0.4; printf 'second \\303\\244'", "sh")), "go",
                        watch="all", deltas=True).id
    events = client.events_to_end(job)
    [result] = code.results(events)
    pieces = [piece for piece in client.deltas(job) if piece["step"] == result["step"]]
    assert [piece["text"] for piece in pieces] == ["first\n", "second ä"] and result["output"] == "first\nsecond ä"
    assert [piece["offset"] for piece in pieces] == [0, 6] and pieces[0]["agent"] == "user"


def test_files_of_the_message_are_in_the_directory(client, shared, user, tmp_path):
    import base64
    import cli
    parts = [{"type": "text", "text": "look"},
             {"type": "file", "name": "data.csv", "data": base64.b64encode(b"1,2\n").decode()},
             {"type": "file", "name": "data.csv", "data": base64.b64encode(b"3,4\n").decode()},
             {"type": "file", "name": "../evil", "data": base64.b64encode(b"x").decode()},
             {"type": "file", "file": {"filename": "o.txt", "file_data": "data:text/plain;base64,b3BlbmFp"}},
             {"type": "image", "data": base64.b64encode(b"\x89PNG").decode(), "media_type": "image/png"},
             {"type": "image", "url": "https://example.org/x.png"}]
    flow = code.flow(code.block("cat data.csv 3-data.csv o.txt; rm o.txt", "sh"), code.block("ls; cat o.txt", "sh"))
    events = client.events_to_end(client.submit(flow, parts, watch="all").id)
    results = code.results(events)
    assert results[0]["output"] == "1,2\n3,4\nopenai"
    assert [one["path"] for one in events[-1]["result"]["files"]] == ["3-data.csv", "data.csv", "file-4", "image-6"]
    assert "o.txt" in results[1]["output"].splitlines()[-1] and results[1]["exit_code"] == 1  # it stays removed
    (tmp_path / "photo.jpg").write_bytes(b"jpeg")
    (tmp_path / "flow.json").write_text(json.dumps(code.flow(code.block("cat photo.jpg", "sh"))))
    done = cli.run("submit", "-w", str(tmp_path / "flow.json"), "--attach", str(tmp_path / "photo.jpg"), "see", "--dir",
                   str(shared.dir), "--user", user)
    assert done.code == 0 and "\njpeg\n" in done.out, done


def test_any_file_is_given_to_code_on_the_command_line(shared, user, model, tmp_path):
    import cli
    model.behave(texts=[code.block("sha256sum a,b.bin empty 'with space.csv'; wc -c *", "sh"), "TERMINATE"])
    flow = flows.http_chat(model, replies=2, user={"code_execution_config": "local"})
    (tmp_path / "flow.json").write_text(json.dumps(flow))
    contents = {"a,b.bin": bytes(range(256)) * 8, "empty": b"", "with space.csv": b"1,2\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    def submit(*paths):
        files = [word for path in paths for word in ("--file", str(path))]
        return cli.run("submit", "-w", str(tmp_path / "flow.json"), *files, "use them", "--dir", str(shared.dir), "--user", user)

    done = submit(*(tmp_path / name for name in contents))
    import hashlib
    assert done.code == 0, done
    for name, content in contents.items():
        assert f"{hashlib.sha256(content).hexdigest()}  {name}" in done.out
    told = model.calls()[0]["body"]["messages"][-1]["content"]
    assert [part["type"] for part in told] == ["text"] * 4 and "a,b.bin, 2048 bytes" in told[1]["text"]
    (tmp_path / "large").write_bytes(bytes(7 << 20))
    (tmp_path / "larger").write_bytes(bytes(17 << 20))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "empty").write_bytes(b"x")
    for paths, says in (([tmp_path / "large"], "message_bytes_max"), ([tmp_path / "larger"], "at most"),
                        ([tmp_path], "Is a directory"), ([tmp_path / "none"], "No such file"),
                        ([tmp_path / "empty", tmp_path / "sub" / "empty"], "another file with this name")):
        refused = submit(*paths)
        assert refused.code in (1, 2) and says in refused.err, refused


def test_a_file_of_the_message_that_is_no_base64_fails_the_block(client):
    parts = [{"type": "text", "text": "look"}, {"type": "file", "name": "a", "data": "%%%"}]
    events = client.events_to_end(client.submit(code.flow(code.block("ls", "sh")), parts, watch="all").id)
    [result] = code.results(events)
    assert result["exit_code"] == 1 and "no base64" in result["stopped"]


def test_a_pause_waits_for_the_block_that_runs_and_for_no_other(client):
    marker = f"0.8{os.getpid()}7"
    text = "\n".join([code.block(f"echo one; sleep {marker}", "sh"), code.block("echo two", "sh")])
    job = client.submit(code.flow(text), "go", watch="all").id
    wait_until(lambda: processes("sleep", marker), what="the code runs")
    client.inbox(job, "pause")
    seen = []
    while not seen or seen[-1]["kind"] != "paused":
        seen.append(client.next_event(job, 20).body_value())
    assert [result["output"] for result in code.results(seen)] == ["one\n"]
    client.inbox(job, "resume")
    events = client.events_to_end(job, after=len(seen))
    assert [result["output"] for result in code.results(events)] == ["two\n"] and events[-1]["state"] == "succeeded"
