"""Jobs in storage: submit, append, inbox, what the broker reads, what clients see."""

import time

import pytest

import autobots_wire as wire
from storehouse import (FLOW, HASH, TEXT, append_request, attempt_failed, ended, reply, started, submit_request, turn,
                        waiting)


def code_of(answer):
    return answer[0]


# -- submit -----------------------------------------------------------------------------------------------------------


def test_the_same_submit_is_answered_alike_and_stored_once(store):
    request = submit_request(content="once")
    first, second = store.broker.batch([("submit", request), ("submit", request)])
    assert code_of(first) == code_of(second) == "ok"
    assert first[1]["created"] and "created" not in second[1]
    assert first[1]["n"] == second[1]["n"] and first[1]["session"] == second[1]["session"]
    assert store.broker.one("submit", **request)["n"] == first[1]["n"]
    store.finish(first[1]["n"])
    assert store.broker.one("submit", **request)["state"] == "succeeded"
    assert store.rows("SELECT count(*) FROM jobs") == [(1,)]
    assert store.rows("SELECT count(*) FROM messages") == [(2,)]


@pytest.mark.parametrize("change", [
    {"content": "other"}, {"user": "bob"}, {"session": "s"}, {"no_session": True}, {"priority": 1},
    {"deadline_ms": 5}, {"key": "k"}, {"pool": "p"}, {"tenant": "t"}, {"input": {"metadata": {"a": 1}}}])
def test_the_same_id_with_other_content_is_a_conflict_without_details(store, change):
    job, accepted = store.submit(user="ann", content="private words")
    [(code, failure)] = store.broker.batch([("submit", submit_request(**{"content": "private words", "job": job, **change}))])
    assert code == "conflict" and "private" not in failure["text"] and "ann" not in failure["text"]


def test_new_sealed_keys_or_no_text_are_still_the_same_job(store):
    request = submit_request(secrets=[b"sealed once"])
    store.broker.one("submit", **request)
    again = {**request, "secrets": [b"sealed twice"]}
    del again["workflow"]
    assert "created" not in store.broker.one("submit", **again)


def test_an_id_older_than_the_retention_is_expired_unless_the_job_is_there(store):
    old = wire.make_id(ms=int((time.time() - 31 * 86400) * 1000))
    [(code, failure)] = store.broker.batch([("submit", submit_request(job=old))])
    assert code == "expired" and failure["path"] == "job"
    young = wire.make_id(ms=int((time.time() - 29 * 86400) * 1000))
    assert store.submit(job=young)[1]["created"]


def test_one_refused_operation_does_not_disturb_the_others_of_its_batch(store):
    good, bad = submit_request(content="good"), submit_request(job=b"\0" * 16)
    codes = [code for code, _ in store.broker.batch([
        ("submit", good), ("submit", bad), ("append", append_request(999, 1, 1, [started(1)])),
        ("submit", submit_request(user="")), ("submit", submit_request(content="also good"))])]
    assert codes == ["ok", "invalid", "not_found", "invalid", "ok"]
    assert store.rows("SELECT count(*) FROM jobs") == [(2,)]


def test_workflows_are_validated_once_and_kept_by_hash(store):
    unknown = submit_request()
    del unknown["workflow"]
    [(code, failure)] = store.broker.batch([("submit", unknown)])
    assert code == "unknown_workflow" and failure["retryable"]
    store.submit()
    assert store.broker.one("submit", **unknown)["created"]
    worker = store.peer(wire.Peer(store.endpoint, {"role": "worker"}))
    assert worker.query("workflow", {"hash": HASH}) == {"workflow": TEXT}
    with pytest.raises(wire.Failure) as refused:
        worker.query("workflow", {"hash": b"x" * 32})
    assert refused.value.code == "not_found"
    assert store.rows("SELECT count(*),max(name) FROM workflows") == [(1, FLOW["name"])]


def with_text(text, **more):
    return submit_request(workflow=text, hash=wire.workflow_hash(text), **more)


