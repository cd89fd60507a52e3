"""Calls of tools, and workers that die or stop in the middle of them. The tool is http_get, of a server that holds its answers
back, so that a call is under way for as long as the test wants."""

import collections
import http.server
import json
import threading

import flows
import pytest
from service import wait_until


class Site:
    """Answers a path when it is told to."""

    def __init__(self):
        self.asked, self.open = collections.Counter(), collections.defaultdict(threading.Event)
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked[self.path] += 1
                site.open[self.path].wait(60)
                body = f"page {self.path}".encode()
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "text/plain")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:  # whoever asked is dead
                    pass

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.host = f"127.0.0.1:{self.server.server_port}"

    def url(self, path):
        return f"http://{self.host}{path}"

    def wait_asked(self, path, times=1):
        wait_until(lambda: self.asked[path] >= times, what=f"{path} is asked for {times} times")


@pytest.fixture
def site():
    one = Site()
    yield one
    for event in list(one.open.values()):
        event.set()
    one.server.shutdown()


def flow(paths, tools, **config):
    calls = [{"name": "http_get", "arguments": {"url": path}} for path in paths]
    made = flows.chat({"model": "script", "api_type": "script",
                       "script": {"replies": [{"tool_calls": calls}, "I have read it."], "repeat": "error"}})
    made["agents"][1]["agent"]["tools"] = tools
    made["agents"][1]["agent"]["config"].update(config)
    return made


def of(events, kind):
    return [event for event in events if event["kind"] == kind]


@pytest.fixture
def service(make_service, site):
    return make_service(workers=0, config={"heartbeat_ms": 200, "lease_ms": 1000, "http_get_hosts": site.host})


def begin(service, site, client, failpoint=None, name="worker1", **more):
    """A job whose call is under way on that worker."""
    service.start(name, failpoint=failpoint)
    service.wait_ready(1)
    job = client.submit(flow([site.url("/a")], ["http_get"], **more), "go", watch="all").id
    site.wait_asked("/a")
    return job


def test_a_call_that_may_be_repeated_is_made_again_by_another_worker(service, site):
    with service.client() as client:
        job = begin(service, site, client)
        service.kill("worker1")
        service.start("worker2")
        site.wait_asked("/a", 2)
        site.open["/a"].set()
        events = client.events_to_end(job, timeout=60)
    assert [one["content"] for one in of(events, "tool_result")] == ["HTTP 200, text/plain\n\npage /a"]
    assert len(of(events, "tool_started")) == 1 and site.asked["/a"] == 2
    assert events[-1]["content"] == "I have read it."


@pytest.mark.parametrize("stop", ["kill", "terminate"])
def test_of_a_call_that_may_not_be_repeated_nobody_knows_what_came(service, site, stop):
    with service.client() as client:
        job = begin(service, site, client)
        if stop == "kill":
            service.kill("worker1")
        else:
            assert service["worker1"].terminate() == 0
        service.start("worker2", failpoint="worker.tool_not_idempotent:error")
        events = client.events_to_end(job, timeout=60)
    [result] = of(events, "tool_result")
    assert result["failed"] and "interrupted; its outcome is unknown" in result["content"]
    assert site.asked["/a"] == 1, "it is not made again"
    assert events[-1]["state"] == "succeeded" and events[-1]["content"] == "I have read it."


def test_a_worker_that_is_told_to_stop_gives_its_call_to_another(service, site):
    with service.client() as client:
        job = begin(service, site, client)
        service.start("worker2")
        service.wait_ready(2)
        assert service["worker1"].terminate() == 0
        site.wait_asked("/a", 2)
        site.open["/a"].set()
        events = client.events_to_end(job)
    assert not of(events, "attempt_failed") and not of(events, "tool_result")[0].get("failed")


def test_a_pause_lets_a_call_come_to_its_end_and_begins_no_other(service, site):
    with service.client() as client:
        job = begin(service, site, client)
        client.inbox(job, "pause")
        site.open["/a"].set()
        kinds = []
        while "paused" not in kinds:
            message = client.next_event(job)
            kinds.append(message.body_value()["kind"])
        assert kinds[-2:] == ["tool_result", "paused"]
        client.inbox(job, "resume")
        events = client.events_to_end(job, message["seq"])
    assert [event["kind"] for event in events] == ["started", "model_reply", "end"] and site.asked["/a"] == 1


