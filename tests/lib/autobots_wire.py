"""The autobots protocol a second time, written from the tables of common/README.md alone: pyzmq and msgpack.

    with Client(endpoint, user="ann") as c:       # HELLO is said, WELCOME is in c.welcome
        job = c.submit(workflow, "hello")         # → Accepted; retried is up to the test
        events = c.watch_to_end(job.id)           # seq 1…n, checked for gaps and doubles

    Storage(endpoint).query("load_messages", {...})
    Worker(endpoint).take()                       # a JOB; .append(job, [event…], end="succeeded")

Peers answer the server's heartbeats whenever they wait for something, and say HELLO again when a restarted server
does not know them. One thread owns a peer.
"""

import hashlib
import itertools
import json
import os
import struct
import time
import uuid

import msgpack
import zmq

VERSION = 1
HEAD_BYTES, PACKET_MESSAGES_MAX = 12, 1000

COMMANDS = {"HELLO": 1, "WELCOME": 2, "REJECT": 3, "ERROR": 4, "PING": 5, "PONG": 6, "SUBMIT": 10, "ACCEPTED": 11,
            "WATCH": 12, "UNWATCH": 13, "EVENT": 14, "DELTA": 15, "INBOX": 16, "RECEIPT": 17, "QUERY": 18,
            "RESULT": 19, "FOLLOW": 20, "FOLLOWING": 21, "CHANGED": 22, "UNFOLLOW": 23, "CREDIT": 30, "JOB": 31, "EVENTS": 32, "COMMITTED": 33, "STALE": 34, "CONFLICT": 35,
            "ATTACH": 36, "RELEASE": 37, "NOTICE": 38, "HEARTBEAT": 39, "DRAIN": 40, "BATCH": 50, "RESULTS": 51}
NAMES = {number: name for name, number in COMMANDS.items()}

OPERATIONS = {"epoch": 1, "submit": 2, "append": 3, "inbox": 4, "open_jobs": 5, "load": 6, "journal": 7,
              "workflow": 10, "history": 11, "get_job": 20, "list_jobs": 21, "load_messages": 30, "save_message": 31,
              "delete_message": 32, "get_sessions": 33, "create_session": 34, "delete_user_sessions": 35,
              "publish_session": 36, "get_gallery": 37, "rename_session": 40, "clear_session": 41,
              "rename_gallery": 42, "delete_gallery": 43, "import_gallery": 44, "storage_status": 50, "status": 60, "job_status": 61}
BROKERS = ("status", "job_status")

ANSWER_SECONDS = 20.0
END_STATES = ("succeeded", "failed", "cancelled", "expired", "dead")


class Failure(Exception):
    """An ERROR or REJECT: .code, .text, .path, .retryable, .retry_after_ms, .faults, .header."""

    def __init__(self, header):
        self.header = header
        self.code, self.text = header.get("code"), header.get("text")
        self.path, self.faults = header.get("path", ""), header.get("faults") or []
        self.retryable = bool(header.get("retryable"))
        self.retry_after_ms = header.get("retry_after_ms", 0)
        super().__init__(f"{self.code}: {self.text} (path {self.path!r})")


class NoAnswer(Exception):
    """Nothing came in time."""


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def unpack(data):
    return msgpack.unpackb(data, raw=False, strict_map_key=True)


def make_id(ms=None):
    """A UUIDv7 as 16 bytes."""
    ms = int(time.time() * 1000) if ms is None else ms
    raw = bytearray(ms.to_bytes(6, "big") + os.urandom(10))
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return bytes(raw)


def id_text(raw):
    return str(uuid.UUID(bytes=raw))


def id_bytes(text):
    return uuid.UUID(text).bytes


