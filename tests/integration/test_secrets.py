"""Keys go to the endpoint they belong to and nowhere else: no file, log, event, answer or command line has them."""

import hashlib
import pathlib
import secrets

import autobots_wire as wire
import cli
import flows
import pytest
import wire_values
from service import Service, wait_until

OWN = "sk-own-" + secrets.token_hex(16)
SENT = "sk-sent-" + secrets.token_hex(16)


@pytest.fixture(scope="module")
def other_server():
    """A second model server, on 127.0.0.2: another endpoint."""
    from model_server import ModelServer
    with ModelServer(host="127.0.0.2") as server:
        yield server


@pytest.fixture(scope="module")
def keyed(short_folder, model_server):
    """The worker's own key is bound to the model server; everything is logged."""
    service = Service(short_folder(), env={"OPENAI_API_KEY": OWN, "OPENAI_BASE_URL": model_server.url},
                      config={"log_level": "debug"})
    yield service
    service.stop()


def sha(key):
    return hashlib.sha256(key.encode()).hexdigest()


def command_lines():
    found = b""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes()
        except OSError:
            pass
    return found


def assert_nowhere(service, key, *texts):
    key = key.encode()
    for variant in (key, key[8:], key.hex().encode()):
        assert not service.files_holding(variant), service.files_holding(variant)
        assert variant not in command_lines()
        for text in texts:
            assert variant not in (text if isinstance(text, bytes) else wire_values.flat(text))


def write_flow(tmp_path, flow):
    path = tmp_path / "flow.json"
    path.write_text(wire_values.json.dumps(flow))
    return path


def test_the_workers_own_key_goes_to_its_own_endpoint_only(keyed, model, other_server):
    with keyed.client("own") as client:
        _, events = client.run(flows.chat(flows.endpoint(model.name)), "no base_url")
        assert events[-1]["state"] == "succeeded"
        assert model.calls()[-1]["key_sha256"] == sha(OWN)
        _, events = client.run(flows.chat(flows.endpoint(model.name, model.url)), "the same base_url")
        assert model.calls()[-1]["key_sha256"] == sha(OWN)
        before = len(other_server.calls())
        _, more = client.run(flows.chat(flows.endpoint(model.name, other_server.url)), "another base_url", timeout=60)
        calls = other_server.calls(before)
        assert calls and not any(call["authorization"] or call["api_key"] for call in calls), "the key went elsewhere"
        assert more[-1]["state"] == "succeeded"
        assert_nowhere(keyed, OWN, events, more, client.journal(client.storage.ask("list_jobs")["jobs"][0]["id"]))


@pytest.mark.parametrize("url", ["{0}.evil.example/v1", "http://127.0.0.1@127.0.0.2:{1}/v1", "{0}/../../other"])
def test_look_alike_endpoints_get_no_key(keyed, model, model_server, other_server, url):
    base = model_server.url.removesuffix("/v1")
    before = len(other_server.calls())
    with keyed.client("alike") as client:
        try:
            flow = flows.chat(flows.endpoint(model.name, url.format(base, other_server.port)))
            job = client.submit(flow, "x", watch="all")
        except wire.Failure as refused:
            assert refused.code == "invalid" and refused.path.endswith("base_url")
            return
        message = client.wait_for(lambda m: m.name == "EVENT" and m.body_value()["kind"] in ("attempt_failed", "end"), 40)
        if message.body_value()["kind"] != "end":
            client.cancel(job.id)
    assert not any(call["authorization"] for call in other_server.calls(before))
    assert not any(call["key_sha256"] == sha(OWN) and "/other" in call["target"] for call in model.calls())


def test_a_key_of_a_request_is_used_for_its_job_and_found_nowhere(keyed, model, other_server, tmp_path):
    flow = flows.chat(flows.endpoint(model.name, other_server.url, api_key=SENT), replies=1)
    before = len(other_server.calls())
    other_server.control(models={model.name: {"delay_ms": 300}})
    process = cli.start("submit", "-w", write_flow(tmp_path, flow), "--json", "x", home=keyed.dir)
    wait_until(lambda: len(other_server.calls(before)) > 0, what="the call is made")
    assert SENT.encode() not in command_lines()
    assert not keyed.files_holding(SENT), "while it runs"
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, (out, err)
    assert {call["key_sha256"] for call in other_server.calls(before)} == {sha(SENT)}
    shown = cli.run("show", "last", "--json", home=keyed.dir)
    assert_nowhere(keyed, SENT, out, err, shown.out)
    with keyed.sqlite() as database:
        assert database.execute("select count(*) from job_secrets").fetchone() == (0,), "it outlived its job"


def test_a_key_of_a_request_works_after_the_death_of_everything(make_service, model, tmp_path):
    service = make_service(config={"heartbeat_ms": 150, "lease_ms": 600})
    model.behave(delay_ms=1500)
    flow = flows.chat(flows.endpoint(model.name, model.url, api_key=SENT))
    job = cli.run("submit", "-w", write_flow(tmp_path, flow), "--detach", "x", home=service.dir).out.strip()
    wait_until(model.calls, what="the first call")
    for name in ("worker1", "broker", "storage"):
        service.kill(name)
    assert not service.files_holding(SENT)
    model.behave()
    for name in ("storage", "broker", "worker1"):
        service.start(name)
    assert cli.run("watch", job, home=service.dir).code == 0
    assert [call["key_sha256"] for call in model.calls()] == [sha(SENT)] * len(model.calls())
    assert len(model.calls()) == 2
    assert_nowhere(service, SENT)


def test_an_endpoint_that_quotes_the_key_in_its_error(keyed, model):
    model.behave(leak_key=True)
    with keyed.client("leak") as client:
        _, events = client.run(flows.chat(flows.endpoint(model.name)), "x", timeout=30)
        assert events[-1]["state"] == "failed" and "***" in events[-1]["text"]
        assert_nowhere(keyed, OWN, events)


def test_a_clear_key_in_a_submit_is_refused_and_not_stored(keyed, model):
    with keyed.client("clear") as client:
        with pytest.raises(wire.Failure) as failure:
            client.submit(flows.chat(flows.endpoint(model.name, model.url, api_key=SENT)), "x")
        assert failure.value.code == "invalid" and "api_key" in failure.value.path
        assert SENT not in str(failure.value.header)
    assert_nowhere(keyed, SENT)


def test_a_redirect_is_not_followed_with_the_key(keyed, model, other_server):
    model.behave(redirect=other_server.url + "/chat/completions")
    before = len(other_server.calls())
    with keyed.client("redirect") as client:
        _, events = client.run(flows.chat(flows.endpoint(model.name)), "x", timeout=30)
        assert events[-1]["state"] == "failed"
    assert other_server.calls(before) == []