def test_a_worker_may_go_while_a_person_is_asked(service, site):
    service.start("worker1")
    with service.client() as client:
        job = client.submit(flow([site.url("/a")], [{"name": "http_get", "approval": "ask"}]), "go", watch="all").id
        question = {}
        while question.get("kind") != "waiting":
            message = client.next_event(job)
            question = message.body_value()
        assert service["worker1"].terminate() == 0
        client.inbox(job, "input", "yes", question["ask"])
        service.start("worker2")
        site.open["/a"].set()
        events = client.events_to_end(job, message["seq"])
    assert [event["kind"] for event in events] == ["started", "input", "tool_started", "tool_result", "model_reply", "end"]
    assert site.asked["/a"] == 1


def test_nobody_agrees_in_time(service, site):
    service.start("worker1")
    made = flow([site.url("/a")], [{"name": "http_get", "approval": "ask"}], human_timeout_s=0.3)
    with service.client() as client:
        events = client.events_to_end(client.submit(made, "go", watch="all").id)
    assert of(events, "input")[0]["timeout"] and not of(events, "tool_started")
    assert events[-1]["content"] == "I have read it." and not site.asked


def test_a_job_is_cancelled_while_a_person_is_asked(service, site):
    service.start("worker1")
    with service.client() as client:
        job = client.submit(flow([site.url("/a")], [{"name": "http_get", "approval": "ask"}]), "go", watch="all").id
        while client.next_event(job).body_value()["kind"] != "waiting":
            pass
        client.cancel(job)
        while client.next_event(job).body_value()["kind"] != "end":
            pass
    assert not site.asked


@pytest.mark.parametrize("answer, asked", [("yes", 2), ("no", 1)])
def test_of_two_calls_none_is_made_before_the_question_about_one_is_answered(service, site, model, answer, asked):
    """http_get asks a person, now does not: the model calls both in one reply."""
    def call(id, name, arguments):
        return {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    site.open["/a"].set()
    model.behave(texts=[{"tool_calls": [call("c1", "now", {}), call("c2", "http_get", {"url": site.url("/a")})]}, "Done."])
    made = flows.http_chat(model)
    made["agents"][1]["agent"]["tools"] = ["now", {"name": "http_get", "approval": "ask"}]
    service.start("worker1")
    with service.client() as client:
        job = client.submit(made, "go", watch="all").id
        before = []
        while not before or before[-1]["kind"] != "waiting":
            message = client.next_event(job)
            before.append(message.body_value())
        assert not of(before, "tool_started") and "http_get" in before[-1]["prompt"]
        client.inbox(job, "input", answer, before[-1]["ask"])
        events = client.events_to_end(job, message["seq"])
    assert len(of(events, "tool_started")) == asked
    told = [one["content"] for one in model.calls()[1]["body"]["messages"] if one["role"] == "tool"]
    assert told[0].startswith("20") and ("page /a" in told[1] if answer == "yes" else "refused this call: no" in told[1])
    assert site.asked["/a"] == asked - 1


@pytest.mark.parametrize("tool, config", [({"name": "http_get", "timeout_s": 0.3}, {}),
                                          ("http_get", {"tool_seconds_max": 1})])
def test_a_call_that_takes_too_long_is_given_up(make_service, site, tool, config):
    service = make_service(config={"http_get_hosts": site.host, **config})
    with service.client() as client:
        events = client.events_to_end(client.submit(flow([site.url("/a")], [tool]), "go", watch="all").id)
    [result] = of(events, "tool_result")
    assert result["failed"] and "time" in result["content"] and result["duration_ms"] < 5000, result
    assert events[-1]["content"] == "I have read it."


def test_the_time_of_a_job_ends_its_call(make_service, site):
    service = make_service(config={"http_get_hosts": site.host, "job_seconds_max": 1})
    with service.client() as client:
        end = client.events_to_end(client.submit(flow([site.url("/a")], ["http_get"]), "go", watch="all").id)[-1]
    assert end["state"] == "succeeded" and end["stop_reason"] == "job_seconds_max"