def test_a_faulty_workflow_is_refused_with_all_its_faults(store):
    flow = {"name": "x", "type": "circus", "agents": [
        {"agent": {"name": "a", "type": "clown"}, "link": {"agent_type": "sender"}}]}
    [(code, failure)] = store.broker.batch([("submit", with_text(wire.workflow_text(flow)))])
    assert code == "invalid" and failure["path"].startswith("$")
    paths = [fault["path"] for fault in failure["faults"]]
    assert "$.type" in paths and any("agents[0]" in path for path in paths)
    assert all(fault["what"] for fault in failure["faults"])


def test_a_clear_key_in_a_workflow_is_refused_and_leaves_no_trace(store):
    flow = wire.json.loads(TEXT)
    flow["agents"][1]["agent"]["config"]["llm_config"]["config_list"][0]["api_key"] = "sk-planted-key"
    [(code, failure)] = store.broker.batch([("submit", with_text(wire.workflow_text(flow)))])
    assert code == "invalid" and "api_key" in failure["path"]
    assert "sk-planted-key" not in str(failure)
    assert not any(b"sk-planted-key" in path.read_bytes() for path in store.dir.glob("database*"))
    assert "sk-planted-key" not in store.process.log()


@pytest.mark.parametrize("text,hash", [("not json", None), ("{", None), ("[]", None), (TEXT, b"y" * 32)])
def test_a_text_that_is_no_workflow_or_has_another_hash_is_refused(store, text, hash):
    request = submit_request(workflow=text, hash=hash or wire.workflow_hash(text))
    [(code, _)] = store.broker.batch([("submit", request)])
    assert code == "invalid"


@pytest.mark.parametrize("content", [5, {"a": 1}, [{"x": 1}], ["text"], True])
def test_content_is_a_text_or_parts(store, content):
    [(code, failure)] = store.broker.batch([("submit", submit_request(content=content))])
    assert code == "invalid" and failure["path"] == "content"
    with pytest.raises(wire.Failure) as refused:
        store.client().query("save_message", {"message": {"user_id": "ann", "role": "user", "content": content}})
    assert refused.value.code == "invalid" and refused.value.path == "content"
    assert store.submit(content=[])[1]["created"] and store.submit(content="")[1]["created"]


def test_a_message_id_is_given_once(store):
    store.submit(input={"msg_id": "m1"})
    [(code, failure)] = store.broker.batch([("submit", submit_request(input={"msg_id": "m1"}))])
    assert code == "conflict" and failure["path"] == "msg_id"
    assert store.client().ask("list_jobs")["jobs"][0]["content"] == "hello"


def test_a_job_without_session_leaves_no_message(store):
    job, accepted = store.submit(no_session=True)
    assert "session" not in accepted
    store.finish(accepted["n"], "quiet")
    assert store.rows("SELECT count(*) FROM messages") == [(0,)]
    assert store.rows("SELECT count(*) FROM sessions") == [(0,)]
    assert store.client().ask("get_job", job="last")["job"]["end"]["content"] == "quiet"


def test_history_is_announced_and_read(store):
    _, _, session = store.chat(content="q1", answer="a1")
    job, accepted = store.submit(session=session, content="q2")
    assert accepted["history"]
    worker = store.peer(wire.Peer(store.endpoint, {"role": "worker"}))
    messages = worker.query("history", {"n": accepted["n"]})["messages"]
    assert [(m["role"], m["content"]) for m in messages] == [("user", "q1"), ("assistant", "a1")]
    assert [m["content"] for m in worker.query("history", {"n": accepted["n"], "limit": 1})["messages"]] == ["a1"]
    assert "history" not in store.submit(session="fresh")[1]


# -- append -----------------------------------------------------------------------------------------------------------


