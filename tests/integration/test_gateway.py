"""The HTTP gateway: jobs in, answers, events and errors out."""

import json
import socket
import time
import uuid

import flows
import pytest
from http_client import Gateway
from service import wait_until


@pytest.fixture(scope="module")
def gateway(shared):
    one = Gateway(shared)
    yield one
    shared.processes.pop(one.name).terminate()


@pytest.fixture(autouse=True)
def gateway_lives(gateway):
    yield
    assert gateway.process.running(), gateway.process.log()[-2000:]


def submit(gateway, user, workflow=None, text="hello", **more):
    headers = more.pop("headers", None)
    answer = gateway.post("/api/jobs", {"workflow": workflow or flows.script_chat(["a reply"]), "text": text, **more},
                          user=user, headers=headers)
    assert answer.status in (200, 202), answer
    return answer.body


def question(replies=("a reply",)):
    """A workflow that asks a person at every turn."""
    return flows.chat(flows.script(list(replies)), user={"human_input_mode": "ALWAYS"}, replies=5)


# -- the service ------------------------------------------------------------------------------------------------------


def test_it_says_that_it_lives_and_that_jobs_are_taken(gateway):
    assert gateway.get("/healthz").body == {"status": "ok"}
    ready = gateway.get("/readyz")
    assert ready.status == 200 and ready.body["status"] == "ready" and ready.body["workers"] == 2


# -- jobs -------------------------------------------------------------------------------------------------------------


def test_a_job_is_accepted_runs_and_can_be_read(gateway, user):
    answer = gateway.post("/api/jobs", {"workflow": flows.script_chat(["It is."]), "text": "Is it?"}, user=user)
    assert answer.status == 202 and answer.body["session"] and answer.body["state"] == "accepted"
    job = answer.body["job"]
    assert answer.headers["Location"] == f"/api/jobs/{job}"
    wait_until(lambda: gateway.get(f"/api/jobs/{job}", user=user).body["job"]["state"] == "succeeded")
    record = gateway.get(f"/api/jobs/{job}", user=user).body["job"]
    assert record["content"] == "Is it?" and record["end"]["content"] == "It is."
    assert [one["id"] for one in gateway.get("/api/jobs", user=user).body["jobs"]] == [job]


def test_wait_ms_answers_with_the_end(gateway, user):
    done = submit(gateway, user, wait_ms=20000)
    assert done["state"] == "succeeded" and done["content"] == "a reply" and done["session"] and done["result"]


def test_wait_ms_answers_with_the_question_and_input_goes_on(gateway, user):
    asked = submit(gateway, user, question(), wait_ms=20000)
    assert asked["state"] == "waiting" and asked["prompt"] and asked["ask"]
    job = asked["job"]
    answer = gateway.post(f"/api/jobs/{job}/input", {"text": "exit"}, user=user)
    assert answer.status == 202 and answer.body == {"job": job, "k": 1}
    with gateway.stream(f"/api/jobs/{job}/events", user=user) as stream:
        assert stream.journal()[-1]["state"] == "succeeded"


def test_a_spent_budget_is_told_and_a_greater_one_goes_on(gateway, user):
    asked = submit(gateway, user, flows.script_chat(["a", "b", "c"], replies=2), budget="calls=1", wait_ms=20000)
    assert asked["state"] == "waiting" and asked["reason"] == "budget" and asked["budget"]
    job = asked["job"]
    assert gateway.post(f"/api/jobs/{job}/budget", {"limits": "calls=10"}, user=user).status == 202
    with gateway.stream(f"/api/jobs/{job}/events", user=user, after=asked["seq"]) as stream:
        assert stream.journal()[-1]["state"] == "succeeded"
    [budget] = gateway.get("/api/budgets", user=user, job=job).body["budgets"]
    assert (budget["unit"], budget["settled"], budget["limit"]) == ("calls", 3, 10)


