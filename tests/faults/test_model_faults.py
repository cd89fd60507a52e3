"""A model server that misbehaves over real HTTP: what the worker survives, and what it says when it cannot."""

import time

import flows
import pytest

# behaviour → how many calls it takes until the answer is whole
SURVIVED = {
    "429 with retry-after": ({"fail": {"status": 429, "times": 1, "headers": {"Retry-After": "1"}}}, 2),
    "429 with retry-after-ms": ({"fail": {"status": 429, "times": 1, "headers": {"retry-after-ms": "300"}}}, 2),
    "500 once": ({"fail": {"status": 500, "times": 1}}, 2),
    "503 with html": ({"fail": {"status": 503, "times": 1, "html": "<h1>sorry</h1>"}}, 2),
    "stream cut once": ({"cut_after": 3, "cut_times": 1}, 2),
    "malformed chunk once": ({"malformed_at": 2, "malformed_times": 1}, 2),
    "one byte at a time": ({"byte_at_a_time": True}, 1),
    "carriage returns": ({"newline": "\r\n", "comments": True}, 1),
    "lone carriage returns": ({"newline": "\r"}, 1),
    "no done": ({"no_done": True}, 1),
    "no usage": ({"usage": False}, 1),
}


@pytest.mark.parametrize("behaviour,calls", SURVIVED.values(), ids=SURVIVED.keys())
def test_survived(client, model, behaviour, calls):
    model.behave(text="the whole äöü answer", piece_chars=3, **behaviour)
    _, events = client.run(flows.http_chat(model), "go", timeout=30)
    assert events[-1]["state"] == "succeeded" and events[-1]["content"] == "the whole äöü answer"
    assert len(model.calls()) == calls
    reply = next(event for event in events if event["kind"] == "model_reply")
    assert reply.get("tries", 1) == calls
    assert bool(reply.get("estimated")) == (behaviour.get("usage") is False)


def test_retry_after_is_honoured(client, model):
    model.behave(fail={"status": 429, "times": 1, "headers": {"Retry-After": "1"}})
    client.run(flows.http_chat(model), "go")
    first, second = model.calls()
    assert 0.95 <= second["start"] - first["end"] < 3


FINAL = {
    "quota": ({"insufficient_quota": True}, "quota"),
    "bad request": ({"fail": {"status": 400, "error": {"message": "no such parameter: x", "type": "t"}}}, "no such parameter"),
    "unauthorised": ({"fail": {"status": 401}}, "401"),
    "redirect": ({"redirect": "http://127.0.0.1:1/"}, "307"),
}


@pytest.mark.parametrize("behaviour,text", FINAL.values(), ids=FINAL.keys())
def test_final_failures_end_the_job_with_the_reason(client, model, behaviour, text):
    model.behave(**behaviour)
    _, events = client.run(flows.http_chat(model), "go", timeout=30)
    end = events[-1]
    assert end["state"] == "failed" and end["code"] == "model" and text in end["text"], end
    assert len(model.calls()) == 1
    assert client.job(client.storage.ask("list_jobs")["jobs"][0]["id"])["state"] == "failed"


def test_the_next_endpoint_of_the_list_is_tried(client, model):
    model.server.control(models={model.name + "-broken": {"fail": {"status": 500}}})
    model.behave(text="from the second")
    flow = flows.chat([flows.endpoint(model.name + "-broken", model.url), flows.endpoint(model.name, model.url)])
    _, events = client.run(flow, "go", timeout=40)
    assert events[-1]["content"] == "from the second"


def test_nobody_listens_there(client, model):
    """Retryable: the job is tried again later, and says so."""
    flow = flows.chat(flows.endpoint("none", "http://127.0.0.1:9/v1"))
    job = client.submit(flow, "go", watch="all").id
    failed = client.wait_for(lambda m: m.name == "EVENT" and m.body_value()["kind"] == "attempt_failed", 30).body_value()
    assert failed["code"] in ("model", "unavailable") and "127.0.0.1:9" in failed["text"]
    status = client.job_status(job)
    assert status["state"] == "retry" and status["wake_at_ms"] > time.time() * 1000 - 1000, status
    client.cancel(job)
    client.wait_for(lambda m: m.name == "EVENT" and m.get("end") == "cancelled")


def test_an_endless_stall_ends_with_the_time_out_of_the_call(client, model):
    model.behave(stall="body", stall_times=1)
    flow = flows.chat(flows.endpoint(model.name, model.url),
                      assistant={"llm_config": {"config_list": [flows.endpoint(model.name, model.url)], "timeout": 1}})
    _, events = client.run(flow, "go", timeout=40)
    assert events[-1]["state"] == "succeeded"
    assert model.calls()[0]["outcome"] == "disconnected" and len(model.calls()) == 2


def test_a_text_that_was_begun_twice_starts_again_for_the_watcher(client, model):
    model.behave(text="abcdefghijklmnop", piece_chars=2, chunk_ms=30, cut_after=5, cut_times=1)
    job = client.submit(flows.http_chat(model), "go", watch="all", deltas=True).id
    client.wait_for(lambda m: m.name == "EVENT" and m.get("end"), 30)
    attempts = {}
    for message in client.deltas(job):
        text = attempts.setdefault(message["attempt"], [])
        assert message["offset"] == len("".join(text))
        text.append(message["text"])
    assert len(attempts) == 2, "the second attempt did not start the text again"
    assert "abcdefghijklmnop".startswith("".join(attempts[max(attempts)]))