def test_append_follows_the_journal(store):
    _, accepted = store.submit()
    n, broker = accepted["n"], store.broker
    token = store.begin(n)
    first = append_request(n, 2, token, [turn("one"), reply("two")])
    assert broker.one("append", **first) == {"seq": 3}
    assert broker.one("append", **first) == {"seq": 3}  # sent twice, stored once
    assert store.rows("SELECT count(*) FROM events WHERE n=?", n) == [(3,)]
    for seq in (1, 2, 5):
        [(code, _)] = broker.batch([("append", append_request(n, seq, token, [turn("other")]))])
        assert code == "conflict", seq
    assert broker.one("append", **append_request(n, 4, token, [turn("three")])) == {"seq": 4}


def test_a_stale_token_changes_nothing(store):
    _, accepted = store.submit()
    n, broker = accepted["n"], store.broker
    old = store.begin(n)
    new = broker.token()
    broker.one("append", **append_request(n, 2, new, [started(2, "w:2")]))
    [(code, _)] = broker.batch([("append", append_request(n, 3, old, [turn("late")]))])
    assert code == "stale"
    [(code, _)] = broker.batch([("append", append_request(n, 3, old, [ended()], end="succeeded"))])
    assert code == "stale"
    assert broker.one("append", **append_request(n, 3, new, [turn("mine")])) == {"seq": 3}


def test_a_second_end_is_refused(store):
    _, accepted = store.submit()
    n, broker = accepted["n"], store.broker
    token = store.finish(n, "first")
    [(code, _)] = broker.batch([("append", append_request(n, 4, broker.token(), [ended("cancelled")], end="cancelled"))])
    assert code == "already_ended"
    [(code, _)] = broker.batch([("append", append_request(n, 3, broker.token(), [ended("cancelled")], end="cancelled"))])
    assert code == "already_ended"
    same = append_request(n, 2, token, [reply("first"), ended(content="first")], end="succeeded")
    assert broker.one("append", **same) == {"seq": 3}
    assert store.rows("SELECT count(*) FROM ends") == [(1,)]
    [(code, _)] = broker.batch([("inbox", {"job": store.submit()[0], "user": "bob", "id": wire.make_id(), "kind": "cancel"})])
    assert code == "not_found"


@pytest.mark.parametrize("events,more,path", [
    ([ended()], {}, "end"), ([turn("x")], {"end": "succeeded"}, "end"), ([ended()], {"end": "failed"}, "end"),
    ([ended("odd")], {"end": "odd"}, "end"), ([waiting()], {}, "wait"), ([turn("x")], {"retry": True}, "retry"),
    ([ended(), turn("x")], {}, "events"), ([], {}, "events"), ([turn("x")], {"count": 2}, "events"),
    ([turn("x")], {"seq": 0}, "seq")])
def test_append_refuses_what_contradicts_itself(store, events, more, path):
    _, accepted = store.submit()
    token = store.begin(accepted["n"])
    [(code, failure)] = store.broker.batch([
        ("append", {**append_request(accepted["n"], 2, token, events), **more})])
    assert code == "invalid" and failure["path"] == path
    assert store.rows("SELECT count(*) FROM events") == [(1,)]


def test_waiting_is_refused_if_the_inbox_holds_a_later_row(store):
    job, accepted = store.submit()
    n, broker = accepted["n"], store.broker
    token = store.begin(n)
    row = {"job": job, "user": "ann", "id": wire.make_id(), "kind": "input", "text": "left"}
    assert broker.one("inbox", **row) == {"n": n, "k": 1, "created": True}
    assert broker.one("inbox", **row) == {"n": n, "k": 1}
    [(code, _)] = broker.batch([("inbox", {**row, "text": "right"})])
    assert code == "conflict"
    wait = append_request(n, 2, token, [waiting()], wait="person")
    [(code, _)] = broker.batch([("append", wait)])
    assert code == "conflict"
    assert broker.one("append", **{**wait, "inbox_seen": 1}) == {"seq": 2}
    assert broker.query("open_jobs")["jobs"][0]["state"] == "waiting"
    assert store.client().ask("list_jobs", state="waiting")["jobs"][0]["id"] == job
    broker.one("inbox", **{**row, "id": wire.make_id()})
    assert broker.query("open_jobs")["jobs"][0]["state"] == "ready"
    assert store.client().ask("list_jobs", state="waiting")["jobs"] == []


