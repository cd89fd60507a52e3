"""/metrics tells what happened, as Prometheus reads it, and health what is down."""

import re

import flows
import pytest
from http_client import Gateway
from service import wait_until

LINE = re.compile(r'^([a-z_][a-z0-9_]*)(\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\})? (-?[0-9.e+-]+|\+Inf)$')


@pytest.fixture
def gateway(make_service):
    return Gateway(make_service(workers=1, config={"heartbeat_ms": 200}))


def metrics(gateway):
    """{name: {labels: value}}; every line must be one of the format's."""
    answer = gateway.get("/metrics")
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found, typed = {}, set()
    for line in answer.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in typed and kind in ("counter", "gauge", "histogram")
            typed.add(name)
        elif not line.startswith("# HELP "):
            name, labels, value = LINE.match(line).groups()
            assert name in typed or re.sub("_(bucket|sum|count)$", "", name) in typed, line
            assert (labels or "") not in found.setdefault(name, {}), line
            found[name][labels or ""] = float(value)
    return found


def total(gateway, name):
    return sum(metrics(gateway).get(name, {}).values())


def test_metrics_count_what_happened(gateway, model):
    model.behave(text="four words are here", usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})
    before = metrics(gateway)
    assert before["autobots_up"] == {'{part="broker"}': 1, '{part="storage"}': 1}
    for _ in range(3):
        answer = gateway.post("/api/jobs", {"workflow": flows.http_chat(model), "text": "x", "wait_ms": 20000})
        assert answer.body["state"] == "succeeded"
    gateway.post("/api/jobs", {"workflow": flows.script_chat(["x"]), "text": "x", "not_before_ms": 4 * 10 ** 12})
    wait_until(lambda: total(gateway, "autobots_model_calls_total") == 3, what="three model calls")
    now = metrics(gateway)
    assert sum(now["autobots_model_prompt_tokens_total"].values()) == 30
    assert sum(now["autobots_model_completion_tokens_total"].values()) == 15
    assert sum(now["autobots_model_calls_unpriced_total"].values()) == 3
    assert now["autobots_jobs"]['{state="scheduled"}'] == 1 and now["autobots_jobs_accepted_total"][""] == 4
    assert now["autobots_storage_jobs_open"][""] == 1
    commits = now["autobots_storage_commits_total"][""] - before["autobots_storage_commits_total"][""]
    spent = now["autobots_storage_commit_seconds_total"][""] - before["autobots_storage_commit_seconds_total"][""]
    assert commits >= 4 and 0 < spent < 10
    [slots] = now["autobots_worker_slots"].values()
    assert slots == 64
    assert now["autobots_http_requests_total"]['{class="2xx"}'] >= 4
    buckets = now["autobots_http_request_seconds_bucket"]
    assert buckets['{le="+Inf"}'] == now["autobots_http_request_seconds_count"][""] >= 4
    assert list(buckets.values()) == sorted(buckets.values())


def test_calls_of_tools_are_counted(gateway):
    made = flows.chat({"model": "script", "api_type": "script", "script": {"replies": [{"tool_calls": [
        {"name": "calculator", "arguments": {"expression": expression}} for expression in ("1+1", "1/0", "")]}, "Done."]}})
    made["agents"][1]["agent"]["tools"] = ["calculator"]
    before = total(gateway, "autobots_tool_calls_total"), total(gateway, "autobots_tool_calls_failed_total")
    gateway.post("/api/jobs", {"text": "go", "workflow": made, "wait_ms": 20000})
    wait_until(lambda: total(gateway, "autobots_tool_calls_total") == before[0] + 3, what="three calls")
    assert total(gateway, "autobots_tool_calls_failed_total") == before[1] + 2


def test_streams_and_their_events_are_counted(gateway):
    job = gateway.post("/api/jobs", {"workflow": flows.script_chat(["late"], delay_ms=600), "text": "x"}).body["job"]
    with gateway.stream(f"/api/jobs/{job}/events") as stream:
        wait_until(lambda: total(gateway, "autobots_http_streams") == 1)
        assert total(gateway, "autobots_http_jobs_followed") == 1
        n = len(stream.journal())
    wait_until(lambda: total(gateway, "autobots_http_streams") == 0)
    assert total(gateway, "autobots_http_stream_events_total") == n and total(gateway, "autobots_http_jobs_followed") == 0


def test_failures_and_open_breakers_are_seen(gateway, model):
    model.behave(fail={"status": 500})
    gateway.post("/api/jobs", {"workflow": flows.http_chat(model), "text": "x"})
    wait_until(lambda: total(gateway, "autobots_model_retries_total") >= 1, 30)


def test_what_is_down_is_told_soon(gateway):
    gateway.service.kill("broker")
    ready = gateway.get("/readyz", timeout=10)
    assert ready.status == 503 and ready.body["error"]["retryable"] and ready.headers["Retry-After"]
    assert metrics(gateway)["autobots_up"] == {'{part="broker"}': 0, '{part="storage"}': 1}
    assert gateway.get("/healthz").status == 200
    gateway.service.start("broker")
    wait_until(lambda: gateway.get("/readyz", timeout=10).status == 200)