def test_wait_ms_ends_while_the_job_runs_on(gateway, user):
    began = time.monotonic()
    answer = gateway.post("/api/jobs", {"workflow": flows.script_chat(["late"], delay_ms=2000), "text": "x", "wait_ms": 200},
                          user=user)
    assert answer.status == 202 and answer.body["state"] == "accepted" and time.monotonic() - began < 1.5
    assert gateway.get(f"/api/jobs/{answer.body['job']}", user=user).body["job"]["state"] != "succeeded"


def test_an_idempotency_key_makes_one_job_of_many_requests(gateway, user):
    for key in ("any text at all", str(uuid.uuid4())):
        same = [submit(gateway, user, headers={"Idempotency-Key": key}) for _ in range(3)]
        assert len({one["job"] for one in same}) == 1
        other = gateway.post("/api/jobs", {"workflow": flows.script_chat(["z"]), "text": "other"}, user=user,
                             headers={"Idempotency-Key": key})
        assert other.status == 409 and other.body["error"]["code"] == "conflict"
    waited = submit(gateway, user, headers={"Idempotency-Key": "with wait"}, wait_ms=20000)
    assert waited["state"] == "succeeded"
    again = submit(gateway, user, headers={"Idempotency-Key": "with wait"}, wait_ms=20000)
    assert (again["job"], again["state"]) == (waited["job"], "succeeded")
    assert submit(gateway, user + "x", headers={"Idempotency-Key": "any text at all"})["job"] not in {o["job"] for o in same}


def test_cancel_ends_a_job(gateway, user):
    job = submit(gateway, user, flows.script_chat(["late"], delay_ms=20000))["job"]
    with gateway.stream(f"/api/jobs/{job}/events", user=user) as stream:
        assert gateway.post(f"/api/jobs/{job}/cancel", {"reason": "enough"}, user=user).status == 202
        assert stream.journal()[-1]["state"] == "cancelled"
    late = gateway.post(f"/api/jobs/{job}/cancel", user=user)
    assert late.status == 409 and late.body["error"]["code"] == "already_ended"


def test_a_faulty_workflow_is_refused_with_its_place(gateway, user):
    answer = gateway.post("/api/jobs", {"workflow": {"name": "x", "agents": [{"nmae": "y"}]}, "text": "x"}, user=user)
    assert answer.status == 400 and answer.body["error"]["code"] == "invalid"
    assert "agents[0]" in answer.body["error"]["path"]


# -- events -----------------------------------------------------------------------------------------------------------


def test_the_stream_is_the_journal_and_deltas_between(gateway, user, model):
    model.behave(text="one two three four five", piece_chars=4, chunk_ms=40)
    job = submit(gateway, user, flows.http_chat(model))["job"]
    with gateway.stream(f"/api/jobs/{job}/events", user=user) as stream:
        assert stream.status == 200 and stream.response.headers["Content-Type"] == "text/event-stream"
        events = list(stream)
    journal = [event for event in events if event.name == "message"]
    assert [event.data["seq"] for event in journal] == list(range(1, len(journal) + 1))
    assert [event.id for event in journal] == [str(event.data["seq"]) for event in journal]
    assert journal[-1].data["kind"] == "end" and journal[-1].data["state"] == "succeeded"
    deltas = [event for event in events if event.name == "delta"]
    text = ""
    for event in deltas:
        assert event.data["offset"] == len(text)
        text += event.data["text"]
        assert event.id.split(".")[1] == str(len(text))
    assert text and "one two three four five".startswith(text)


