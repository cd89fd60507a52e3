"""The protocol's own rules, from a peer that keeps none of them: whatever is sent, it is answered or dropped, and the
service goes on."""

import os
import socket
import struct
import time

import autobots_wire as wire
import flows
import pytest

SERVERS = ["client", "worker", "storage"]


def hello_of(which):
    return {"role": "worker", "name": "odd", "slots": 1, "pool": "odd"} if which == "worker" else {"role": "client"}


@pytest.fixture
def peer(shared, request):
    """A connection that has not said HELLO."""
    which = request.param
    with wire.Peer(shared.endpoint(which), hello_of(which), greet=False) as one:
        yield one
    shared.assert_alive()
    with shared.client("after") as client:
        assert client.run(flows.script_chat(["fine"]), "still there?")[1][-1]["content"] == "fine"


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
def test_hello_is_answered_with_the_limits(peer):
    welcome = peer.greet()
    assert welcome["version"] == 1 and welcome["heartbeat_ms"] > 0 and welcome["body_bytes_max"] >= 65536


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
def test_a_version_range_without_overlap_is_rejected(peer):
    peer.hello.update(vmin=200, vmax=201)
    with pytest.raises(wire.Failure) as failure:
        peer.greet()
    assert failure.value.code == "version" and "1" in failure.value.text


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
def test_a_wider_version_range_is_negotiated_down(peer):
    peer.hello.update(vmin=1, vmax=99)
    assert peer.greet()["version"] == 1


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
def test_anything_before_hello_is_denied(peer):
    with pytest.raises(wire.Failure) as failure:
        peer.query("status")
    assert failure.value.code == "denied" and "HELLO" in failure.value.text


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
@pytest.mark.parametrize("role", ["", "king", "workerr"])
def test_an_unknown_role_is_rejected(peer, role):
    peer.hello["role"] = role
    with pytest.raises(wire.Failure) as failure:
        peer.greet()
    assert failure.value.code in ("invalid", "denied")


