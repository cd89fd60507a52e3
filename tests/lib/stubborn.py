"""A client that outlives every restart of the service, and what must hold afterwards.

It submits until ACCEPTED, watches until the end, and opens a new connection when the server is silent or does not
know it. On each connection the events of a job must come as last seq + 1, + 2 …: a gap or a double is a failure.
"""

import collections
import time

import autobots_wire as wire

SILENCE_HEARTBEATS = 4


class Job:
    def __init__(self, header, body):
        self.header, self.body = header, body
        self.id = header["job"]
        self.accepted = None
        self.accepted_again = 0
        self.events = []
        self.end = None
        self.failure = None
        self.due = 0.0  # when to send SUBMIT again


class Stubborn:
    def __init__(self, endpoint, user="stubborn"):
        self.endpoint, self.user = endpoint, user
        self.jobs = {}
        self.connects = 0
        self.peer = None
        self.rids = {}
        self.inbox = {}  # row id → header, until its RECEIPT
        self.retry_watch, self.retry_inbox = [], []  # (when, what)

    def close(self):
        if self.peer:
            self.peer.close()
            self.peer = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- wishes ---------------------------------------------------------------------------------------------------

    def submit(self, workflow, content, **more):
        text = wire.workflow_text(workflow)
        header = {"job": wire.make_id(), "user": self.user, "hash": wire.workflow_hash(text), "workflow": text, **more}
        job = Job(header, wire.pack({"content": content}))
        self.jobs[job.id] = job
        if self.peer:
            self.send_submit(job)
        return job

    def tell(self, job, kind, text=None):
        header = {"job": job.id, "user": self.user, "id": wire.make_id(), "kind": kind}
        if text is not None:
            header["text"] = text
        self.inbox[header["id"]] = header
        if self.peer:
            self.send_inbox(header)

    # -- the wire -------------------------------------------------------------------------------------------------

    def connect(self):
        """A new connection says HELLO; whatever is unanswered is sent when WELCOME comes."""
        if self.peer:
            self.peer.close()
        self.peer = wire.Peer(self.endpoint, {"role": "client"}, greet=False)
        self.connects += 1
        self.known = False
        self.rids.clear()
        self.peer.send("HELLO", self.peer.hello)
        self.hello_at = time.monotonic()

    def rid(self, what):
        number = next(self.peer.rids)
        self.rids[number] = what
        return number

    def send_submit(self, job):
        if not self.known:
            return
        job.due = time.monotonic() + 5
        self.peer.send("SUBMIT", {"rid": self.rid(job), **job.header}, job.body)

    def send_watch(self, job):
        self.peer.send("WATCH", {"rid": self.rid(job), "job": job.id, "user": self.user, "after": len(job.events)})

    def send_inbox(self, header):
        if self.known:
            self.peer.send("INBOX", {"rid": self.rid(header), **header})

    def welcomed(self, message):
        self.known, self.peer.welcome = True, message.header
        self.peer.heartbeat_s = message["heartbeat_ms"] / 1000 / 2
        for job in self.jobs.values():
            if job.end:
                continue
            if job.accepted is None:
                self.send_submit(job)
            else:
                self.send_watch(job)
        for header in list(self.inbox.values()):
            self.send_inbox(header)

    def failed(self, message):
        what = self.rids.pop(message.get("rid"), None)
        if message["code"] == "denied":
            self.connect()
        elif isinstance(what, Job) and message.get("retryable"):
            what.due = time.monotonic() + message.get("retry_after_ms", 100) / 1000
            if what.accepted is not None:  # a WATCH: the simplest way to ask again
                self.retry_watch.append((what.due, what))
        elif isinstance(what, Job):
            what.failure = message.header
            what.end = "refused"
        elif isinstance(what, dict):
            if message.get("retryable"):
                self.retry_inbox.append((time.monotonic() + 0.1, what))
            else:
                self.inbox.pop(what["id"], None)

    def event(self, message):
        job = self.jobs[message["job"]]
        expected = len(job.events) + 1
        assert message["seq"] == expected, f"seq {message['seq']} instead of {expected} for {wire.id_text(job.id)}"
        job.events.append(message.body_value())
        job.end = message.get("end")

    def accepted(self, message):
        job = self.jobs[message["job"]]
        self.rids.pop(message["rid"], None)
        job.accepted_again += job.accepted is not None
        first = job.accepted is None
        if not first:
            assert job.accepted["n"] == message["n"], "another answer to the same SUBMIT"
        job.accepted = message.header
        if first and not job.end:
            self.send_watch(job)

    def receipt(self, message):
        header = self.rids.pop(message["rid"], None)
        if header:
            self.inbox.pop(header["id"], None)


    def step(self, seconds):
        if self.peer is None:
            self.connect()
        message = self.peer.receive(seconds)
        now = time.monotonic()
        if message is None:
            silent = now - max(self.peer.heard, self.hello_at)
            if silent > (SILENCE_HEARTBEATS * 2 * self.peer.heartbeat_s if self.known else 1.0):
                self.connect()
        else:
            {"WELCOME": self.welcomed, "ERROR": self.failed, "REJECT": self.failed, "EVENT": self.event,
             "ACCEPTED": self.accepted, "RECEIPT": self.receipt}[message.name](message)
        for job in self.jobs.values():
            if job.accepted is None and not job.end and now > job.due:
                self.send_submit(job)
        for name, send in (("retry_watch", self.send_watch), ("retry_inbox", self.send_inbox)):
            due = [what for at, what in getattr(self, name) if at <= now]
            setattr(self, name, [(at, what) for at, what in getattr(self, name) if at > now])
            for what in due:
                if self.known:
                    send(what)

    def pump(self, condition, timeout, what="the condition", meanwhile=None):
        """Runs until condition() is true."""
        end = time.monotonic() + timeout
        while not condition():
            self.step(0.02)
            if meanwhile:
                meanwhile()
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not come true within {timeout} s: {self.summary()}")

    def all_ended(self):
        return all(job.end for job in self.jobs.values()) and not self.inbox

    def summary(self):
        open_jobs = [(wire.id_text(j.id), "accepted" if j.accepted else "not accepted",
                      [e["kind"] for e in j.events][-4:]) for j in self.jobs.values() if not j.end]
        return f"{len(open_jobs)} of {len(self.jobs)} not ended: {open_jobs[:5]}, inbox {len(self.inbox)}"


