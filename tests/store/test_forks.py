"""Forks in storage: what is copied, what is refused, what it looks like afterwards."""

import autobots_wire as wire
import flows
import pytest
import service
from storehouse import Store, append_request, attempt_failed, ended, reply, started, turn, waiting
from test_retention import DAYS, FLAGS, make_older

BEGIN = {"kind": "begin", "engine": 2, "seed": 7, "at_ms": 1}


def long_run(store, **more):
    """A job of two attempts that ended as failed; (id, n, session)."""
    job, accepted = store.submit(content="the question", **more)
    n, token = accepted["n"], store.begin(accepted["n"])
    store.broker.one("append", **append_request(n, 2, token, [BEGIN, reply("one", "chat:1"), attempt_failed(1)], retry=True,
                                                wake_at_ms=1))
    token = store.broker.token()
    store.broker.one("append", **append_request(n, 5, token, [started(2), turn("go on", "chat:2"), waiting()], wait="person"))
    token = store.broker.token()
    store.broker.one("append", **append_request(n, 8, token, [started(3), ended("failed")], end="failed"))
    return job, n, accepted.get("session")


def fork(store, job, seq=0, **more):
    request = {"job": wire.make_id(), "user": "ann", "fork_of": job, "fork_seq": seq, **more}
    return request["job"], store.broker.one("submit", **request)


def events(store, n):
    return store.broker.query("load", {"n": n})


def kinds(store, n):
    return [event["kind"] for event in events(store, n)["journal"]]


def test_only_the_run_is_copied_and_numbered_anew(store):
    job, n, _ = long_run(store)
    for seq, copied in ((0, []), (1, []), (2, ["begin"]), (4, ["begin", "model_reply"]),
                        (9, ["begin", "model_reply", "turn"])):
        _, made = fork(store, job, seq)
        assert kinds(store, made["n"]) == [*copied, "forked"]
        loaded = events(store, made["n"])
        assert loaded["journal"][-1]["of"] == job and loaded["journal"][-1].get("of_seq", 0) == seq
        assert loaded["input"] == {"content": "the question"}
        assert made["open"]["seq"] == len(copied) + 1 and not made["open"].get("attempt") and not made["open"].get("token")
        rows = store.rows("SELECT seq, token FROM events WHERE n=? ORDER BY seq", made["n"])
        assert rows == [(i + 1, 0) for i in range(len(copied) + 1)]
    store.drop_peers()
    store.check()


def test_a_fork_takes_what_is_not_given_from_the_other_job(store):
    job, n, _ = long_run(store, pool="p", key="k", priority=3, input={"msg_id": "m1", "metadata": {"a": 1}})
    _, made = fork(store, job, 4)
    assert (made["open"]["pool"], made["open"]["key"], made["open"]["priority"]) == ("p", "k", 3)
    assert events(store, made["n"])["input"] == {"content": "the question", "metadata": {"a": 1}}
    _, other = fork(store, job, 4, pool="q", input={"content": "another"})
    assert other["open"]["pool"] == "q" and events(store, other["n"])["input"] == {"content": "another"}


def test_the_same_fork_is_answered_alike_and_other_content_is_a_conflict(store):
    job, _, _ = long_run(store)
    request = {"job": wire.make_id(), "user": "ann", "fork_of": job, "fork_seq": 4}
    first, again = store.broker.batch([("submit", request), ("submit", request)])
    assert first[1]["created"] and "created" not in again[1]
    assert (first[1]["n"], first[1]["open"]["seq"]) == (again[1]["n"], again[1]["open"]["seq"])
    [(code, _)] = store.broker.batch([("submit", {**request, "fork_seq": 3})])
    assert code == "conflict"


def test_an_edited_event_says_so(store):
    job, _, _ = long_run(store)
    for seq, field, text in ((3, "content", "uno"), (6, "content", "")):
        _, made = fork(store, job, seq, fork_text=text)
        last = events(store, made["n"])["journal"][-2]
        assert last[field] == text and last["edited"] is True
    store.drop_peers()
    store.check()


@pytest.mark.parametrize("seq, text, code, word", [
    (99, None, "invalid", "9 events"), (4, "x", "invalid", "attempt_failed"), (0, "x", "invalid", "none of them")])
def test_what_cannot_be_copied_is_refused_and_leaves_nothing(store, seq, text, code, word):
    job, n, _ = long_run(store)
    request = {"job": wire.make_id(), "user": "ann", "fork_of": job, "fork_seq": seq, "fork_text": text}
    [(got, failure)] = store.broker.batch([("submit", {k: v for k, v in request.items() if v is not None})])
    assert got == code and word in failure["text"]
    assert store.rows("SELECT max(n) FROM jobs") == [(n,)]


def test_a_journal_without_its_beginning_is_not_forked(folder):
    with Store(folder, flags=FLAGS) as store:
        _, n, _ = long_run(store)
        long_run(store)
        make_older(store, [n], DAYS + 1)
        service.wait_until(lambda: store.rows("SELECT count(*) FROM events WHERE n=?", n) == [(1,)], what="purged")
        [[job]] = store.rows("SELECT id FROM jobs WHERE n=?", n)
        [(code, failure)] = store.broker.batch([("submit", {"job": wire.make_id(), "user": "ann", "fork_of": job,
                                                            "fork_seq": 4})])
        assert code == "expired" and "retention" in failure["text"]


def test_a_question_that_is_tried_again_in_its_session_is_shown_once(store):
    job, n, session = long_run(store)
    ask = store.client().ask
    assert [m["content"] for m in ask("load_messages", session=session)["messages"]] == ["the question"]
    new, made = fork(store, job, 8, session=session)
    [message] = ask("load_messages", session=session)["messages"]
    assert message["job"] == new and message["content"] == "the question"
    token = store.broker.token()
    store.broker.one("append", **append_request(made["n"], 5, token, [started(1), ended("succeeded", content="done")],
                                                end="succeeded"))
    assert [m["content"] for m in ask("load_messages", session=session)["messages"]] == ["the question", "done"]
    record = ask("get_job", job=wire.id_text(new))["job"]
    assert record["fork_of"] == job and record["fork_seq"] == 8 and record["attempt"] == 1
    assert ask("get_job", job=wire.id_text(job))["job"]["content"] == "the question"
    store.drop_peers()
    store.check()


def test_keys_are_given_again(store):
    text = wire.workflow_text(flows.chat(flows.endpoint("m", "http://127.0.0.1:1/v1", api_key={"$secret": 0})))
    more = {"workflow": text, "hash": wire.workflow_hash(text)}
    job, _ = store.submit(secrets=[b"sealed"], **more)
    [(code, failure)] = store.broker.batch([("submit", {"job": wire.make_id(), "user": "ann", "fork_of": job})])
    assert code == "invalid" and failure["path"] == "secrets"
    assert fork(store, job, secrets=[b"sealed anew"])[1]["created"]
    plain = wire.workflow_text(flows.script_chat(['it says "$secret": 0']))
    job, _ = store.submit(workflow=plain, hash=wire.workflow_hash(plain))
    assert fork(store, job)[1]["created"]