PING = wire.packed("PING")
BAD_FRAMES = {
    "nothing": (b"",),
    "head cut": (PING[:-2],),
    "no head": (b"AB\x01\x01",),
    "two frames": (PING, PING),
    "many frames": tuple(b"x" for _ in range(50)),
    "other magic": (b"XY" + PING[2:],),
    "long header": (b"AB\x01\x05\0\0\0\x02\0\0\0\0\x80",),
    "long body": (b"AB\x01\x05\0\0\0\x01\0\0\0\x01\x80",),
    "enormous lengths": (b"AB\x01\x05" + b"\xff" * 8 + b"\x80",),
    "bytes behind": (PING + b"x",),
    "messages without end": (PING * (wire.PACKET_MESSAGES_MAX + 1),),
    "header no map": (wire.packed("QUERY", b"\x93\x01\x02\x03"),),
    "header cut": (wire.packed("QUERY", b"\x82\xa3rid\x01\xa2op"),),
    "header empty": (wire.packed("QUERY", b""),),
    "claimed gigabytes": (wire.packed("QUERY", b"\xdf\xff\xff\xff\xff"),),
    "deep header": (wire.packed("QUERY", b"\x91" * 100_000),),
    "huge header": (wire.packed("QUERY", b"\x80" + bytes(3 << 20)),),
}


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
@pytest.mark.parametrize("frames", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_frames_that_are_no_message_are_answered(peer, frames):
    peer.greet()
    peer.raw(*frames)
    answer = peer.wait_for(lambda m: m.name == "ERROR", 5, "ERROR")
    assert answer["code"] in ("invalid", "version", "too_large") and answer["text"]


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
def test_a_packet_of_many_messages_is_answered_in_order(peer):
    peer.raw(wire.packed("HELLO", peer.hello) + b"".join(wire.packed("PING", {"rid": rid}) for rid in range(1, 1000)))
    assert peer.take_any(5).name == "WELCOME"
    pongs = []
    while len(pongs) < 999:
        message = peer.take_any(5)
        assert message, f"{len(pongs)} answers"
        if message.name == "PONG":
            pongs.append(message["rid"])
    assert pongs == list(range(1, 1000))


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
def test_what_stands_before_a_bad_message_counts(peer):
    peer.greet()
    peer.raw(wire.packed("PING", {"rid": 7}) + b"XY")
    assert [peer.wait_for(lambda m: m.name == "ERROR", 5)["code"]] == ["invalid"]
    peer.raw(wire.packed("PING", {"rid": 8}))
    rids = []
    while 8 not in rids:
        message = peer.take_any(5)
        assert message, rids
        rids += [message["rid"]] if message.name == "PONG" else []


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
def test_an_unknown_command_and_version_are_answered(peer):
    peer.greet()
    peer.send(200, {"rid": 1})
    assert peer.wait_for(lambda m: m.name == "ERROR", 5)["code"] == "invalid"
    peer.send("QUERY", {"rid": 2, "op": "status"}, b"\x80", version=99)
    answer = peer.wait_for(lambda m: m.name == "ERROR", 5)
    assert answer["code"] == "version" and answer["text"]


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
def test_a_server_answers_ping(peer):
    peer.greet()
    for rid in (5, 0, 2 ** 64 - 1):
        peer.send("PING", {"rid": rid} if rid else {})
        if rid:
            assert peer.answer(rid, 5, "PING").name == "PONG"


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
def test_commands_of_other_roles_are_refused(peer, request):
    peer.greet()
    job = wire.make_id()
    of_others = {"JOB": {"job": job, "n": 1, "attempt": 1, "token": 1, "seq": 1, "user": "x", "hash": b"h" * 32},
                 "COMMITTED": {"job": job, "token": 1, "seq": 1}, "ACCEPTED": {"rid": 1, "job": job, "n": 1},
                 "RESULTS": {"rid": 1}, "BATCH": {"rid": 9, "epoch": 1 << 40}, "WELCOME": {
                     "version": 1, "session": 1, "epoch": 1, "heartbeat_ms": 1, "body_bytes_max": 1}}
    for command, header in of_others.items():
        peer.send(command, header, b"\x90")
        answer = peer.wait_for(lambda m: m.name == "ERROR", 5, f"the answer to {command}")
        assert answer["code"] in ("denied", "invalid"), command


@pytest.mark.parametrize("peer", SERVERS, indirect=True)
def test_random_bytes_in_valid_zmtp(peer, rng):
    peer.greet()
    for _ in range(300):
        kind = rng.randrange(3)
        noise = lambda most: rng.randbytes(rng.randrange(most))  # noqa: E731
        if kind == 0:
            peer.raw(*[noise(200) for _ in range(rng.randrange(1, 6))])
        elif kind == 1:
            peer.raw(wire.packed(rng.choice(list(wire.NAMES)), noise(100), noise(100)))
        else:
            header = {key: rng.choice([1, -1, "x", b"y" * 16, None, [], {}, 1.5, True, 1 << 63]) for key in
                      rng.sample(["rid", "job", "user", "hash", "op", "token", "seq", "count", "kind", "role", "vmin"], 5)}
            peer.raw(wire.packed(rng.choice([n for n in wire.NAMES if n != 40]), header, noise(50)))
    assert peer.wait_for(lambda m: m.name in ("ERROR", "REJECT"), 5)


@pytest.mark.parametrize("which", SERVERS)
def test_random_bytes_on_the_raw_socket(shared, rng, which):
    greeting = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00NULL" + b"\0" * 48
    for i in range(40):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(5)
            raw.connect(shared.endpoint(which).removeprefix("ipc://"))
            try:
                raw.sendall((greeting if i % 2 else b"") + rng.randbytes(rng.randrange(1, 2000)))
                if i % 4 == 3:  # a frame that claims to be enormous
                    raw.sendall(b"\x02" + struct.pack(">Q", 1 << 60) + os.urandom(100))
            except (BrokenPipeError, ConnectionResetError):
                pass
    shared.assert_alive()
    with shared.client("after") as client:
        assert client.run(flows.script_chat(["fine"]), "still there?")[1][-1]["content"] == "fine"


@pytest.mark.parametrize("which", SERVERS)
def test_silent_connections_do_no_harm(shared, which):
    raws = []
    for _ in range(100):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(shared.endpoint(which).removeprefix("ipc://"))
        raws.append(raw)
    with shared.client("after") as client:
        assert client.run(flows.script_chat(["fine"]), "still there?")[1][-1]["content"] == "fine"
    for raw in raws:
        raw.close()


def test_a_message_of_a_hundred_megabytes_is_refused(shared, client):
    limit = client.welcome["body_bytes_max"]
    assert limit < 100_000_000
    with shared.client("huge") as huge:
        with pytest.raises((wire.Failure, wire.NoAnswer)) as failure:
            huge.submit(flows.script_chat(["x"]), "x" * 100_000_000, timeout=2.0)
        if failure.type is wire.Failure:
            assert failure.value.code == "too_large"
    assert client.run(flows.script_chat(["fine"]), "still there?")[1][-1]["content"] == "fine"
    with shared.client("huge") as huge:
        assert huge.run(flows.script_chat(["fine"]), "x" * (limit - 10_000))[1][-1]["state"] == "succeeded"


BAD_SUBMITS = {
    "no job": ({"job": None}, "job"), "job no id": ({"job": b"x" * 15}, "job"),
    "job not v7": ({"job": bytes(16)}, "job"), "no user": ({"user": None}, "user"),
    "empty user": ({"user": ""}, "user"), "long user": ({"user": "u" * 129}, "user"),
    "no hash": ({"hash": None}, "hash"), "short hash": ({"hash": b"abc"}, "hash"),
    "wrong hash": ({"hash": bytes(32)}, "hash"), "priority text": ({"priority": "high"}, "priority"),
    "watch what": ({"watch": "some"}, "watch"), "session number": ({"session": 7}, "session"),
}


@pytest.mark.parametrize("change,path", BAD_SUBMITS.values(), ids=BAD_SUBMITS.keys())
def test_a_faulty_submit_names_its_field(client, change, path):
    header = {**client.submit_header(flows.script_chat(["x"])), **change}
    header = {key: value for key, value in header.items() if value is not None}
    with pytest.raises(wire.Failure) as failure:
        client.request("SUBMIT", header, wire.pack({"content": "x"}), timeout=5)
    assert failure.value.code in ("invalid", "too_large") and failure.value.path == path
    assert client.run(flows.script_chat(["fine"]), "still there?")[1][-1]["content"] == "fine"


BAD_INPUTS = {"empty": b"", "no map": b"\x93\x01\x02\x03", "no content": b"\x80", "cut": b"\x81\xa7content\xa5ab",
              "noise": bytes(range(200, 250)), "a key twice": b"\x82\xa7content\xa1a\xa7content\xa1b",
              "content number": wire.pack({"content": 5}), "content map": wire.pack({"content": {"a": 1}}),
              "part without type": wire.pack({"content": [{"x": 1}]}), "bad utf8": b"\x81\xa7content\xa2\xff\xfe"}


@pytest.mark.parametrize("body", BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_a_faulty_input_is_refused_at_once(client, body):
    header = client.submit_header(flows.script_chat(["x"]))
    with pytest.raises(wire.Failure) as failure:
        client.request("SUBMIT", header, body, timeout=5)
    assert failure.value.code == "invalid"
    with pytest.raises(wire.Failure) as failure:
        client.job(header["job"])
    assert failure.value.code == "not_found"


def test_an_unknown_hash_without_text_asks_for_the_text(client):
    header = client.submit_header(flows.script_chat(["only once " + wire.id_text(wire.make_id())]))
    text = header.pop("workflow")
    with pytest.raises(wire.Failure) as failure:
        client.request("SUBMIT", header, wire.pack({"content": "x"}))
    assert failure.value.code == "unknown_workflow" and failure.value.retryable
    assert client.request("SUBMIT", {**header, "workflow": text}, wire.pack({"content": "x"})).name == "ACCEPTED"
    header["job"] = wire.make_id()
    assert client.request("SUBMIT", header, wire.pack({"content": "x"})).name == "ACCEPTED"


def test_an_id_older_than_the_retention_is_expired(client):
    old = wire.make_id(int(time.time() * 1000) - 400 * 86_400_000)
    with pytest.raises(wire.Failure) as failure:
        client.submit(flows.script_chat(["x"]), job=old)
    assert failure.value.code == "expired"


@pytest.mark.parametrize("op", ["no_such_op", "", "epoch", "append", "open_jobs", "load"])
def test_operations_that_are_not_the_clients(client, op):
    with pytest.raises(wire.Failure) as failure:
        client.storage.query(op, {"n": 1})
    assert failure.value.code in ("not_found", "denied", "invalid")


@pytest.mark.parametrize("command,header", [
    ("WATCH", {"job": wire.make_id(), "user": "tester"}),
    ("INBOX", {"job": wire.make_id(), "user": "tester", "id": wire.make_id(), "kind": "cancel"})])
def test_a_job_that_is_not_there(client, command, header):
    with pytest.raises(wire.Failure) as failure:
        client.request(command, header)
    assert failure.value.code == "not_found"


@pytest.mark.parametrize("kind", ["", "explode", "watched"])
def test_an_unknown_inbox_kind(client, kind):
    job = client.submit(flows.script_chat(["x"])).id
    with pytest.raises(wire.Failure) as failure:
        client.inbox(job, kind)
    assert failure.value.code == "invalid" and failure.value.path == "kind"


def test_two_requests_at_once_are_answered_by_their_ids(client):
    flow = flows.script_chat(["x"])
    rids = [client.submit_later(flow, f"text {i}")[0] for i in range(100)]
    numbers = [client.answer(rid)["n"] for rid in reversed(rids)]
    assert numbers == sorted(numbers, reverse=True), "jobs are not numbered in the order they came"
