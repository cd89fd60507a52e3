"""The worker process against a broker and a storage that are a few lines of Python: what it says when, and what it does
when they vanish, refuse, cancel or come too late. No test here needs the other programs."""

import os
import signal
import time

import pytest
import zmq

import autobots_wire as wire
import flows
import service
from autobots_wire import pack, unpack

HEARTBEAT_MS = 500  # silence for three of them must not be this process waiting for a processor


class Stage:
    """A broker and a storage in one thread of the test; messages are handled only while the test waits for one."""

    def __init__(self, folder, slots=4, env=None, flags=(), prices=()):
        self.folder = folder
        self.context = zmq.Context()
        self.workflows, self.inboxes, self.histories, self.journals, self.inputs = {}, {}, {}, {}, {}
        self.prices, self.price_version = list(prices), 2 if prices else 1
        self.queries, self.stash, self.peer, self.hello = [], [], None, None
        self.refuse_queries = self.lose_queries = 0
        self.bind()
        environment = service.clean_environment({"AUTOBOTS_DIR": str(folder), **(env or {})})
        argv = [service.program("autobots-worker"), "--slots", str(slots), *flags]
        self.worker = service.Process("worker", argv, environment, folder / "worker.log")
        self.expect("CREDIT")

    def bind(self):
        self.routers = {}
        for name in ("worker", "storage"):
            self.routers[name] = self.context.socket(zmq.ROUTER)
            self.routers[name].setsockopt(zmq.LINGER, 0)
            self.routers[name].bind(f"ipc://{self.folder}/{name}.sock")
        self.known = {"worker": set(), "storage": set()}
        self.beat = time.monotonic()

    def restart(self):
        """As if both services were killed and started again."""
        self.vanish()
        self.bind()

    def vanish(self):
        for router in self.routers.values():
            router.close()
        self.routers = {}

    def close(self):
        self.worker.kill()
        self.vanish()
        self.context.term()
        log = self.worker.log()
        assert not service.CRASHES.search(log), log

    # -- messages

    def send(self, command, header, body=b"", router="worker", peer=None):
        self.routers[router].send_multipart([peer or self.peer, wire.packed(command, header, body)])

    def welcome(self, router, peer, message):
        self.known[router].add(peer)
        header = {"version": 1, "session": 1, "epoch": 1, "heartbeat_ms": HEARTBEAT_MS, "body_bytes_max": 1 << 23}
        if router == "worker":
            self.peer, self.hello = peer, message.header
            header["storage"] = f"ipc://{self.folder}/storage.sock"
        self.send("WELCOME", header, router=router, peer=peer)

    def answer(self, peer, message):
        request, rid = unpack(message.body), message["rid"]
        if message["op"] == "list_prices":  # asked again and again
            known = request.get("version") == self.price_version
            rows = {} if known else {"prices": self.prices}
            self.send("RESULT", {"rid": rid}, pack({"version": self.price_version, **rows}), router="storage", peer=peer)
            return
        self.queries.append((message["op"], request))
        if self.lose_queries:
            self.lose_queries -= 1
            return
        if self.refuse_queries:
            self.refuse_queries -= 1
            refusal = {"rid": rid, "code": "unavailable", "text": "busy", "retryable": True, "retry_after_ms": 50}
            self.send("ERROR", refusal, router="storage", peer=peer)
            return
        answer = {"workflow": lambda: {"workflow": self.workflows[request["hash"]]},
                  "history": lambda: {"messages": self.histories[request["n"]]},
                  "load": lambda: {"input": self.inputs[request["n"]], "inbox": self.inboxes.get(request["n"], [])},
                  "journal": lambda: {"events": self.journals[request["job"]][request.get("after", 0):][:3]},
                  }[message["op"]]()
        self.send("RESULT", {"rid": rid}, pack(answer), router="storage", peer=peer)

    def take(self, router):
        peer, packet = self.routers[router].recv_multipart()
        for message in wire.Message.all_of(packet):
            self.on_message(router, peer, message)

    def on_message(self, router, peer, message):
        if message.name == "HELLO":
            self.welcome(router, peer, message)
        elif peer not in self.known[router]:
            self.send("ERROR", {"code": "denied", "text": "say HELLO first"}, router=router, peer=peer)
        elif router == "storage" and message.name == "QUERY":
            self.answer(peer, message)
        elif router == "worker":
            self.stash.append(message)

    def pump(self, timeout=0.05):
        if time.monotonic() - self.beat > HEARTBEAT_MS / 2000:
            self.beat = time.monotonic()
            for router, peers in self.known.items():
                for peer in peers:
                    self.send("HEARTBEAT", {}, router=router, peer=peer)
        poller = zmq.Poller()
        for router in self.routers.values():
            poller.register(router, zmq.POLLIN)
        ready = dict(poller.poll(timeout * 1000))
        for name, router in self.routers.items():
            if router in ready:
                self.take(name)

    def expect(self, command, wanted=lambda message: True, timeout=10.0):
        """The next message of that command; the ones before it are dropped."""
        end = time.monotonic() + timeout * service.slow()
        while True:
            while self.stash:
                message = self.stash.pop(0)
                if message.name == command and wanted(message):
                    return message
            assert time.monotonic() < end, f"no {command}; log:\n{self.worker.log()}"
            self.pump()

    def nothing(self, command, seconds=0.5):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.pump()
        assert command not in [message.name for message in self.stash]

    # -- jobs

    def job(self, workflow, text="hi", n=1, journal=None, **header):
        """Sends JOB; a journal is what is there before its `started`."""
        text_of = wire.workflow_text(workflow)
        digest = wire.workflow_hash(text_of)
        self.workflows[digest] = text_of
        events = [*(journal or []), {"kind": "started", "attempt": header.get("attempt", 1), "worker": "w", "at_ms": 1}]
        self.inputs[n] = {"content": text}
        head = {"job": wire.make_id(), "n": n, "attempt": 1, "token": n << 8, "seq": len(events), "user": "u",
                "hash": digest, **header}
        self.journals[head["job"]] = events
        body = {"input": self.inputs[n]} if not header.pop("no_input", False) else {}
        if journal and not head.get("more"):
            body["journal"] = events
        elif journal:
            body["journal"] = events[:2]
        head.pop("no_input", None)
        self.send("JOB", head, pack(body))
        return head

    def events(self, job, commit=True, timeout=10.0):
        """The next EVENTS of the job, as (header, [event…])."""
        message = self.expect("EVENTS", lambda m: m["job"] == job["job"], timeout)
        if commit:
            self.commit(job, message["seq"] + message["count"] - 1)
        return message.header, unpack(message.body)

    def commit(self, job, seq):
        self.send("COMMITTED", {"job": job["job"], "token": job["token"], "seq": seq})

    def to_end(self, job):
        """All further events, committed."""
        every = []
        while True:
            header, events = self.events(job)
            assert header["seq"] == job["seq"] + 1 + len(every)
            every += events
            if header.get("end"):
                return header, every


