"""Storage where something is wrong: operations whose fault is their own, answers that were lost, values made to hurt."""

import pytest

import autobots_wire as wire
from storehouse import Store, append_request, ended, submit_request
from test_durability import change


def codes(answers):
    return [code for code, _ in answers]


def test_an_operation_that_fails_the_transaction_fails_alone(store):
    """Whatever is wrong with one row: what others sent beside it is `unavailable`, and goes through without it."""
    _, first = store.submit(content="doomed")
    token = store.begin(first["n"])
    change(store.dir / "database.sqlite", f"INSERT INTO ends(n,state,at_ms) VALUES({first['n']},2,1)")
    good, also = submit_request(content="good"), submit_request(content="also good")
    doomed = append_request(first["n"], 2, token, [ended("succeeded")], end="succeeded")
    answers = store.broker.batch([("submit", good), ("append", doomed), ("submit", also)])
    assert codes(answers) == ["unavailable", "internal", "unavailable"]
    assert all(answer["retryable"] for code, answer in answers if code == "unavailable")
    assert codes(store.broker.batch([("submit", good), ("submit", also)])) == ["ok", "ok"]
    assert codes(store.broker.batch([("append", doomed)])) == ["already_ended"], "read anew"
    change(store.dir / "database.sqlite", f"DELETE FROM ends WHERE n={first['n']}")
    assert codes(store.broker.batch([("append", doomed)])) == ["ok"]


def test_an_epoch_that_is_asked_for_twice_is_one(store):
    id, other = wire.make_id(), wire.make_id()
    before = store.broker.epoch
    assert codes(store.broker.batch([("epoch", {"id": id})])) == ["ok"]
    first = store.broker.one("epoch", id=id)["epoch"]
    assert first == store.broker.one("epoch", id=id)["epoch"] == before + 1
    assert store.broker.one("epoch", id=other)["epoch"] == first + 1
    assert store.broker.one("epoch", id=id)["epoch"] == first + 2


def test_publish_session_again_is_the_same_item(store):
    _, _, session = store.chat()
    ann, id = store.client("ann"), wire.id_text(wire.make_id())
    item = ann.query("publish_session", {"user": "ann", "session": session, "id": id})["gallery"]
    assert item["id"] == id
    assert ann.query("publish_session", {"user": "ann", "session": session, "id": id})["gallery"] == item
    assert len(ann.query("get_gallery", {})["gallery"]) == 1
    with pytest.raises(wire.Failure) as failed:
        store.client("bob").query("publish_session", {"user": "bob", "session": session, "id": id})
    assert failed.value.code == "conflict"
    with pytest.raises(wire.Failure) as failed:
        ann.query("publish_session", {"user": "ann", "session": session, "id": "mine"})
    assert (failed.value.code, failed.value.path) == ("invalid", "id")


def test_an_inbox_fits_into_a_message(store):
    """It is loaded with its job: without a bound one client could make a job that nobody can load."""
    job, accepted = store.submit()
    rows = [("inbox", {"job": job, "user": "ann", "id": wire.make_id(), "kind": "input", "text": "x" * (1 << 20)})
            for _ in range(6)]
    assert codes([store.broker.batch([row])[0] for row in rows]) == ["ok"] * 4 + ["busy"] * 2
    assert codes(store.broker.batch([rows[0]])) == ["ok"], "the same row again"
    cancel = {"job": job, "user": "ann", "id": wire.make_id(), "kind": "cancel", "text": "enough"}
    assert codes(store.broker.batch([("inbox", cancel)])) == ["ok"], "what is full can be ended"
    store.kill()
    store.start()
    more = ("inbox", {**rows[0][1], "id": wire.make_id()})
    assert codes(store.broker.batch([more])) == ["busy"], "also after a restart"


def test_a_thousand_faulty_workflows_are_answered(store):
    """Each refusal lists up to a hundred faults: all of them together must fit into one answer."""
    text = wire.workflow_text({"type": "chat", **{f"no_such_key_{i}": i for i in range(100)}})
    faulty = [("submit", submit_request(workflow=text, hash=wire.workflow_hash(text))) for _ in range(1000)]
    answers = store.broker.batch(faulty, timeout=60)
    assert set(codes(answers)) == {"invalid"}
    assert answers[0][1]["faults"] and "faults" not in answers[-1][1]
    assert len(wire.pack(answers)) < 8 << 20


def nested(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


def test_what_is_stored_can_be_read_inside_of_a_listing(store):
    ann = store.client("ann")
    saved = refused = 0
    for levels in range(16, 30):
        message = {"user_id": "ann", "session_id": "deep", "role": "user", "content": "x", "metadata": nested(levels)}
        try:
            ann.query("save_message", {"message": message})
            saved += 1
        except wire.Failure as error:
            assert error.code == "invalid"
            refused += 1
    assert saved and refused
    ann.query("publish_session", {"user": "ann", "session": "deep"})
    assert len(ann.query("load_messages", {"user": "ann", "session": "deep"})["messages"]) == saved
    assert len(ann.query("get_gallery", {})["gallery"][0]["messages"]) == saved


def test_requests_have_a_size(folder):
    with Store(folder, flags=["--message-bytes-max", "65536"]) as store:
        ann = store.client("ann")
        message = {"user_id": "ann", "role": "user", "content": "x" * 70000}
        for op, request in (("save_message", {"message": message}),
                            ("get_sessions", {"user": "ann", "unknown": "x" * 70000})):
            with pytest.raises(wire.Failure) as failed:
                ann.query(op, request)
            assert failed.value.code == "too_large"
        # The broker's batches are not bound by what one message may hold.
        many = [("submit", submit_request(content="y" * 60000)) for _ in range(64)]
        assert set(codes(store.broker.batch(many))) == {"ok"}
        store.drop_peers()


def test_open_jobs_with_a_cancel(store):
    jobs = [store.submit(content=str(i)) for i in range(4)]
    for job, accepted in jobs:
        store.begin(accepted["n"])
    for job, _ in jobs[1:3]:
        store.broker.one("inbox", job=job, user="ann", id=wire.make_id(), kind="cancel")
    store.broker.one("inbox", job=jobs[0][0], user="ann", id=wire.make_id(), kind="input", text="x")
    page = store.broker.query("open_jobs", {"cancelled": True})
    assert [job["job"] for job in page["jobs"]] == [job for job, _ in jobs[1:3]]
    assert len(store.broker.query("open_jobs", {})["jobs"]) == 4


def test_last_is_a_job_that_can_be_seen(store):
    seen, _, _ = store.chat(session="kept")
    hidden, _, _ = store.chat(session="cleared")
    ann = store.client("ann")
    ann.ask("clear_session", session="cleared")
    assert ann.ask("get_job", job="last")["job"]["id"] == seen
    with pytest.raises(wire.Failure) as failed:
        ann.ask("get_job", job=wire.id_text(hidden))
    assert failed.value.code == "not_found"
