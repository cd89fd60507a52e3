"""What storage promises of its disk: nothing is answered before it is synced, whatever happens in between."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

import autobots_wire as wire
import service
from storehouse import Store, append_request, ended, started, submit_request

SYNC = r"f(?:data)?sync\("
ANSWER = re.compile(r"\\x41\\x42\\x01(\\x33|\\x13)")  # "AB", version 1, RESULTS or RESULT


NO_LEAKS = {"ASAN_OPTIONS": "detect_leaks=0"}  # the leak sanitizer cannot work under strace


def traced(path, calls):
    """A command line that traces what follows it. -D: the traced program is our child, strace is not."""
    return ["strace", "-D", "-f", "-y", "-x", "-qq", "-s", "64", "-e", f"trace={calls},exit_group", "-o", str(path)]


def read_trace(path):
    """All of it: the tracer is done a moment after the program."""
    service.wait_until(lambda: "exit_group" in path.read_text(), what="the end of the trace")
    return path.read_text()


def change(path, statements):
    """Changes the database as another program would; all of it is in the file afterwards."""
    db = sqlite3.connect(path)
    db.executescript(statements)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def test_no_answer_leaves_before_its_sync(folder):
    """In the order of system calls: an answer is written to a socket only after the log was synced, never
    between a write to the log and its sync. ZeroMQ writes from a thread of its own: the order of the process counts."""
    trace = folder / "trace"
    env = {**NO_LEAKS, "AUTOBOTS_FAILPOINT": "storage.feed:error"}  # its commits are not synced: nobody waits for them
    with Store(folder, env=env, prefix=traced(trace, "sendto,sendmsg,write,pwrite64,fdatasync,fsync")) as store:
        broker = store.broker
        for i in range(5):
            broker.one("submit", **submit_request(content=f"traced {i}"))
        store.client().query("save_message", {"message": {"user_id": "a", "role": "user", "content": "x"}})
        store.drop_peers()
    lines = read_trace(trace).splitlines()
    # A call that another thread interrupts is split into "unfinished" and "resumed": its return counts.
    dirty, syncing, answers, writes = False, None, 0, 0
    for line in lines:
        thread = line.split()[0]
        if "-wal>" in line and "pwrite64(" in line:
            dirty = True
            writes += 1
        elif "-wal>" in line and re.search(SYNC, line):
            dirty, syncing = (dirty, thread) if "unfinished" in line else (False, None)
        elif "sync resumed" in line and thread == syncing:
            dirty = syncing = None
        elif re.search(r"(sendto|sendmsg|write)\(", line) and ANSWER.search(line):
            answers += 1
            assert not dirty, f"an answer left before the sync: {line}"
    assert answers == 7, "\n".join(line for line in lines if "send" in line)  # epoch, 5 submits, 1 message
    assert writes >= answers  # the log was seen


def test_a_batch_costs_one_sync(folder):
    trace = folder / "trace"
    with Store(folder, env=NO_LEAKS, prefix=traced(trace, "fdatasync,fsync")) as store:
        broker = store.broker
        broker.one("submit", **submit_request())
        before = len(re.findall(SYNC, trace.read_text()))
        for _ in range(10):
            broker.batch([("submit", submit_request()) for _ in range(100)])
        after = len(re.findall(SYNC, trace.read_text()))
        store.drop_peers()
    assert 10 <= after - before <= 20, f"{after - before} syncs for 10 batches of 100"


@pytest.mark.parametrize("point,committed", [
    ("storage.received", False), ("storage.operation", False), ("storage.before_commit", False), ("storage.after_commit", True),
    ("storage.before_answer", True)])
def test_killed_at_any_step_then_sent_again_the_answer_is_the_same(folder, point, committed):
    with Store(folder) as store:
        store.submit(content="before")
        request = submit_request(content="the one")
        token = store.broker.token()
        append = append_request(2, 1, token, [started(1)])
        store.process.terminate()
        store.drop_peers()
        store.start(env={"AUTOBOTS_FAILPOINT": f"{point}:kill:2"})  # the first batch is the epoch
        store.broker.send_batch([("submit", request), ("append", append)])
        assert store.wait_dead() == -signal.SIGKILL
        assert store.rows("SELECT count(*) FROM jobs") == [(1 + committed,)]
        store.start()
        answers = [store.broker.batch([("submit", request), ("append", append)]) for _ in range(2)]
        for (code, submitted), (append_code, appended) in answers:
            assert code == append_code == "ok" and submitted["n"] == 2 and appended == {"seq": 1}
        assert bool(answers[0][0][1].get("created")) == (not committed)
        assert store.rows("SELECT count(*) FROM jobs") == [(2,)]
        assert store.rows("SELECT count(*) FROM events") == [(1,)]
        store.drop_peers()
        store.check()


def test_killed_at_random_under_load_every_acknowledged_job_is_there(folder, rng):
    acknowledged = {}
    with Store(folder) as store:
        for _ in range(4):
            broker = store.broker
            deadline = time.monotonic() + rng.uniform(0.05, 0.4)
            pending = {}
            while time.monotonic() < deadline:
                requests = [submit_request(no_session=True) for _ in range(rng.randint(1, 50))]
                pending[broker.send_batch([("submit", r) for r in requests])] = requests
                while message := broker.take_any():
                    if message.name == "RESULTS":
                        for request, (code, answer) in zip(pending.pop(message["rid"]), message.body_value()):
                            assert code == "ok"
                            acknowledged[request["job"]] = answer["n"]
            store.kill()
            store.start()
        broker = store.broker
        rows = dict(store.rows("SELECT id,n FROM jobs"))
        assert acknowledged
        for job, n in acknowledged.items():
            assert rows[job] == n
        store.drop_peers()
        store.check()


def test_a_failed_sync_ends_the_process_without_an_answer(folder):
    with Store(folder, env={"AUTOBOTS_FAILPOINT": "storage.sync:error:2"}) as store:
        broker = store.broker
        rid = broker.send_batch([("submit", submit_request())])
        with pytest.raises(wire.NoAnswer):
            broker.answer(rid, timeout=1)
        assert store.wait_dead() == 111
        assert "storage.failed" in store.process.log()


def test_a_database_that_cannot_be_written_refuses_and_recovers(folder):
    with Store(folder, env={"AUTOBOTS_FAILPOINT": "storage.begin:error:2"}) as store:
        broker = store.broker
        request = submit_request()
        [(code, failure)] = broker.batch([("submit", request)])
        assert code == "unavailable" and failure["retryable"]
        assert broker.one("submit", **request)["created"]
        store.drop_peers()


def test_a_clients_operation_that_fails_late_leaves_nothing(folder):
    with Store(folder, env={"AUTOBOTS_FAILPOINT": "storage.operation:error:1"}) as store:
        ann = store.client()
        message = {"message": {"user_id": "ann", "session_id": "s", "role": "user", "content": "x", "msg_id": "m"}}
        with pytest.raises(wire.Failure) as failed:
            ann.query("save_message", message)
        assert failed.value.code == "unavailable"
        assert ann.ask("get_sessions") == {"sessions": []}
        assert store.rows("SELECT count(*) FROM users") == [(0,)]
        assert ann.query("save_message", message)["message"]["msg_id"] == "m"
        assert len(ann.ask("load_messages", session="s")["messages"]) == 1


def test_a_deletion_that_fails_late_cancels_nothing(folder):
    with Store(folder, env={"AUTOBOTS_FAILPOINT": "storage.operation:error:3"}) as store:
        job, accepted = store.submit(session="s")  # after the epoch: the second operation
        ann = store.client()
        with pytest.raises(wire.Failure):
            ann.ask("delete_user_sessions", session="s")
        assert store.broker.receive(timeout=0.3) is None  # no notice
        assert store.rows("SELECT count(*) FROM inbox") == [(0,)]
        row = {"job": job, "user": "ann", "id": wire.make_id(), "kind": "cancel"}
        assert store.broker.one("inbox", **row)["k"] == 1
        store.finish(accepted["n"])
        assert len(ann.ask("load_messages", session="s")["messages"]) == 2


@pytest.fixture
def small_disk(folder):
    """A file system of 24 MB at FOLDER/d."""
    where = folder / "d"
    where.mkdir(mode=0o700)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", str(where)],
                                            capture_output=True).returncode:
        pytest.skip("cannot mount a tmpfs here")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_refuses_writes_serves_reads_and_recovers(folder, small_disk):
    with Store(folder) as store:
        broker, ann = store.broker, store.client()
        first, _ = store.submit(content="before")
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * (12 << 20))
        accepted, refused, text = 0, None, "y" * (512 << 10)
        for _ in range(100):
            request = submit_request(content=text)
            [(code, refused)] = broker.batch([("submit", request)])
            if code != "ok":
                break
            accepted += 1
        assert code == "unavailable" and refused["retryable"] and "full" in refused["text"], (code, refused)
        # reads go on, several times, and so do refusals
        for _ in range(3):
            assert ann.ask("get_job", job=wire.id_text(first))["job"]["content"] == "before"
            [(code, _)] = broker.batch([("submit", submit_request(content=text))])
            assert code == "unavailable"
        with pytest.raises(wire.Failure) as failed:
            # more than a job with the text takes, so that what does not fit there does not fit here
            ann.query("save_message", {"message": {"user_id": "ann", "role": "user", "content": 2 * text}})
        assert failed.value.code == "unavailable"
        assert ann.query("storage_status")["writable"]
        ballast.unlink()
        answer = broker.one("submit", **request)  # by itself, without a restart
        assert answer["created"] and answer["n"] == accepted + 2
        assert "writable" not in ann.query("storage_status")
        assert store.rows("SELECT count(*) FROM jobs") == [(accepted + 2,)]
        store.drop_peers()
        store.check()


def run_again(store, *more):
    return subprocess.run(store.argv(*more), env=service.clean_environment(), capture_output=True, text=True, timeout=30)


def test_a_second_storage_on_the_file_refuses_to_start(store):
    store.submit()
    second = run_again(store)
    assert second.returncode == 100
    assert str(store.process.pid) in second.stderr and "in use" in second.stderr
    assert store.submit()[1]["created"]


def test_a_newer_schema_is_refused_with_a_clear_text(folder):
    with Store(folder) as store:
        store.submit()
        store.process.terminate()
        store.drop_peers()
        path = store.dir / "database.sqlite"
        change(path, "PRAGMA user_version=99")
        before = path.read_bytes()
        done = run_again(store)
        assert done.returncode == 100 and "schema 99" in done.stderr and "newer" in done.stderr
        assert path.read_bytes() == before


@pytest.mark.parametrize("damage,words", [
    (lambda path: path.write_bytes(b"this is not a database at all" * 100), "not a database"),
    (lambda path: change(path, "ALTER TABLE jobs ADD COLUMN odd"), "tables"),
    (lambda path: change(path, "PRAGMA application_id=1"), "not a database of autobots")])
def test_damage_is_reported_and_nothing_is_repaired_by_deleting(folder, damage, words):
    with Store(folder) as store:
        store.submit()
        store.process.terminate()
        store.drop_peers()
        path = store.dir / "database.sqlite"
        damage(path)
        before = path.read_bytes()
        done = run_again(store)
        assert done.returncode == 100 and words in done.stderr, done.stderr
        assert path.read_bytes() == before


@pytest.mark.parametrize("statements,words", [
    ("UPDATE events SET body=zeroblob(20) WHERE seq=2", "checksum"),
    ("DELETE FROM events WHERE seq=1", "gap"),
    ("DELETE FROM ends", "neither open nor ended"),
    ("INSERT INTO open_jobs(n,state) SELECT n,0 FROM jobs", "or both"),
    ("DELETE FROM events WHERE seq=3", "end event"),
    ("DELETE FROM sessions", "no session"),
    ("UPDATE messages SET pos=pos+(9<<24)", "not there"),
    ("UPDATE jobs SET user=77", "no user")])
def test_check_finds_what_is_wrong(folder, statements, words):
    with Store(folder) as store:
        store.chat()
        store.process.terminate()
        store.drop_peers()
        assert "0 faults" in store.check()
        change(store.dir / "database.sqlite", statements)
        done = run_again(store, "--check")
        assert done.returncode == 1 and words in done.stdout, done.stdout + done.stderr


def test_check_runs_beside_the_service(store):
    store.chat()
    assert "0 faults" in store.check()
    assert store.submit()[1]["created"]


def test_everything_is_there_after_a_restart(store):
    job, n, session = store.chat(content="q", answer="a")
    epoch = store.broker.epoch
    store.kill()
    store.start()
    assert store.broker.epoch == epoch + 1
    ann = store.client()
    assert [m["content"] for m in ann.ask("load_messages", session=session)["messages"]] == ["q", "a"]
    assert ann.ask("get_job", job="last")["job"]["state"] == "succeeded"
    [(code, _)] = store.broker.batch([("append", append_request(n, 4, store.broker.token(), [ended()], end="succeeded"))])
    assert code == "already_ended"


def test_reads_see_ones_own_acknowledged_writes(store):
    ann = store.client()
    for i in range(200):
        ann.query("save_message", {"message": {"user_id": "ann", "session_id": "s", "role": "user", "content": str(i)}})
        last = ann.ask("load_messages", session="s", limit=1000)["messages"][-1]
        assert last["content"] == str(i)


def test_the_log_is_bounded(store):
    broker, text = store.broker, "z" * 100_000
    most = 0
    for _ in range(60):
        broker.batch([("submit", submit_request(content=text, no_session=True)) for _ in range(30)])
        most = max(most, (store.dir / "database.sqlite-wal").stat().st_size)
    assert most < (64 + 16) << 20, f"the log grew to {most >> 20} MB"
    assert shutil.disk_usage(store.dir).free
