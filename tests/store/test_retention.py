"""What ended longer ago than `retention_days` goes away; what a session still shows stays.

Time is made in the file: the service is stopped, its rows are made older, it is started again.
"""

import sqlite3
import time

import pytest

import autobots_wire as wire
import flows
import service
from storehouse import Store, append_request, ended, reply, started, submit_request

DAY_MS = 24 * 60 * 60 * 1000
DAYS = 7
FLAGS = ["--retention-days", str(DAYS)]
FLOW = wire.workflow_text(flows.script_chat(["another workflow"]))


def aged(raw, ms):
    """The id that would have been made so much earlier."""
    made = int.from_bytes(raw[:6], "big") - ms
    return made.to_bytes(6, "big") + raw[6:]


def make_older(store, jobs, days, ids=True):
    """Stops the service and lets these jobs (commit numbers) have run `days` earlier. Starts it again."""
    code = store.process.terminate()
    assert code == 0
    store.drop_peers()
    ms = days * DAY_MS
    db = sqlite3.connect(store.dir / "database.sqlite")
    for n in jobs:
        db.execute("UPDATE jobs SET created_ms=created_ms-? WHERE n=?", (ms, n))
        db.execute("UPDATE ends SET at_ms=at_ms-? WHERE n=?", (ms, n))
        if ids:
            [[id]] = db.execute("SELECT id FROM jobs WHERE n=?", (n,))
            db.execute("UPDATE jobs SET id=? WHERE n=?", (aged(id, ms), n))
    db.commit()
    db.close()
    store.start()


def count(store, table, n):
    [[rows]] = store.rows(f"SELECT count(*) FROM {table} WHERE n=?", n)
    return rows


def wait_gone(store, table, n):
    service.wait_until(lambda: not count(store, table, n), what=f"job {n} is out of {table}")


@pytest.fixture
def store(folder):
    with Store(folder, flags=FLAGS) as s:
        yield s
        s.drop_peers()
        s.check()


def test_a_job_without_session_vanishes_wholly(store):
    old, n, _ = store.chat(no_session=True)
    _, young, _ = store.chat(no_session=True)
    store.broker.one("inbox", job=store.submit(no_session=True)[0], user="ann", id=wire.make_id(), kind="input", text="x")
    make_older(store, [n], DAYS + 1)
    wait_gone(store, "jobs", n)
    for table in ("events", "ends", "inbox", "job_secrets", "open_jobs"):
        assert count(store, table, n) == 0, table
    assert count(store, "events", young) == 3 and count(store, "jobs", young) == 1
    # Its id is too old to be taken again: idempotency does not end with the row.
    [(code, answer)] = store.broker.batch([("submit", submit_request(job=aged(old, (DAYS + 1) * DAY_MS), no_session=True))])
    assert code == "expired", answer


def test_what_a_session_shows_stays_until_it_goes(store):
    _, n, session = store.chat(content="question", answer="the answer")
    _, last, _ = store.chat(no_session=True)
    make_older(store, [n], DAYS + 1)
    service.wait_until(lambda: count(store, "events", n) == 1, what="the journal is gone but for its end")
    ann = store.client("ann")
    messages = ann.query("load_messages", {"user": "ann", "session": session})["messages"]
    assert [m["content"] for m in messages] == ["question", "the answer"]
    [[id]] = store.rows("SELECT id FROM jobs WHERE n=?", n)
    record = ann.query("get_job", {"user": "ann", "job": wire.id_text(id)})["job"]
    assert record["state"] == "succeeded" and record["end"]["content"] == "the answer" and record["seq"] == 3
    page = ann.query("journal", {"user": "ann", "job": id})
    assert [e["kind"] for e in page["events"]] == ["end"] and page["seq"] == 3 and page["end"] == "succeeded"
    store.check()
    # Its last message is deleted: now nothing holds it.
    for message in messages:
        ann.query("delete_message", {"user": "ann", "session": session, "msg_id": message["msg_id"]})
    make_older(store, [], 0)
    wait_gone(store, "jobs", n)
    assert store.rows("SELECT count(*) FROM messages") == [(0,)]
    assert count(store, "jobs", last) == 1