def test_open_jobs_tell_the_broker_all_it_needs_after_a_restart(store):
    fields = {"priority": -3, "not_before_ms": 5, "deadline_ms": 2**41, "key": "k", "pool": "p", "tenant": "t", "session": "s"}
    job, accepted = store.submit(**fields)
    n, broker = accepted["n"], store.broker
    plain, _ = store.submit(no_session=True)
    done = store.submit()[1]["n"]
    store.finish(done)
    token = store.begin(n)
    broker.one("append", **append_request(n, 2, token, [attempt_failed(1)], retry=True, wake_at_ms=2**41))
    first = broker.query("open_jobs", {"limit": 1})
    [row] = first["jobs"]
    assert first["next"] == n
    assert {k: row[k] for k in fields} == fields
    assert (row["job"], row["user"], row["hash"], row["state"], row["wake_at_ms"]) == (job, "ann", HASH, "retry", 2**41)
    assert (row["seq"], row["token"], row["attempt"], row["failures"]) == (2, token, 1, 1)
    assert "started" not in row and row["body_bytes"] > 0
    [other] = broker.query("open_jobs", {"after": n})["jobs"]
    assert other["job"] == plain and "session" not in other and other["state"] == "ready"
    later = broker.token()
    broker.one("append", **append_request(n, 3, later, [started(2, "box:7")]))
    row = broker.query("open_jobs")["jobs"][0]
    assert row["started"] and row["worker"] == "box:7" and row["attempt"] == 2 and row["state"] == "ready"


def test_load_and_journal(store):
    job, accepted = store.submit(secrets=[b"sealed"], content=[{"type": "text", "text": "parts"}])
    n, broker = accepted["n"], store.broker
    token = store.begin(n)
    big = "x" * 100_000
    for seq in range(2, 7):
        broker.one("append", **append_request(n, seq, token, [turn(big + str(seq))]))
    broker.one("inbox", job=job, user="ann", id=wire.make_id(), kind="cancel", text="enough")
    load = broker.query("load", {"n": n})
    assert load["input"]["content"] == [{"type": "text", "text": "parts"}] and load["secrets"] == [b"sealed"]
    assert load["seq"] == 6 and load["more"] and load["inbox"] == [{"k": 1, "kind": "cancel", "text": "enough"}]
    assert 1 < len(load["journal"]) < 6 and load["journal"][0]["kind"] == "started"
    ann, events, pages = store.client(), [], 0
    while True:
        page = ann.ask("journal", job=job, after=len(events))
        events += page["events"]
        pages += 1
        assert page["seq"] == len(events)
        if not page.get("more"):
            break
    assert [e.get("content", "")[-1:] for e in events] == ["", "2", "3", "4", "5", "6"] and pages > 1
    broker.one("append", **append_request(n, 7, token, [ended()], end="succeeded"))
    assert ann.ask("journal", job=job, after=6)["end"] == "succeeded"
    assert ann.ask("journal", job=job, after=7) == {"events": [], "seq": 7, "ended": "succeeded", "last": 7}
    assert "secrets" not in broker.query("load", {"n": n})
    with pytest.raises(wire.Failure) as refused:
        store.client("bob").ask("journal", job=job)
    assert refused.value.code == "not_found"


# -- what clients see -------------------------------------------------------------------------------------------------