@pytest.fixture
def make_stage(short_folder):
    made = []

    def make(**more):
        made.append(Stage(short_folder(), **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def stage(make_stage):
    return make_stage()


def kinds(events):
    return [event["kind"] for event in events]


def test_hello_names_slots_pool_and_seal_key(stage):
    assert stage.hello["role"] == "worker" and stage.hello["slots"] == 4
    assert len(stage.hello["seal_key"]) == 32 and str(stage.worker.pid) in stage.hello["name"]
    key = stage.folder / "pool-default.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_job_from_begin_to_end(stage):
    job = stage.job(flows.script_chat(["one", "two TERMINATE"], replies=5))
    header, events = stage.to_end(job)
    assert kinds(events) == ["begin", "model_reply", "turn", "model_reply", "end"]
    assert header["end"] == "succeeded"
    end = events[-1]
    assert end["content"] == "two" and end["stop_reason"] == "termination_message"
    result = end["result"]
    assert [m["content"] for m in result["messages"]] == ["hi", "one", "go on", "two TERMINATE"]
    assert result["offline"] is True and result["usage"]["total"]["calls"] == 2
    assert result["usage"]["total"]["cost"] is None and result["duration_s"] >= 0
    assert events[1]["offline"] is True and events[1]["provider"] == "script"


def test_no_effect_before_committed(stage, model):
    job = stage.job(flows.http_chat(model, replies=1))
    header, events = stage.events(job, commit=False)
    assert kinds(events) == ["begin"]
    stage.nothing("EVENTS")
    assert model.calls() == []
    stage.commit(job, header["seq"])
    header, events = stage.events(job, commit=False)
    assert kinds(events) == ["model_reply", "turn"]
    stage.nothing("EVENTS")
    assert len(model.calls()) == 1
    stage.commit(job, header["seq"] + 1)
    _, events = stage.events(job)
    assert kinds(events) == ["model_reply", "end"]


def test_workflow_is_asked_once(stage):
    workflow = flows.script_chat(["x"])
    for n in range(1, 4):
        stage.to_end(stage.job(workflow, n=n))
    assert [op for op, _ in stage.queries] == ["workflow"]


def test_storage_that_is_busy_is_asked_again(stage):
    stage.refuse_queries = 3
    stage.to_end(stage.job(flows.script_chat(["x"])))
    assert [op for op, _ in stage.queries] == ["workflow"] * 4


def test_an_answer_of_storage_that_got_lost_is_asked_for_again(stage):
    stage.lose_queries = 1
    job = stage.job(flows.script_chat(["x"]))
    stage.events(job, timeout=20.0)
    assert [op for op, _ in stage.queries] == ["workflow"] * 2


def test_history_is_pinned_and_told_to_the_model(stage, model):
    stage.histories[1] = [{"id": "a", "role": "user", "content": "before"},
                          {"id": "b", "role": "assistant", "content": "after"}]
    _, events = stage.to_end(stage.job(flows.http_chat(model), history=True))
    assert [m["content"] for m in events[0]["history"]] == ["before", "after"]
    sent = model.calls()[0]["body"]["messages"]
    assert [m["content"] for m in sent][-3:] == ["before", "after", "hi"]


def test_what_many_agents_say_while_nothing_is_committed_goes_in_several_messages(stage):
    agents = [flows.agent("user", "userproxy", "sender", llm_config=False, max_consecutive_auto_reply=0)]
    for i in range(200):
        llm = {"config_list": [flows.script([f"answer {i}"], delay_ms=10 + i * 7 % 50)]}
        agents.append(flows.agent(f"a{i}", "assistant", "receiver", llm_config=llm))
    job = stage.job({"name": "many", "type": "autonomous", "agents": agents})
    header, events = stage.events(job)
    assert kinds(events) == ["begin"]
    header, events = stage.events(job, commit=False)  # the first answers; the others come meanwhile
    stage.nothing("EVENTS", 1.0)
    counts, seq = [], header["seq"]
    while True:
        assert header["seq"] == seq and header["count"] == len(events) <= 64
        counts.append(header["count"])
        seq += header["count"]
        stage.commit(job, seq - 1)
        if header.get("end"):
            break
        header, events = stage.events(job, commit=False)
    assert max(counts) == 64 and sum(counts) == 201
    assert events[-1]["content"] == "\n\n".join(f"answer {i}" for i in range(200))


def test_context_too_small_for_the_history(stage, model):
    model.behave(context_length=True)
    stage.histories[1] = [{"id": "a", "role": "user", "content": "before"}]
    job = stage.job(flows.http_chat(model), history=True)
    header, events = stage.to_end(job)
    assert header["end"] == "failed" and events[-1]["code"] == "model"
    told = [[m["content"] for m in call["body"]["messages"]] for call in model.calls()]
    assert told == [["before", "hi"], ["hi"]]


def test_a_job_goes_on_from_its_journal(stage, model):
    workflow = flows.http_chat(model, replies=1)
    first = stage.job(workflow)
    _, events = stage.events(first)
    header, more = stage.events(first, commit=False)
    before = [{"kind": "started", "attempt": 1, "worker": "w", "at_ms": 1}, *events, *more]
    stage.send("STALE", {"job": first["job"], "token": first["token"]})
    again = stage.job(workflow, n=2, journal=before, attempt=2)
    _, rest = stage.to_end(again)
    assert kinds(rest) == ["model_reply", "end"]
    assert len(model.calls()) == 2  # one before, one after: none twice
    assert rest[-1]["result"]["usage"]["total"]["calls"] == 2


def test_a_long_journal_is_read_in_pages(stage):
    workflow = flows.script_chat(["a", "b", "c", "d", "e TERMINATE"], replies=9)
    _, events = stage.to_end(stage.job(workflow))
    before = [{"kind": "started", "attempt": 1, "worker": "w", "at_ms": 1}, *events[:-2]]
    job = stage.job(workflow, n=2, journal=before, attempt=2, more=True, no_input=True)
    _, rest = stage.to_end(job)
    assert rest[-1]["content"] == "e" and kinds(rest) == ["model_reply", "end"]
    asked = [request.get("after", 0) for op, request in stage.queries if op == "journal"]
    assert asked[0] == 2 and len(asked) > 2 and "load" in [op for op, _ in stage.queries]


def test_a_journal_of_another_workflow_ends_the_job(stage):
    before = [{"kind": "started", "attempt": 1, "worker": "w", "at_ms": 1},
              {"kind": "begin", "engine": 1, "seed": 1, "at_ms": 2},
              {"kind": "turn", "step": "chat:1", "agent": "assistant", "content": "??", "at_ms": 3}]
    header, events = stage.to_end(stage.job(flows.script_chat(["x"]), journal=before, attempt=2))
    assert header["end"] == "failed" and events[-1]["code"] == "nondeterminism"


def test_cancel_closes_the_connection_at_once(stage, model):
    model.behave(delay_ms=30000)
    job = stage.job(flows.http_chat(model))
    stage.events(job)
    service.wait_until(lambda: stage.pump() or model.calls(), what="the call")
    began = time.monotonic()
    stage.send("NOTICE", {"job": job["job"], "token": job["token"], "k": 1, "kind": "cancel", "text": "enough"})
    header, events = stage.events(job)
    assert header["end"] == "cancelled" and events[-1]["code"] == "cancelled" and "enough" in events[-1]["text"]
    assert events[-1]["result"]["usage"]["total"]["calls"] == 0
    service.wait_until(lambda: model.calls()[0].get("disconnected"), what="the close")
    assert time.monotonic() - began < 1.0 * service.slow()


def test_a_person_is_asked_and_answers(stage):
    workflow = flows.script_chat(["one", "two"], user={"human_input_mode": "ALWAYS"})
    job = stage.job(workflow)
    before = [{"kind": "started", "attempt": 1, "worker": "w", "at_ms": 1}]
    for _ in range(3):
        header, events = stage.events(job)
        before += events
    assert header["wait"] == "person" and kinds(events) == ["waiting"] and not header.get("inbox_seen")
    ask = events[0]["ask"]
    stage.inboxes[2] = [{"k": 1, "kind": "input", "ask": "chat:99", "text": "not this one"},
                        {"k": 2, "kind": "input", "ask": ask, "text": "more"}]
    again = stage.job(workflow, n=2, journal=before, attempt=2)
    _, events = stage.events(again)
    assert kinds(events) == ["input"] and events[0]["k"] == 2
    _, events = stage.events(again)
    assert kinds(events) == ["model_reply"] and events[0]["content"] == "two"
    header, events = stage.events(again)
    assert header["wait"] == "person" and header["inbox_seen"] == 2


def test_an_answer_that_came_before_the_question_was_on_disk(stage):
    job = stage.job(flows.script_chat(["one", "two"], user={"human_input_mode": "ALWAYS"}))
    stage.events(job)
    stage.events(job)
    header, _ = stage.events(job, commit=False)
    assert header["wait"] == "person"
    stage.inboxes[1] = [{"k": 1, "kind": "input", "text": "exit"}]
    stage.send("CONFLICT", {"job": job["job"], "token": job["token"], "seq": header["seq"] - 1})
    header, events = stage.events(job)
    assert kinds(events) == ["input", "end"] and events[-1]["stop_reason"] == "human_exit"


def test_a_notice_does_not_hide_the_row_before_it(stage):
    """The answer that woke the job is on disk only; another row is told of before the worker has read the inbox."""
    workflow = flows.script_chat(["one", "two"], user={"human_input_mode": "ALWAYS"})
    job = stage.job(workflow)
    before = [{"kind": "started", "attempt": 1, "worker": "w", "at_ms": 1}]
    for _ in range(3):
        _, events = stage.events(job)
        before += events
    stage.inboxes[2] = [{"k": 1, "kind": "input", "ask": events[0]["ask"], "text": "more"}]
    again = stage.job(workflow, n=2, journal=before, attempt=2)
    stage.send("NOTICE", {"job": again["job"], "token": again["token"], "k": 2, "kind": "input", "ask": "chat:99",
                          "text": "not this one"})
    _, events = stage.events(again)
    assert kinds(events) == ["input"] and events[0]["k"] == 1


def test_events_are_sent_again_after_a_restart(stage):
    job = stage.job(flows.script_chat(["x"]))
    header, events = stage.events(job, commit=False)
    stage.restart()
    attach = stage.expect("ATTACH")
    assert attach["seq"] == job["seq"] and attach["token"] == job["token"]
    stage.nothing("EVENTS", 0.3)  # not before the broker said what is on disk
    stage.commit(job, job["seq"])
    again, same = stage.events(job)
    assert again["seq"] == header["seq"] and same == events
    _, rest = stage.events(job)
    assert kinds(rest) == ["model_reply", "end"]


def test_what_was_committed_while_the_broker_was_away(stage):
    job = stage.job(flows.script_chat(["x"]))
    header, _ = stage.events(job, commit=False)
    stage.restart()
    stage.expect("ATTACH")
    stage.commit(job, header["seq"])
    _, events = stage.events(job)
    assert kinds(events) == ["model_reply", "end"]


def test_silence_leads_to_a_new_greeting(stage):
    first = stage.hello
    stage.hello = None
    time.sleep(HEARTBEAT_MS * 5 / 1000)  # the broker does not even read
    service.wait_until(lambda: stage.pump() or stage.hello, what="another HELLO")
    assert stage.hello["name"] == first["name"]


def test_stale_drops_the_job_and_its_call(stage, model):
    model.behave(delay_ms=30000)
    job = stage.job(flows.http_chat(model))
    stage.events(job)
    service.wait_until(lambda: stage.pump() or model.calls(), what="the call")
    stage.send("STALE", {"job": job["job"], "token": job["token"]})
    stage.nothing("EVENTS")
    stage.expect("HEARTBEAT", lambda beat: not beat.get("tokens"))


def test_heartbeats_name_the_leases(stage, model):
    model.behave(delay_ms=3000)
    jobs = [stage.job(flows.http_chat(model), n=n) for n in (1, 2)]
    for job in jobs:
        stage.events(job)
    beat = stage.expect("HEARTBEAT", lambda m: len(m.get("tokens", [])) == 2)
    assert sorted(beat["tokens"]) == [job["token"] for job in jobs]


def test_text_streams_only_when_somebody_watches(stage, model):
    model.behave(text="abcdefghijklmnop", piece_chars=4, chunk_ms=20)
    job = stage.job(flows.http_chat(model))
    stage.to_end(job)
    assert "DELTA" not in [message.name for message in stage.stash]
    job = stage.job(flows.http_chat(model), n=2, watched=True)
    stage.events(job)
    text, attempts = b"", set()
    while len(text) < 16:
        delta = stage.expect("DELTA")
        assert delta.get("offset", 0) == len(text) and delta["agent"] == "assistant" and delta["step"] == "chat:1"
        text += delta["text"].encode()
        attempts.add(delta["attempt"])
    assert text == b"abcdefghijklmnop" and len(attempts) == 1


def test_a_watcher_that_comes_late_gets_the_text_so_far(stage, model):
    model.behave(text="abcdefghijklmnopqrstuvwxyz", piece_chars=2, chunk_ms=100)
    job = stage.job(flows.http_chat(model))
    stage.events(job)
    service.wait_until(lambda: stage.pump() or model.calls(), what="the call")
    stage.nothing("DELTA", 0.5)
    stage.send("NOTICE", {"job": job["job"], "token": job["token"], "k": 0, "kind": "watched"})
    first = stage.expect("DELTA")
    assert first.get("offset", 0) == 0 and first["text"].startswith("ab") and len(first["text"]) > 2


def test_events_that_are_refused_end_the_job(stage):
    job = stage.job(flows.script_chat(["x"]))
    stage.events(job)
    header, _ = stage.events(job, commit=False)
    refusal = {"job": job["job"], "code": "too_large", "text": "no such luck"}
    stage.send("ERROR", refusal)
    again, events = stage.events(job, commit=False)
    assert again["seq"] == header["seq"] and again["end"] == "failed" and events[0]["code"] == "too_large"
    stage.send("ERROR", refusal)
    stage.nothing("EVENTS", 0.3)
    assert stage.expect("HEARTBEAT").get("tokens", []) == []


def test_events_that_come_too_early_are_sent_again(stage):
    job = stage.job(flows.script_chat(["x"]))
    header, events = stage.events(job, commit=False)
    stage.send("ERROR", {"job": job["job"], "code": "unavailable", "text": "later", "retryable": True})
    assert stage.events(job) == (header, events)
    assert stage.to_end(dict(job, seq=header["seq"]))[0]["end"] == "succeeded"


def test_a_passed_deadline_drops_the_job(stage, model):
    model.behave(delay_ms=30000)
    job = stage.job(flows.http_chat(model))
    stage.events(job)
    service.wait_until(lambda: stage.pump() or model.calls(), what="the call")
    stage.send("NOTICE", {"job": job["job"], "token": job["token"], "k": 0, "kind": "cancel", "text": "deadline"})
    stage.nothing("EVENTS", 0.3)
    service.wait_until(lambda: model.calls()[0].get("disconnected"), what="the close")


def test_a_busy_model_is_tried_again_later(stage, model):
    model.behave(fail={"status": 429, "headers": {"retry-after": "3600"}})
    job = stage.job(flows.http_chat(model))
    stage.events(job)
    header, events = stage.events(job)
    assert header["retry"] is True and kinds(events) == ["attempt_failed"]
    assert events[0]["retry_at_ms"] > time.time() * 1000 + 3000_000 and header["wake_at_ms"] == events[0]["retry_at_ms"]


def test_a_refusal_of_the_model_is_final(stage, model):
    model.behave(fail={"status": 401})
    header, events = stage.to_end(stage.job(flows.http_chat(model)))
    assert header["end"] == "failed" and events[-1]["code"] and events[-1]["text"]


def test_no_model_names_the_variable(stage):
    workflow = flows.chat(flows.endpoint("gpt-4o-mini"))
    header, events = stage.to_end(stage.job(workflow))
    assert header["end"] == "failed" and events[-1]["code"] == "no_model"
    assert "OPENAI_API_KEY" in events[-1]["text"]


def test_offline_serves_every_model_from_the_script(make_stage):
    stage = make_stage(flags=("--offline",))
    header, events = stage.to_end(stage.job(flows.chat(flows.endpoint("gpt-4o-mini"))))
    assert header["end"] == "succeeded" and events[-1]["result"]["offline"] is True


def test_a_cap_on_calls(make_stage):
    stage = make_stage(flags=("--job-calls-max", "2"))
    _, events = stage.to_end(stage.job(flows.script_chat(replies=50)))
    assert events[-1]["stop_reason"] == "job_calls_max" and kinds(events).count("model_reply") == 2


def test_a_cap_on_time_cuts_off_the_call_under_way(make_stage, model):
    model.behave(stall="body")
    stage = make_stage(flags=("--job-seconds-max", "1"))
    job = stage.job(flows.http_chat(model))
    began = time.monotonic()
    header, events = stage.to_end(job)
    assert header["end"] == "succeeded" and events[-1]["stop_reason"] == "job_seconds_max"
    assert time.monotonic() - began < 5 * service.slow() and 1.0 <= events[-1]["result"]["duration_s"] < 5
    service.wait_until(lambda: model.calls()[0].get("disconnected"), what="the close")


def test_a_cache_seed_answers_what_was_asked_before(stage, model):
    model.behave(text="once")
    seeds = {1: 41, 2: 41, 3: 42, 4: None}
    calls, cached = [], []
    for n, seed in seeds.items():
        workflow = flows.chat(flows.endpoint(model.name, model.url))
        config = workflow["agents"][1]["agent"]["config"]["llm_config"]
        config.update({"cache_seed": seed} if seed else {})
        _, events = stage.to_end(stage.job(workflow, n=n))
        reply, total = events[1], events[-1]["result"]["usage"]["total"]
        assert reply["content"] == "once" and total["calls"] == 1
        assert (total["cost"], total.get("cached_calls", 0)) == ((0, 1) if reply.get("cached") else (None, 0))
        calls.append(len(model.calls()))
        cached.append(reply.get("cached", False))
    assert calls == [1, 1, 2, 3] and cached == [False, True, False, False]


def test_replies_are_priced_by_the_row_in_force(make_stage, model):
    model.behave(text="fine", usage={"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200,
                                     "prompt_tokens_details": {"cached_tokens": 400},
                                     "completion_tokens_details": {"reasoning_tokens": 50}})
    first, rest = model.name[0], model.name[1:]
    stage = make_stage(prices=[
        {"model": "*", "input_pico_usd": 1, "output_pico_usd": 1},
        {"model": first + "*", "input_pico_usd": 7, "output_pico_usd": 7, "provider": "azure"},
        {"model": "?" + rest, "input_pico_usd": 9, "output_pico_usd": 9, "from_ms": 1 << 50},
        {"model": "?" + rest, "input_pico_usd": 2_500_000, "cached_input_pico_usd": 0, "output_pico_usd": 10_000_000,
         "reasoning_pico_usd": 12_000_000, "from_ms": 5},
    ])
    _, events = stage.to_end(stage.job(flows.http_chat(model)))
    cost = 600 * 2_500_000 + 150 * 10_000_000 + 50 * 12_000_000
    assert events[1]["cost_pico_usd"] == cost
    total = events[-1]["result"]["usage"]["total"]
    assert total["cost_pico_usd"] == cost and total["cost"] == pytest.approx(cost / 1e12)


def test_a_run_priced_in_part_says_so(make_stage, model):
    model.behave(text="fine", usage={"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20})
    stage = make_stage(prices=[{"model": model.name, "input_pico_usd": 5, "output_pico_usd": 5}])
    models = {"a": flows.endpoint(model.name, model.url), "b": flows.script(["hm"])}
    group = [flows.agent(name, "assistant", "receiver", llm_config={"config_list": [entry]},
                         max_consecutive_auto_reply=1) for name, entry in models.items()]
    workflow = {"name": "both", "type": "sequential", "agents": [
        flows.agent("user", "userproxy", "sender", llm_config=False, max_consecutive_auto_reply=0), *group]}
    _, events = stage.to_end(stage.job(workflow))
    usage = events[-1]["result"]["usage"]
    assert usage["agents"]["a"]["cost_pico_usd"] == 100 and usage["agents"]["b"]["cost"] is None
    assert usage["total"]["cost"] is None and usage["total"]["unpriced_calls"] == 1
    assert usage["total"]["known_cost"] == pytest.approx(1e-10)


def test_azure_gets_its_path_and_header(make_stage, model):
    stage = make_stage(env={"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "azure-key-12345"})
    job = stage.job(flows.chat(flows.endpoint(model.name, model.url, api_type="azure", api_version="2024-10-21")))
    _, events = stage.to_end(job)
    assert events[1]["provider"] == "azure"
    call = model.calls()[0]
    assert call["target"].endswith(f"/openai/deployments/{model.name}/chat/completions?api-version=2024-10-21")
    assert call["api_key"] and not call["authorization"]


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(make_stage, model):
    nowhere = "http://127.0.0.1:9"
    stage = make_stage(env={"http_proxy": nowhere, "https_proxy": nowhere, "all_proxy": nowhere})
    header, _ = stage.to_end(stage.job(flows.http_chat(model)))
    assert header["end"] == "succeeded" and len(model.calls()) == 1


def test_no_core_file_and_no_neighbour_sees_the_keys(stage):
    limits = open(f"/proc/{stage.worker.pid}/limits").read()
    assert "Max core file size        0                    0" in limits


def test_unreadable_jobs_and_messages_do_no_harm(stage):
    stage.send("JOB", {"job": wire.make_id()}, b"\xc1")
    digest = wire.workflow_hash("{}")
    stage.workflows[digest] = "{}"
    head = {"job": wire.make_id(), "n": 9, "attempt": 1, "token": 5, "seq": 1, "user": "u", "hash": digest}
    stage.send("JOB", head, b"\xc1\xc1")
    message = stage.expect("EVENTS")
    assert message["token"] == 5 and message["end"] == "failed"
    stage.send("COMMITTED", {"job": head["job"], "token": 5, "seq": 2})
    for body in (os.urandom(50), b""):
        stage.send("NOTICE", {"job": 5}, body)
    header, events = stage.to_end(stage.job(flows.script_chat(["x"])))
    assert header["end"] == "succeeded"


def test_a_faulty_workflow_fails_with_its_path(stage):
    digest = wire.workflow_hash('{"name": "x"}')
    stage.workflows[digest] = '{"name": "x"}'
    header, events = stage.to_end(stage.job({"name": "x"}, hash=digest))
    assert header["end"] == "failed" and events[-1]["code"] == "invalid" and events[-1]["path"].startswith("$")


def test_sigterm_gives_everything_back(stage, model):
    model.behave(delay_ms=30000)
    job = stage.job(flows.http_chat(model))
    stage.events(job)
    service.wait_until(lambda: stage.pump() or model.calls(), what="the call")
    stage.worker.process.send_signal(signal.SIGTERM)
    stage.expect("DRAIN")
    release = stage.expect("RELEASE")
    assert release["job"] == job["job"] and release["token"] == job["token"]
    assert stage.worker.process.wait(10) == 0


def test_drain_gives_everything_back_and_stays(stage, model):
    model.behave(delay_ms=30000)
    job = stage.job(flows.http_chat(model))
    stage.events(job)
    stage.send("DRAIN", {"reason": "maintenance"})
    assert stage.expect("RELEASE")["job"] == job["job"]
    assert stage.expect("CREDIT").get("credit", 0) == 0
    assert stage.worker.running()