def test_a_deleted_session_frees_its_jobs(store):
    _, n, session = store.chat()
    _, _, other = store.chat()
    ann = store.client("ann")
    ann.query("delete_user_sessions", {"user": "ann", "session": session})
    assert count(store, "jobs", n) == 1, "the id is taken until it is too old"
    make_older(store, [n], DAYS + 1)
    wait_gone(store, "jobs", n)
    assert len(store.client("ann").query("load_messages", {"user": "ann", "session": other})["messages"]) == 2


def test_what_has_not_ended_or_ended_lately_stays(store):
    _, waiting = store.submit(no_session=True)
    token = store.begin(waiting["n"])
    _, late, _ = store.chat(no_session=True)
    _, old, _ = store.chat(no_session=True)
    store.chat(no_session=True)
    make_older(store, [waiting["n"], late, old], DAYS + 1)
    wait_gone(store, "jobs", old)
    assert count(store, "open_jobs", waiting["n"]) == 1 and count(store, "events", waiting["n"]) == 1
    store.broker.one("append", **append_request(waiting["n"], 2, token, [reply("x"), ended("succeeded")], end="succeeded"))
    assert count(store, "ends", waiting["n"]) == 1


def test_an_id_from_the_future_stays_taken(store):
    """Its journal is old, its id is not: without the row it would be taken for a new job."""
    job, n, _ = store.chat(no_session=True)
    store.chat(no_session=True)
    make_older(store, [n], DAYS + 1, ids=False)
    wait_gone(store, "events", n)
    assert count(store, "jobs", n) == 1
    [(code, answer)] = store.broker.batch([("submit", submit_request(job=job, no_session=True))])
    assert code == "ok" and not answer.get("created") and answer["state"] == "succeeded"


def test_commit_numbers_are_not_given_twice(store):
    _, n, _ = store.chat(no_session=True)
    make_older(store, [n], DAYS + 1)
    wait_gone(store, "events", n)
    make_older(store, [], 0)
    assert store.submit()[1]["n"] == n + 1


def test_saved_workflows_stay(store):
    saved = store.client().ask("save_workflow", name="w", workflow=FLOW)["workflow"]
    store.client().ask("save_workflow", name="forgotten", workflow=wire.workflow_text(flows.script_chat(["x"])))
    store.client().ask("delete_workflow", name="forgotten")
    _, n, _ = store.chat(hash=saved["hash"], workflow=None, no_session=True)
    store.chat(no_session=True)  # the last job's row always stays
    make_older(store, [n], DAYS + 1)
    service.wait_until(lambda: len(store.rows("SELECT 1 FROM workflows")) == 2, what="the forgotten one is gone")
    assert count(store, "jobs", n) == 0
    assert store.client().ask("get_workflow", name="w")["record"] == saved


def test_of_an_imported_run_the_retention_counts_from_its_import(store):
    job, n, _ = store.chat(no_session=True)
    ann = store.client()
    record = ann.ask("get_job", job=wire.id_text(job), raw=True)["job"]
    run = {"job": aged(job, 100 * DAY_MS), "created_ms": record["created_ms"] - 100 * DAY_MS, "hash": record["hash"],
           "ended_ms": record["ended_ms"] - 100 * DAY_MS, "input": record["input"],
           "workflow": ann.ask("workflow", hash=record["hash"])["workflow"],
           "events": ann.ask("journal", job=job, raw=True)["raw"]}
    imported = ann.ask("import_run", **run)["n"]
    _, last, _ = store.chat(no_session=True)  # the last job's row always stays
    make_older(store, [n], DAYS + 1)
    wait_gone(store, "jobs", n)
    record = store.client().ask("get_job", job=wire.id_text(run["job"]))["job"]
    assert record["created_ms"] == run["created_ms"] and record["imported_ms"] > run["ended_ms"]
    assert store.client().ask("import_run", **run) == {"n": imported, "seq": 3}
    store.process.terminate()
    store.drop_peers()
    with sqlite3.connect(store.dir / "database.sqlite") as db:
        db.execute("UPDATE imports SET at_ms=at_ms-?", ((DAYS + 1) * DAY_MS,))
    db.close()
    store.start()
    wait_gone(store, "jobs", imported)
    assert store.rows("SELECT * FROM imports") == [] and count(store, "jobs", last) == 1


