"""Storage's side of the protocol: greeting, roles, malformed messages."""

import pytest

import autobots_wire as wire
import service
from autobots_wire import packed
from storehouse import Store, submit_request

OFTEN = {"AUTOBOTS_HEARTBEAT_MS": "200", "AUTOBOTS_LEASE_MS": "1000"}


def test_hello_is_answered_with_what_a_peer_must_know(store):
    welcome = store.client().welcome
    assert welcome["version"] == 1 and welcome["heartbeat_ms"] > 0 and welcome["body_bytes_max"] > 0


@pytest.mark.parametrize("hello,code,path", [
    ({"role": "king"}, "invalid", "role"), ({"role": "client", "vmin": 7, "vmax": 9}, "version", ""),
    ({"role": "client", "vmin": "x"}, "invalid", "vmin"), ({}, "invalid", "role")])
def test_a_hello_that_cannot_be_served_is_rejected(store, hello, code, path):
    peer = store.peer(wire.Peer(store.endpoint, {}, greet=False))
    peer.hello.update(hello)
    with pytest.raises(wire.Failure) as refused:
        peer.greet()
    assert refused.value.code == code and refused.value.path == path


def test_before_hello_everything_is_denied(store):
    peer = store.peer(wire.Storage(store.endpoint, greet=False))
    with pytest.raises(wire.Failure) as refused:
        peer.ask("get_sessions")
    assert refused.value.code == "denied" and "HELLO" in refused.value.text
    peer.greet()
    assert peer.ask("get_sessions") == {"sessions": []}


@pytest.mark.parametrize("frames,code", [
    ([b"AB\x01"], "invalid"), ([packed("QUERY", b"\xc1")], "invalid"), ([b"XY" + packed("PING")[2:]], "invalid"),
    ([packed("PING"), b""], "invalid"), ([packed("QUERY", version=9)], "version"),
    ([packed(0xfe)], "invalid"), ([packed("SUBMIT")], "denied"),
    ([packed("QUERY")], "invalid"), ([packed("BATCH", {"rid": 1}, b"\x90")], "denied"),
    ([b""], "invalid"), ([bytes(range(256))] * 3, "invalid")])
def test_what_is_no_message_is_answered_and_disturbs_nobody(store, frames, code):
    bad, good = store.client(), store.client()
    bad.raw(*frames)
    answer = bad.receive()
    assert answer.name == "ERROR" and answer["code"] == code
    assert good.ask("get_sessions") == {"sessions": []}
    assert bad.ask("get_sessions") == {"sessions": []}


@pytest.mark.parametrize("op,request_,code", [
    ("nonsense", {}, "not_found"), ("status", {}, "not_found"), ("submit", {}, "denied"), ("open_jobs", {}, "denied"),
    ("get_sessions", {}, "invalid"), ("get_sessions", {"user": 3}, "invalid"), ("get_sessions", [], "invalid"),
    ("get_sessions", {"user": "u" * 129}, "invalid"), ("get_sessions", {"user": "ann", "limit": 1001}, "invalid"),
    ("save_message", {"message": 7}, "invalid"), ("get_job", {"user": "ann", "job": "0123"}, "not_found")])
def test_a_query_that_cannot_be_served_is_an_error(store, op, request_, code):
    client = store.client()
    with pytest.raises(wire.Failure) as refused:
        client.query(op, request_)
    assert refused.value.code in (code, "too_large" if "u" * 129 in str(request_) else code)
    assert client.ask("get_sessions") == {"sessions": []}


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x91\x01", b"\x91\x92\x02", b"\xdd\xff\xff\xff\xff", b"\x91\x93\x02\x80\x80"])
def test_a_batch_that_is_none_is_an_error(store, body):
    broker = store.broker
    with pytest.raises(wire.Failure) as refused:
        broker.request("BATCH", {"epoch": broker.epoch}, body)
    assert refused.value.code == "invalid"
    assert store.submit()[1]["created"]


def test_a_batch_may_hold_a_thousand_operations_and_no_more(store):
    broker = store.broker
    answers = broker.batch([("submit", submit_request(no_session=True)) for _ in range(1000)])
    assert [answer["n"] for _, answer in answers] == list(range(1, 1001))
    assert broker.batch([]) == []
    with pytest.raises(wire.Failure) as refused:
        broker.batch([("submit", submit_request())] * 1001)
    assert refused.value.code == "too_large"


def test_unknown_and_foreign_operations_in_a_batch_are_refused_one_by_one(store):
    broker = store.broker
    requests = [(99, {}), (wire.OPERATIONS["save_message"], {}), (wire.OPERATIONS["load"], {"n": 1}),
                (wire.OPERATIONS["submit"], []), (wire.OPERATIONS["submit"], wire.packed_bodies(submit_request()))]
    body = wire.pack([[number, wire.pack(request)] for number, request in requests])
    answers = broker.request("BATCH", {"epoch": broker.epoch}, body).body_value()
    assert [code for code, _ in answers] == ["denied", "denied", "denied", "invalid", "ok"]


def test_an_older_brokers_batches_are_refused(store):
    old = store.broker
    new = store.peer(wire.StorageAsBroker(store.endpoint))
    assert new.epoch == old.epoch + 1
    [(code, _)] = old.batch([("submit", submit_request())])
    assert code == "stale"
    assert new.batch([("submit", submit_request())])[0][0] == "ok"


def test_ping_and_heartbeats(folder):
    with Store(folder, env=OFTEN) as store:
        client = store.client()
        client.send("PING", {"rid": 5})
        assert client.take_any(5).name == "PONG"
        heard = {client.take_any(5).name for _ in range(2)}
        assert heard == {"HEARTBEAT"}
        store.drop_peers()


def test_a_caller_that_leaves_with_all_its_answers_is_no_news(folder):
    """One that does not wait for its answer is."""
    with Store(folder, env={"AUTOBOTS_LOG_LEVEL": "debug", **OFTEN}) as store:
        def lines(level):
            return [line for line in store.process.log().splitlines() if "caller.lost" in line and f" {level} " in line]

        store.client().ask("get_sessions")
        store.drop_peers()
        service.wait_until(lambda: lines("debug"), what="the quiet line")
        assert not lines("info")