def test_a_stream_goes_on_behind_its_last_event(gateway, user):
    job = submit(gateway, user, flows.script_chat(["a", "b", "c"], replies=2), wait_ms=20000)["job"]
    with gateway.stream(f"/api/jobs/{job}/events", user=user) as stream:
        whole = stream.journal()
    for query, last in (({}, "3"), ({}, "3.17"), ({"after": 3}, None), ({"after": 1}, "3")):
        with gateway.stream(f"/api/jobs/{job}/events", user=user, last=last, **query) as stream:
            assert stream.journal() == whole[3:]
    behind = gateway.get(f"/api/jobs/{job}/events", user=user, headers={"Last-Event-ID": str(len(whole))}, timeout=5)
    assert behind.status == 204, "it has ended: nothing more will come"
    page = gateway.get(f"/api/jobs/{job}/journal", user=user, after=len(whole)).body
    assert (page["events"], page["ended"], page["last"]) == ([], "succeeded", len(whole))
    for after in (len(whole), 10**6):
        assert gateway.get(f"/api/jobs/{job}/events", user=user, after=after, timeout=5).status == 204
    refused = gateway.get(f"/api/jobs/{job}/events", user=user, headers={"Last-Event-ID": "3;drop"})
    assert refused.status == 400 and refused.body["error"]["path"] == "Last-Event-ID"


def test_many_streams_of_one_job_each_get_all_of_it(gateway, user, model):
    model.behave(text="abcdefghijklmnopqrstuvwxyz" * 4, piece_chars=4, chunk_ms=20)
    job = submit(gateway, user, flows.http_chat(model, replies=2))["job"]
    streams = [gateway.stream(f"/api/jobs/{job}/events", user=user) for _ in range(5)]
    first = next(event for event in streams[0] if event.name == "delta" and event.data["offset"] > 20)
    late = [gateway.stream(f"/api/jobs/{job}/events", user=user, after=after) for after in (0, 2, 2)]
    seen = next(event for event in late[1] if event.name == "delta")
    assert seen.data["offset"] == 0 and seen.data["text"].startswith("abcdefgh"), "a late one is shown the text so far"
    journals = [stream.journal() for stream in (*streams, *late)]
    whole = journals[1]
    assert whole[-1]["kind"] == "end" and [event["seq"] for event in whole] == list(range(1, len(whole) + 1))
    assert journals[1:5] == [whole] * 4 and journals[5] == whole and journals[7] == whole[2:]
    assert first
    for stream in (*streams, *late):
        stream.close()


def test_a_killed_gateway_loses_and_doubles_nothing(gateway, user, model):
    model.behave(text="word " * 30, piece_chars=5, chunk_ms=15)
    job = submit(gateway, user, flows.http_chat(model, replies=4))["job"]
    events, last, rounds = [], None, 0
    while not events or events[-1]["kind"] != "end":
        with gateway.stream(f"/api/jobs/{job}/events", user=user, last=last) as stream:
            assert stream.status == 200
            for event in stream:
                if event.name == "message":
                    events.append(event.data)
                elif rounds < 2 and event.data["offset"] > 20 and len(events) > 2 * rounds + 2:
                    rounds += 1
                    gateway.restart()
            last = stream.last
    assert rounds == 2
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["state"] == "succeeded" and len(model.calls()) == 5


def test_several_gateways_serve_the_same_job(shared, gateway, user, model):
    model.behave(text="word " * 20, piece_chars=5, chunk_ms=15)
    second = Gateway(shared, "gateway2")
    job = submit(gateway, user, flows.http_chat(model, replies=1))["job"]
    with gateway.stream(f"/api/jobs/{job}/events", user=user) as a, second.stream(f"/api/jobs/{job}/events", user=user) as b:
        assert a.journal() == b.journal()
    assert second.get(f"/api/jobs/{job}", user=user).body == gateway.get(f"/api/jobs/{job}", user=user).body
    assert shared.processes.pop("gateway2").terminate() == 0