# -- what must hold -------------------------------------------------------------------------------------------------


def check_ends(service, stubborn):
    """Each job ended exactly once; what was watched is what is stored."""
    with service.client(stubborn.user) as client:
        for job in stubborn.jobs.values():
            if job.end == "refused":
                continue
            kinds = [event["kind"] for event in job.events]
            assert kinds.count("end") == 1 and kinds[-1] == "end", kinds
            stored = client.journal(job.id)
            assert stored == job.events, f"watched and stored differ for {wire.id_text(job.id)}"
            record = client.job(job.id)
            assert record["state"] == job.end == job.events[-1]["state"]
            attempts = [event["attempt"] for event in stored if event["kind"] == "started"]
            assert attempts == list(range(1, len(attempts) + 1)), attempts
    with service.sqlite() as database:
        assert database.execute("select count(*) from open_jobs").fetchone() == (0,)
        [(ends,)] = database.execute("select count(*) from ends")
        assert ends >= len(stubborn.jobs)


def calls_by_turn(calls):
    """(first user text, number of assistant messages) → calls, in the order they came."""
    found = collections.defaultdict(list)
    for call in calls:
        messages = [m for m in call["body"]["messages"] if m["role"] != "system"]
        found[messages[0]["content"], sum(m["role"] == "assistant" for m in messages)].append(call)
    return found


def check_calls(stubborn, calls, repeats_allowed):
    """No call whose reply was journaled is made again; without a worker's death, none is repeated at all. The reply's
    request id says which call it was."""
    repeated = 0
    journaled = {}
    for job in stubborn.jobs.values():
        text = wire.unpack(job.body)["content"]
        turn = 0
        for event in job.events:
            if event["kind"] == "model_reply":
                journaled[text, turn] = int(event["request_id"].removeprefix("req-"))
                turn += 1
    for key, made in calls_by_turn(calls).items():
        repeated += len(made) - 1
        if key in journaled:
            numbers = [call["n"] for call in made]
            assert journaled[key] in numbers, (key, journaled[key], numbers)
            late = [n for n in numbers if n > journaled[key]]
            assert not late, f"turn {key}: call {journaled[key]} was journaled, yet {late} were made"
    if not repeats_allowed:
        assert repeated == 0, f"{repeated} model calls were repeated"
    return repeated