def test_the_id_of_an_imported_run_is_taken_even_if_it_is_ahead_of_the_clock(store):
    job, _, _ = store.chat(no_session=True)
    ann = store.client()
    record = ann.ask("get_job", job=wire.id_text(job), raw=True)["job"]
    ahead = aged(job, -10 * DAY_MS)
    ann.ask("import_run", job=ahead, created_ms=record["created_ms"], ended_ms=record["ended_ms"], hash=record["hash"],
            workflow=ann.ask("workflow", hash=record["hash"])["workflow"], input=record["input"],
            events=ann.ask("journal", job=job, raw=True)["raw"])
    results = store.broker.batch([("submit", submit_request(job=ahead)), ("submit", submit_request())])
    assert [code for code, _ in results] == ["conflict", "ok"]


def test_workflows_that_nothing_names_go(store):
    def stored():
        return {text for [text] in store.rows("SELECT text FROM workflows")}

    other = {"workflow": FLOW, "hash": wire.workflow_hash(FLOW), "no_session": True}
    _, old = store.submit(**other)
    store.finish(old["n"])
    _, kept, _ = store.chat()
    assert len(stored()) == 2
    make_older(store, [old["n"], kept], DAYS + 1)
    service.wait_until(lambda: len(stored()) == 1, what="one workflow is gone")
    assert FLOW not in stored()
    # It is not remembered either: it has to be sent again.
    [(code, _)] = store.broker.batch([("submit", submit_request(**{**other, "workflow": None}))])
    assert code == "unknown_workflow"
    assert store.submit(**other)[1]["created"]


def test_a_pass_that_fails_harms_nobody(store):
    """The disk may be full: what is asked meanwhile is answered, and the next pass goes on."""
    _, n, _ = store.chat(no_session=True)
    store.chat(no_session=True)
    code = store.process.terminate()
    assert code == 0
    store.drop_peers()
    db = sqlite3.connect(store.dir / "database.sqlite")
    db.execute("UPDATE jobs SET created_ms=1 WHERE n=?", (n,))
    db.execute("UPDATE ends SET at_ms=1 WHERE n=?", (n,))
    db.commit()
    db.execute("BEGIN IMMEDIATE")  # somebody else has the file: the service waits for a while, then it cannot
    store.start()
    service.wait_until(lambda: "purge.failed" in store.process.log(), what="a slice that failed", timeout=30)
    db.rollback()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    assert store.submit(no_session=True)[1]["created"]
    assert count(store, "events", n) == 3
    make_older(store, [], 0)
    wait_gone(store, "events", n)


def test_a_long_journal_goes_in_slices_beside_other_work(store):
    """Nobody waits for more than a slice; a kill in the middle leaves a file that the check accepts."""
    jobs = []
    for _ in range(20):
        _, accepted = store.submit(no_session=True)
        n, token = accepted["n"], store.broker.token()
        store.broker.one("append", **append_request(n, 1, token, [started(1)]))
        for i in range(10):
            store.broker.one("append", **append_request(n, 2 + 60 * i, token, [reply("x" * 500) for _ in range(60)]))
        store.broker.one("append", **append_request(n, 602, token, [ended("succeeded")], end="succeeded"))
        jobs.append(n)
    _, last, _ = store.chat(no_session=True)
    make_older(store, jobs, DAYS + 1)
    client, slowest = store.client("ann"), 0.0
    killed = False
    while count(store, "jobs", jobs[-1]):
        begin = time.monotonic()
        client.query("save_message", {"message": {"user_id": "ann", "role": "user", "content": "x"}})
        slowest = max(slowest, time.monotonic() - begin)
        gone = sum(not count(store, "jobs", n) for n in jobs)
        if gone >= 3 and not killed:
            store.kill()
            killed = True
            store.check()
            store.start()
            client = store.client("ann")
        time.sleep(0.25)  # a gap, in which it may work
    assert killed
    assert slowest < 0.5 * service.slow()
    assert count(store, "jobs", last) == 1