def test_a_slow_reader_gets_everything_in_the_end(gateway, user):
    replies = [str(i) + "x" * 100000 for i in range(9)]
    job = submit(gateway, user, flows.script_chat(replies, replies=8))["job"]
    with gateway.raw(f"GET /api/jobs/{job}/events?user={user} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()) as slow_one:
        slow_one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wait_until(lambda: gateway.get(f"/api/jobs/{job}", user=user).body["job"]["state"] == "succeeded")
        assert gateway.process.memory() < 200 << 20
        data = b""
        slow_one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        while chunk := slow_one.recv(65536):
            data += chunk
    seqs = [json.loads(line[6:])["seq"] for line in data.decode().split("\n") if line.startswith("data: ") and '"seq"' in line]
    assert seqs == list(range(1, len(seqs) + 1)) and data.count(b'"kind":"end"') == 1


# -- users ------------------------------------------------------------------------------------------------------------


def test_nobody_sees_another_users_job(gateway, user):
    job = submit(gateway, user, wait_ms=20000)["job"]
    other = user + "other"
    assert gateway.get("/api/jobs", user=other).body["jobs"] == []
    for path in ("", "/events", "/journal"):
        assert gateway.get(f"/api/jobs/{job}{path}", user=other).status == 404
    open_job = submit(gateway, user, question(), wait_ms=20000)["job"]
    for verb, body in (("cancel", {}), ("input", {"text": "exit"})):
        assert gateway.post(f"/api/jobs/{open_job}/{verb}", body, user=other).status == 404
    with gateway.stream(f"/api/jobs/{open_job}/events", user=user) as stream:
        next(iter(stream))
        assert gateway.get(f"/api/jobs/{open_job}/events", user=other).status == 404, "also while its owner watches it"
    gateway.post(f"/api/jobs/{open_job}/cancel", user=user)


# -- clients that behave badly ----------------------------------------------------------------------------------------


def test_a_client_that_hangs_up_does_not_stop_its_job(gateway, user):
    body = json.dumps({"workflow": flows.script_chat(["done"], delay_ms=600), "text": "x", "wait_ms": 20000}).encode()
    head = f"POST /api/jobs?user={user} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with gateway.raw(head.encode() + body):
        wait_until(lambda: gateway.get("/api/jobs", user=user).body["jobs"])
    job = gateway.get("/api/jobs", user=user).body["jobs"][0]["id"]
    wait_until(lambda: gateway.get(f"/api/jobs/{job}", user=user).body["job"]["state"] == "succeeded")


def test_half_open_and_slow_connections_starve_nobody(gateway):
    idle = [gateway.raw() for _ in range(50)] + [gateway.raw(b"POST /api/jobs HTTP/1.1\r\nHost: loc") for _ in range(50)]
    for one in idle[50:]:
        one.shutdown(socket.SHUT_WR)
    idle += [gateway.raw(b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc") for _ in range(50)]
    began = time.monotonic()
    for _ in range(20):
        assert gateway.get("/healthz").status == 200
    assert time.monotonic() - began < 5
    for one in idle:
        one.close()


def test_who_wants_deltas_gets_them_though_others_do_not(gateway, user, model):
    model.behave(text="word " * 40, piece_chars=5, chunk_ms=20)
    job = submit(gateway, user, flows.http_chat(model, replies=1))["job"]
    with gateway.stream(f"/api/jobs/{job}/events", user=user, deltas=False) as plain:
        events = iter(plain)
        first = next(events)
        with gateway.stream(f"/api/jobs/{job}/events", user=user) as both:
            seen = list(both)
        rest = [first, *events]
    assert {event.name for event in rest} == {"message"} and {event.name for event in seen} == {"message", "delta"}
    journal = [event.data for event in seen if event.name == "message"]
    assert [event.data for event in rest] == journal and journal[-1]["kind"] == "end"


def test_who_wants_no_deltas_gets_none_though_others_do(gateway, user, model):
    model.behave(text="word " * 40, piece_chars=5, chunk_ms=20)
    job = submit(gateway, user, flows.http_chat(model, replies=1))["job"]
    with gateway.stream(f"/api/jobs/{job}/events", user=user) as both:
        assert any(event.name == "delta" for event in both), "a turn is being written"
        with gateway.stream(f"/api/jobs/{job}/events", user=user, deltas=False) as plain:
            assert {event.name for event in plain} == {"message"}


def test_when_a_job_can_be_watched_no_more_all_who_follow_it_are_told_and_come_back(shared, user, model):
    """The second one wants more of the job than the first, so that it is watched anew, which fails once."""
    model.behave(text="a b c d", stall="headers")
    own = Gateway(shared, "gateway41", failpoint="gateway.watch:error:2")
    job = submit(own, user, flows.http_chat(model))["job"]
    wait_until(lambda: model.calls(), what="the call")
    followed = lambda: float(own.get("/metrics").text.split("\nautobots_http_jobs_followed ")[1].split()[0])
    with own.stream(f"/api/jobs/{job}/events", user=user, deltas=False) as plain:
        first = next(iter(plain))
        wait_until(lambda: followed() == 1, what="the watch")
        with own.stream(f"/api/jobs/{job}/events", user=user) as curious:
            seen = [list(one) for one in (curious, plain)]
    for events in seen:
        assert events[-1].name == "error" and events[-1].data["error"]["code"] == "busy", events
        assert "gateway.watch" in events[-1].data["error"]["message"]
    assert followed() == 0
    last = [event.id for event in [first, *seen[1]] if event.id][-1]
    with own.stream(f"/api/jobs/{job}/events", last=last, user=user) as plain:
        wait_until(lambda: followed() == 1, what="the watch")
        own.post(f"/api/jobs/{job}/cancel", user=user)
        rest = plain.journal()
    assert [event["seq"] for event in rest] == list(range(int(last) + 1, rest[-1]["seq"] + 1)) and rest[-1]["state"] == "cancelled"
    shared.processes.pop(own.name).terminate()


def test_who_waits_for_a_job_that_cannot_be_watched_is_told(shared, user):
    own = Gateway(shared, "gateway42", failpoint="gateway.watch:error")
    answer = own.post("/api/jobs", {"workflow": flows.script_chat(["a"]), "text": "x", "wait_ms": 20000}, user=user)
    job = answer.headers["Location"].rpartition("/")[2]
    assert answer.status == 202 and answer.body == {"job": job, "state": "accepted"}
    wait_until(lambda: own.get(f"/api/jobs/{job}", user=user).body["job"]["state"] == "succeeded", what="it was taken all the same")
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
    own.request("PUT", "/api/workflows/quick", {"workflow": flows.script_chat(["a"])}, user=user)
    told = own.post("/v1/chat/completions", {**body, "model": "quick"}, user=user)
    assert told.status == 429 and "gateway.watch" in told.body["error"]["message"]
    streamed = own.post("/v1/chat/completions", {**body, "model": "quick", "stream": True}, user=user)
    assert "gateway.watch" in streamed.text and "[DONE]" not in streamed.text
    shared.processes.pop(own.name).terminate()


def test_a_response_that_is_being_written_and_read_is_cancelled(gateway, user, model):
    model.behave(text="word " * 200, piece_chars=5, chunk_ms=20)
    body = {"model": "slow", "input": "go", "background": True}
    flow = flows.http_chat(model, replies=1)
    assert gateway.request("PUT", "/api/workflows/slow", {"workflow": flow}, user=user).status < 300
    response = gateway.post("/v1/responses", body, user=user).body["id"]
    job = gateway.get("/api/jobs", user=user).body["jobs"][0]["id"]
    with gateway.stream(f"/api/jobs/{job}/events", user=user) as events:
        assert any(event.name == "delta" for event in events), "a turn is being written"
        answer = gateway.post(f"/v1/responses/{response}/cancel", user=user)
    assert answer.status == 200 and answer.body["status"] == "cancelled"


def test_a_session_that_is_no_text_is_refused_and_answers_no_question(gateway, user):
    job = submit(gateway, None, question())["job"]
    wait_until(lambda: gateway.get(f"/api/jobs/{job}").body["job"]["state"] == "waiting")
    assert gateway.request("PUT", "/api/workflows/plain", {"workflow": flows.script_chat(["a reply"])}).status < 300
    body = {"model": "plain", "messages": [{"role": "user", "content": "meant for another"}]}
    answer = gateway.post("/v1/chat/completions", body, headers={"X-Session-Id": "\xff\xfe"})
    assert answer.status == 400 and answer.body["error"]["param"] == "X-Session-Id"
    assert gateway.get(f"/api/jobs/{job}").body["job"]["state"] == "waiting"
