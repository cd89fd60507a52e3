"""Deleting a session of thousands of messages: in steps, with others served between them, and whole after a crash."""

import sqlite3

import pytest

import autobots_wire as wire
import service
from storehouse import TEXT, Store, append_request, ended, reply, started, submit_request

JOBS, BATCH = 4000, 500
SECRET = "what nobody may find afterwards"


def fill(store, jobs=JOBS, session="long", **more):
    """Ended jobs of one session, each with a question, an answer and a journal."""
    for first in range(0, jobs, BATCH):
        requests = [submit_request(content=f"{SECRET} {i}", session=session, workflow=None if first else TEXT,
                                   **more) for i in range(first, min(first + BATCH, jobs))]
        accepted = [answer for code, answer in store.broker.batch([("submit", r) for r in requests]) if code == "ok"]
        assert len(accepted) == len(requests)
        token = store.broker.token()
        events = [started(1), reply(SECRET + "x" * 500), ended(content=SECRET)]
        done = store.broker.batch([("append", append_request(a["n"], 1, token, events, end="succeeded"))
                                   for a in accepted])
        assert {code for code, _ in done} == {"ok"}


def left(store):
    return store.rows("SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM events)")[0]


def indexed(store):
    """All that was said can be found."""
    client = store.client()
    service.wait_until(lambda: not client.query("storage_status").get("unindexed"), what="the index", timeout=60)


def later(client, op, **request):
    rid = next(client.rids)
    client.send("QUERY", {"rid": rid, "op": op}, wire.pack({"user": client.user, **request}))
    return rid


@pytest.mark.parametrize("op,answer", [
    ("delete_user_sessions", {"sessions": []}),
    ("clear_session", {"deleted": 2 * JOBS}),
    ("delete_message", {"messages": []}),
])
def test_others_are_served_between_its_steps(store, op, answer):
    fill(store)
    indexed(store)
    ann, bob = store.client(), store.client("bob")
    commits = ann.query("storage_status")["commits"]
    rid = later(ann, op, session="long", **({"delete_all": True} if op == "delete_message" else {}))
    bob.query("save_message", {"message": {"user_id": "bob", "session_id": "b", "role": "user", "content": "hi"}})
    assert left(store)[0] > 1, "bob's message was stored while ann's were being removed"
    assert ann.answer(rid, 60).body_value() == answer
    assert left(store) == (1, 0), "bob's"
    assert ann.query("storage_status")["commits"] - commits > 3
    assert store.rows("SELECT count(*) FROM jobs WHERE input IS NOT NULL") == [(0,)]
    indexed(store)
    assert store.rows("SELECT count(*) FROM message_docs") == [(1,)], "bob's"
    assert ann.ask("search_messages", query="nobody")["hits"] == []


def test_a_crash_in_the_middle_leaves_a_whole_file_and_it_goes_on(folder):
    with Store(folder) as store:
        fill(store)
        indexed(store)
        store.kill()
        store.start(env={"AUTOBOTS_FAILPOINT": "storage.after_commit:kill:4"})
        later(store.client(), "delete_user_sessions", session="long")
        store.wait_dead()
        messages, events = left(store)
        assert 0 < messages < 2 * JOBS and 0 < events < 3 * JOBS
        print(store.check())
        store.start()
        ann = store.client()
        rest = ann.ask("load_messages", session="long", limit=3)["messages"]
        assert rest and rest[0]["content"] != f"{SECRET} 0"
        assert ann.ask("delete_user_sessions", session="long", timeout=60) == {"sessions": []}
        assert left(store) == (0, 0)
        store.drop_peers()
        assert store.process.terminate() == 0
        print(store.check())
        with sqlite3.connect(store.dir / "database.sqlite") as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        assert not [p for p in store.dir.iterdir() if p.is_file() and SECRET.encode() in p.read_bytes()]


def test_a_journal_of_many_events_goes_in_steps_too(folder):
    with Store(folder) as store:
        job, accepted = store.submit(session="long")
        token = store.begin(accepted["n"])
        for seq in range(2, 2 + 64 * 150, 64):
            store.broker.one("append", **append_request(accepted["n"], seq, token, [reply(SECRET + "y" * 2000)] * 64))
        store.broker.one("append", **append_request(accepted["n"], 2 + 64 * 150, token, [ended(content="z")],
                                                    end="succeeded"))
        indexed(store)  # so that the commits that are counted are those of the steps
        store.kill()
        store.start(env={"AUTOBOTS_FAILPOINT": "storage.step:error,storage.after_commit:kill:3"})
        later(store.client(), "delete_user_sessions", session="long")
        store.wait_dead()
        messages, events = left(store)
        assert messages == 2 and 64 * 140 < events < 64 * 150, "a step took 64, whatever the clock said"
        print(store.check())
        store.start()
        ann = store.client()
        assert ann.ask("load_messages", session="long") == {"messages": []}, "nothing of it is shown any more"
        assert ann.ask("list_jobs")["jobs"] == []
        assert ann.ask("delete_user_sessions", session="long", timeout=60) == {"sessions": []}
        assert left(store) == (0, 0)
        store.drop_peers()


def test_who_asked_may_leave(store):
    fill(store)
    ann = store.client()
    later(ann, "delete_user_sessions", session="long")
    service.wait_until(lambda: left(store)[0] < 2 * JOBS, what="the first step")
    ann.close()
    store.peers.remove(ann)
    service.wait_until(lambda: left(store) == (0, 0), what="the last step")


def test_its_live_jobs_are_cancelled_in_whatever_step_they_are_met(store):
    fill(store, 2000)
    live = [store.submit(session="long")[1]["n"] for _ in range(3)]
    ann = store.client()
    ann.ask("delete_user_sessions", session="long", timeout=60)
    assert store.rows("SELECT n, kind FROM inbox ORDER BY n") == [(n, "cancel") for n in live]
    notices = {store.broker.wait_for(lambda m: m.name == "NOTICE", 5)["job"] for _ in live}
    assert len(notices) == 3


def test_a_full_disk_in_a_later_step_is_told(folder):
    with Store(folder) as store:
        fill(store)
        store.kill()
        store.start(env={"AUTOBOTS_FAILPOINT": "storage.begin:error:4"})
        ann = store.client()
        with pytest.raises(wire.Failure) as failed:
            ann.answer(later(ann, "delete_user_sessions", session="long"), 60)
        assert failed.value.code == "unavailable" and 0 < left(store)[0] < 2 * JOBS
        assert ann.ask("delete_user_sessions", session="long", timeout=60) == {"sessions": []}
        assert left(store) == (0, 0)
        store.drop_peers()