def workflow_text(workflow):
    """What is hashed: the text as it is, or compact JSON with sorted keys."""
    if isinstance(workflow, str):
        return workflow
    return json.dumps(workflow, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def workflow_hash(text):
    return hashlib.blake2b(text.encode(), digest_size=32).digest()


def packed(command, header=None, body=b"", version=VERSION):
    """One message as it stands in a packet."""
    header = header if isinstance(header, bytes) else pack(header or {})
    return struct.pack(">2sBBII", b"AB", version, COMMANDS.get(command, command), len(header), len(body)) + header + body


class Message:
    def __init__(self, version, command, header, body):
        self.version, self.command, self.body = version, command, body
        self.name = NAMES.get(self.command, str(self.command))
        self.header = unpack(header)

    @classmethod
    def all_of(cls, packet):
        """The messages of a packet."""
        found, at = [], 0
        while at < len(packet):
            magic, version, command, header, body = struct.unpack_from(">2sBBII", packet, at)
            at += HEAD_BYTES
            assert magic == b"AB" and at + header + body <= len(packet), f"no message at {at} of {packet!r}"
            found.append(cls(version, command, packet[at:at + header], packet[at + header:at + header + body]))
            at += header + body
        assert 0 < len(found) <= PACKET_MESSAGES_MAX, f"{len(found)} messages in a packet"
        return found

    def __getitem__(self, key):
        return self.header[key]

    def get(self, key, otherwise=None):
        return self.header.get(key, otherwise)

    def body_value(self):
        return unpack(self.body)

    def __repr__(self):
        return f"<{self.name} {self.header} +{len(self.body)}>"


class Peer:
    """One DEALER. `hello` is the header of its HELLO."""

    context = None

    def __init__(self, endpoint, hello, timeout=ANSWER_SECONDS, greet=True):
        if Peer.context is None:
            Peer.context = zmq.Context()
        self.endpoint = endpoint
        self.hello = {"vmin": VERSION, "vmax": VERSION, "build": "tests", **hello}
        self.rids = itertools.count(1)
        self.stash = []  # messages taken while waiting for another one
        self.rest = []  # of the packet taken last
        self.welcome = None
        self.heartbeat_s = 0.5
        self.heard = self.said = time.monotonic()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.connect(endpoint)
        if greet:
            self.greet(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    # -- sending --------------------------------------------------------------------------------------------------

    def send(self, command, header=None, body=b"", version=VERSION):
        self.raw(packed(command, header, body, version))

    def raw(self, *frames):
        """Frames as they are, right or wrong."""
        self.socket.send_multipart(frames)
        self.said = time.monotonic()

    def heartbeat(self):
        self.send("HEARTBEAT", self.leases())

    def leases(self):
        return {}

    # -- receiving ------------------------------------------------------------------------------------------------

    def take_any(self, timeout=0):
        """The next message whatever it is; None if none comes in time."""
        if not self.rest and self.socket.poll(max(0, timeout) * 1000):
            [packet] = self.socket.recv_multipart()
            self.rest = Message.all_of(packet)
            self.heard = time.monotonic()
        return self.rest.pop(0) if self.rest else None

    def receive(self, timeout=ANSWER_SECONDS):
        """The next message, heartbeats and what answers none of ours left out; None if none comes in time."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            if self.welcome and time.monotonic() - self.said > self.heartbeat_s:
                self.heartbeat()
            message = self.take_any(min(left, self.heartbeat_s / 2))
            if message:
                if message.name == "PING":
                    self.send("PONG", message.header)
                elif message.name != "HEARTBEAT" and (message.name != "PONG" or message.get("rid")):
                    return message
            elif left <= 0:
                return None

    def wait_for(self, wanted, timeout=ANSWER_SECONDS, what="a message"):
        """The first message, stashed ones first, for which wanted(message) is true; the others are stashed."""
        for i, message in enumerate(self.stash):
            if wanted(message):
                return self.stash.pop(i)
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            message = self.receive(left)
            if message is None:
                break
            if wanted(message):
                return message
            self.stash.append(message)
        raise NoAnswer(f"{what} did not come within {timeout} s; there was {self.stash[-5:]}")

    def greet(self, timeout=ANSWER_SECONDS):
        """HELLO → WELCOME."""
        self.welcome = None
        self.send("HELLO", self.hello)
        answer = self.wait_for(lambda m: m.name in ("WELCOME", "REJECT"), timeout, "WELCOME")
        if answer.name == "REJECT":
            raise Failure(answer.header)
        self.welcome = answer.header
        self.heartbeat_s = answer["heartbeat_ms"] / 1000 / 2
        return answer

    def request(self, command, header, body=b"", timeout=ANSWER_SECONDS):
        """Sends with a fresh rid and waits for its answer; a Failure is raised."""
        rid = next(self.rids)
        self.send(command, {"rid": rid, **header}, body)
        return self.answer(rid, timeout, command)

    def answer(self, rid, timeout=ANSWER_SECONDS, what=""):
        message = self.wait_for(lambda m: m.get("rid") == rid, timeout, f"the answer to {what} {rid}")
        if message.name in ("ERROR", "REJECT"):
            raise Failure(message.header)
        return message

    def query(self, op, request=None, timeout=ANSWER_SECONDS):
        return self.request("QUERY", {"op": op}, pack(request or {}), timeout).body_value()

    def greet_again(self, timeout=ANSWER_SECONDS):
        """After the server was restarted: HELLO until there is a WELCOME."""
        end = time.monotonic() + timeout
        while True:
            try:
                return self.greet(0.5)
            except NoAnswer:
                if time.monotonic() > end:
                    raise


class Storage(Peer):
    """A client's connection to storage."""

    def __init__(self, endpoint, user="tester", **more):
        super().__init__(endpoint, {"role": "client"}, **more)
        self.user = user

    def ask(self, op, timeout=ANSWER_SECONDS, **request):
        return self.query(op, {"user": self.user, **request}, timeout)


def packed_bodies(request):
    """What the broker passes on unread travels in a bin."""
    return {key: pack(value) if key in ("input", "events") else value for key, value in request.items()}


class StorageAsBroker(Peer):
    """What the broker is for storage: batches of operations."""

    def __init__(self, endpoint, **more):
        super().__init__(endpoint, {"role": "broker"}, **more)
        self.epoch = 0
        if more.get("greet", True):
            [(code, answer)] = self.batch([("epoch", {"build": "tests"})])
            assert code == "ok", (code, answer)
            self.epoch = answer["epoch"]
        self.counter = itertools.count(1)

    def token(self):
        return self.epoch << 40 | next(self.counter)

    def batch(self, operations, timeout=ANSWER_SECONDS):
        """[(name, request)…] → [(code, answer)…]"""
        rid = self.send_batch(operations)
        return [tuple(one) for one in self.answer(rid, timeout, "BATCH").body_value()]

    def send_batch(self, operations, rid=None):
        rid = next(self.rids) if rid is None else rid
        body = pack([[OPERATIONS[name], pack(packed_bodies(request))] for name, request in operations])
        self.send("BATCH", {"rid": rid, "epoch": self.epoch}, body)
        return rid

    def one(self, name, timeout=ANSWER_SECONDS, **request):
        [(code, answer)] = self.batch([(name, request)], timeout)
        if code != "ok":
            raise Failure({"code": code, **answer})
        return answer


class Accepted:
    def __init__(self, message):
        self.id, self.n = message["job"], message["n"]
        self.session, self.created = message.get("session"), bool(message.get("created"))
        self.state = message.get("state")

    def __repr__(self):
        return f"<job {id_text(self.id)} n={self.n}>"


class Client(Peer):
    """A client's connection to the broker; .storage opens on first use, at the endpoint WELCOME names."""

    def __init__(self, endpoint, user="tester", **more):
        super().__init__(endpoint, {"role": "client"}, **more)
        self.user = user
        self._storage = None

    @property
    def storage(self):
        if self._storage is None:
            self._storage = Storage(self.welcome["storage"], self.user)
        return self._storage

    def close(self):
        if self._storage is not None:
            self._storage.close()
        super().close()

    def submit_header(self, workflow, job=None, **more):
        text = workflow_text(workflow)
        return {"job": job or make_id(), "user": self.user, "hash": workflow_hash(text), "workflow": text, **more}

    def submit_later(self, workflow, content, job=None, **more):
        """Sends SUBMIT and does not wait; returns (rid, job id)."""
        rid = next(self.rids)
        header = self.submit_header(workflow, job, **more)
        header = {key: value for key, value in header.items() if value is not None}
        self.send("SUBMIT", {"rid": rid, **header}, pack({"content": content}))
        return rid, header["job"]

    def submit(self, workflow, content="hello", job=None, timeout=ANSWER_SECONDS, **more):
        rid, _ = self.submit_later(workflow, content, job, **more)
        return Accepted(self.answer(rid, timeout, "SUBMIT"))

    def watch(self, job, after=0, **more):
        rid = next(self.rids)
        self.send("WATCH", {"rid": rid, "job": job, "user": self.user, "after": after, **more})
        return rid

    def next_event(self, job, timeout=ANSWER_SECONDS, rid=None):
        message = self.wait_for(lambda m: m.name == "EVENT" and m["job"] == job or
                                m.name == "ERROR" and (m.get("job") == job or rid and m.get("rid") == rid),
                                timeout, f"an event of {id_text(job)}")
        if message.name == "ERROR":
            raise Failure(message.header)
        return message

    def events_to_end(self, job, after=0, timeout=60.0, rid=None):
        """The events of a watched job from after + 1 to its end; a gap or a double is an AssertionError."""
        events, end = [], time.monotonic() + timeout
        while True:
            message = self.next_event(job, max(0.01, end - time.monotonic()), rid)
            after += 1
            assert message["seq"] == after, f"expected seq {after}, got {message['seq']} of {id_text(job)}"
            events.append({"seq": message["seq"], **message.body_value()})
            if message.get("end"):
                assert message["end"] == events[-1]["state"], (message, events[-1])
                return events

    def watch_to_end(self, job, after=0, timeout=60.0, **more):
        rid = self.watch(job, after, **more)
        return self.events_to_end(job, after, timeout, rid)

    def run(self, workflow, content="hello", timeout=60.0, **more):
        """Submits, watches from the first event; returns (Accepted, events)."""
        accepted = self.submit(workflow, content, watch="all", **more)
        return accepted, self.events_to_end(accepted.id, 0, timeout)

    def deltas(self, job):
        """Takes the DELTAs of the job that came so far."""
        mine = [m for m in self.stash if m.name == "DELTA" and m["job"] == job]
        self.stash = [m for m in self.stash if m not in mine]
        return mine

    def inbox(self, job, kind, text=None, ask=None, id=None, timeout=ANSWER_SECONDS):
        header = {"job": job, "user": self.user, "id": id or make_id(), "kind": kind, "text": text, "ask": ask}
        header = {key: value for key, value in header.items() if value is not None}
        return self.request("INBOX", header, timeout=timeout)["k"]

    def cancel(self, job, **more):
        return self.inbox(job, "cancel", **more)

    def status(self):
        return self.query("status")

    def job_status(self, job):
        return self.query("job_status", {"user": self.user, "job": job})

    def job(self, job):
        return self.storage.ask("get_job", job=id_text(job) if isinstance(job, bytes) else job)["job"]

    def journal(self, job):
        events, after = [], 0
        while True:
            page = self.storage.ask("journal", job=job, after=after)
            events += page["events"]
            after += len(page["events"])
            if not page.get("more"):
                return events

    def messages(self, session):
        """All of them, page by page."""
        found, page = [], {"next": None}
        while "next" in page:
            more = {"after": page["next"]} if page["next"] else {}
            page = self.storage.ask("load_messages", session=session, **more)
            found += page["messages"]
        return found


class Lease:
    """A JOB a worker took."""

    def __init__(self, message):
        self.id, self.token, self.seq = message["job"], message["token"], message["seq"]
        self.attempt, self.n, self.header = message["attempt"], message["n"], message.header
        body = message.body_value() if message.body else {}
        self.input, self.journal = body.get("input"), body.get("journal")


class Worker(Peer):
    """A worker whose engine is the test."""

    def __init__(self, endpoint, name=None, slots=1, pool=None, credit=None, **more):
        hello = {"role": "worker", "name": name or f"test:{os.getpid()}:{id(self)}", "slots": slots, "pool": pool}
        super().__init__(endpoint, {k: v for k, v in hello.items() if v is not None}, **more)
        self.held = {}
        if more.get("greet", True):
            self.send("CREDIT", {"credit": slots if credit is None else credit})

    def leases(self):
        return {"tokens": [lease.token for lease in self.held.values()]}

    def take(self, timeout=ANSWER_SECONDS):
        lease = Lease(self.wait_for(lambda m: m.name == "JOB", timeout, "a JOB"))
        self.held[lease.id] = lease
        return lease

    def append(self, lease, events, timeout=ANSWER_SECONDS, wait_commit=True, **more):
        """EVENTS after the lease's last seq; waits for COMMITTED. STALE is a Failure."""
        first = lease.seq + 1
        self.send("EVENTS", {"job": lease.id, "token": lease.token, "seq": first, "count": len(events), **more},
                  pack(events))
        lease.seq += len(events)
        if more.get("end") or more.get("wait") or more.get("retry"):
            self.held.pop(lease.id, None)
        return self.committed(lease, lease.seq, timeout) if wait_commit else None

    def committed(self, lease, seq, timeout=ANSWER_SECONDS):
        answer = self.wait_for(
            lambda m: m.name == "ERROR" or m.name in ("COMMITTED", "STALE", "CONFLICT") and m["job"] == lease.id and
            (m.name != "COMMITTED" or m.get("seq", 0) >= seq), timeout, f"COMMITTED {seq}")
        if answer.name != "COMMITTED":
            raise Failure({"code": answer.name.lower(), "text": "", **answer.header})
        return answer

    def finish(self, lease, content="done", state="succeeded", **more):
        now = int(time.time() * 1000)
        end = {"kind": "end", "state": state, "stop_reason": "test", "content": content, "at_ms": now}
        return self.append(lease, [end], end=state, **more)