def test_get_job_by_id_prefix_and_last(store):
    base = int(time.time() * 1000) - 20_000_000 & ~0xFFFFFF  # so that both ids begin alike
    a = store.submit(job=wire.make_id(base))[0]
    b = store.submit(job=wire.make_id(base + 5_000_000), content="second")[0]
    store.submit(user="bob", job=wire.make_id(base))
    ann = store.client()
    text = wire.id_text(a)
    for name in (text, text.upper(), text.replace("-", ""), text[:30]):
        assert ann.ask("get_job", job=name)["job"]["id"] == a
    assert ann.ask("get_job", job="last")["job"]["id"] == b
    with pytest.raises(wire.Failure) as ambiguous:
        ann.ask("get_job", job=text[:6])
    assert ambiguous.value.code == "invalid" and text in ambiguous.value.text
    assert wire.id_text(b) in ambiguous.value.text
    for name, code in (("abc", "invalid"), ("xyzw", "invalid"), ("ffff", "not_found"), ("0" * 40, "invalid")):
        with pytest.raises(wire.Failure) as refused:
            ann.ask("get_job", job=name)
        assert refused.value.code == code, name
    for name in (text, "last"):
        with pytest.raises(wire.Failure) as refused:
            store.client("eve").ask("get_job", job=name)
        assert refused.value.code == "not_found"


def test_a_jobs_state_as_far_as_storage_knows(store):
    ann = store.client()

    def state():
        return ann.ask("get_job", job="last")["job"]["state"]

    store.submit(not_before_ms=int(time.time() * 1000) + 60_000)
    assert state() == "scheduled"
    _, accepted = store.submit()
    n, broker = accepted["n"], store.broker
    assert state() == "ready"
    token = store.begin(n)
    assert state() == "running"
    broker.one("append", **append_request(n, 2, token, [attempt_failed(1)], retry=True))
    assert state() == "retry"
    broker.one("append", **append_request(n, 3, token, [started(2)]))
    broker.one("append", **append_request(n, 4, token, [waiting()], wait="person"))
    assert state() == "waiting"
    broker.one("append", **append_request(n, 5, token, [ended("failed", code="model", text="boom")], end="failed"))
    job = ann.ask("get_job", job="last")["job"]
    assert job["state"] == "failed" and job["attempt"] == 2 and job["seq"] == 5 and job["ended_ms"] >= job["created_ms"]
    assert job["end"]["text"] == "boom" and job["workflow"] == FLOW["name"] and job["content"] == "hello"
    assert len(ann.ask("load_messages", session=job["session"])["messages"]) == 1  # no answer, no message


def test_list_jobs(store):
    ann = store.client()
    jobs = [store.chat(content=f"q{i}")[0] for i in range(5)]
    open_job, accepted = store.submit()
    failed, other = store.submit()
    token = store.begin(other["n"])
    store.broker.one("append", **append_request(other["n"], 2, token, [ended("failed")], end="failed"))
    store.chat(user="bob")

    def ids(**request):
        return [job["id"] for job in ann.ask("list_jobs", **request)["jobs"]]

    newest_first = [failed, open_job, *reversed(jobs)]
    assert ids() == newest_first
    assert ids(state="succeeded") == list(reversed(jobs))
    assert ids(state="failed") == [failed] and ids(state="open") == [open_job] and ids(state="dead") == []
    assert ids(session=accepted["session"]) == [open_job]
    assert ids(session=accepted["session"], state="open") == [open_job]
    assert ids(since_ms=int(time.time() * 1000) + 60_000) == []
    seen, after = [], 0
    while True:
        page = ann.ask("list_jobs", limit=3, after=after)
        seen += [job["id"] for job in page["jobs"]]
        after = page.get("next", 0)
        if not after:
            break
    assert seen == newest_first
    with pytest.raises(wire.Failure) as refused:
        ids(state="happy")
    assert refused.value.code == "invalid" and refused.value.path == "state"
    assert store.client("eve").ask("list_jobs") == {"jobs": []}


def test_storage_status(store):
    store.chat()
    store.submit()
    status = store.client().query("storage_status")
    assert status["jobs"] == 2 and status["open"] == 1
    assert [(status["schema"],)] == store.rows("PRAGMA user_version")
    assert status["commits"] >= 5 and status["operations"] >= 5 and "writable" not in status
