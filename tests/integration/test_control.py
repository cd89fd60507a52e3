"""Control of runs: pause and resume, through the whole system."""

import cli
import flows
import pytest
from autobots_wire import Failure, id_text
from service import wait_until


def of_kind(events, kind):
    return [event for event in events if event["kind"] == kind]


def kill_everything(service):
    """kill -9 of all processes, then all of them anew."""
    names = list(service.processes)
    for name in names:
        service.kill(name)
    for name in names:
        service.start(name)
    service.wait_ready()


def wait_state(client, job, state):
    wait_until(lambda: client.job_status(job)["state"] == state, what=f"state {state}")


def next_kind(client, job, kind):
    while True:
        event = client.next_event(job).body_value()
        if event["kind"] == kind:
            return event


# ---- pause, resume --------------------------------------------------------------------------------------------------


def test_a_running_job_is_paused_at_its_next_step_and_goes_on(client, model):
    model.behave(texts=["one", "two", "three"], delay_ms=200)
    job = client.submit(flows.http_chat(model, replies=2), "count", watch="all").id
    wait_until(model.calls, what="the first call")
    client.inbox(job, "pause")
    assert client.job_status(job)["state"] in ("pausing", "paused")
    wait_state(client, job, "paused")
    assert client.job(job)["state"] == "paused" and not client.job_status(job).get("worker")
    assert [call["outcome"] for call in model.calls()] == ["done"], "the call under way is finished, no other is made"
    before = client.journal(job)
    assert [e["kind"] for e in before] == ["started", "begin", "model_reply", "paused"]
    client.inbox(job, "resume")
    events = client.events_to_end(job)
    assert [e["content"] for e in of_kind(events, "model_reply")] == ["one", "two", "three"]
    assert len(model.calls()) == 3 and events[-1]["state"] == "succeeded"
    assert [e["attempt"] for e in of_kind(events, "started")] == [1, 2]


def test_paused_jobs_survive_the_end_of_everything(make_service, model):
    service = make_service(workers=1)
    model.behave(texts=["What colour?", "Blue it is."], delay_ms=150)
    talk = flows.http_chat(model, replies=1)
    asks = flows.http_chat(model, replies=5, user={"human_input_mode": "ALWAYS"})
    with service.client() as client:
        waits = client.submit(asks, "paint", watch="all").id
        next_kind(client, waits, "waiting")
        runs = client.submit(talk, "talk").id
        wait_until(lambda: len(model.calls()) == 2, what="its call")
        for job in (waits, runs):
            client.inbox(job, "pause")
            wait_state(client, job, "paused")
    kill_everything(service)
    with service.client() as client:
        for job in (waits, runs):
            wait_state(client, job, "paused")
        assert "waits for an answer" in client.job_status(waits)["why"]
        assert client.status()["paused"] == 2
        listed = cli.run("jobs", "--state", "paused", "--json", "--user", "tester", home=service.dir).lines()
        assert {job["id"] for job in listed} == {id_text(waits), id_text(runs)}
        assert not cli.run("jobs", "--state", "waiting", "--json", "--user", "tester", home=service.dir).lines()
        assert cli.run("resume", id_text(runs), "--user", "tester", home=service.dir).out == f"{id_text(runs)}: resumed\n"
        assert client.watch_to_end(runs)[-1]["state"] == "succeeded"
        client.inbox(waits, "resume")
        wait_state(client, waits, "waiting")
        client.inbox(waits, "pause")
        client.inbox(waits, "input", "blue")
        assert client.job_status(waits)["state"] == "paused"
        client.inbox(waits, "resume")
        wait_until(lambda: client.job_status(waits)["state"] == "waiting", what="its next question")
        client.inbox(waits, "input", "exit")
        events = client.watch_to_end(waits)
    assert [e["text"] for e in of_kind(events, "input")] == ["blue", "exit"]
    assert events[-1]["state"] == "succeeded"


def test_pause_from_the_command_line(shared, client, user, model):
    job = client.submit(flows.script_chat(["x"]), "later", not_before_ms=4_000_000_000_000).id
    name = id_text(job)
    for _ in range(2):
        done = cli.run("pause", name, "for lunch", "--user", user, home=shared.dir)
        assert done.code == 0 and done.out == f"{name}: pausing\n"
    shown = cli.run("show", name, "--json", "--user", user, home=shared.dir).json()
    assert shown["state"] == "paused" and shown["why"].startswith("paused")
    assert "paused 1" in cli.run("status", "--user", user, home=shared.dir).out
    assert cli.run("resume", name, "--json", "--user", user, home=shared.dir).json() == {"id": name, "resumed": True}
    assert client.job_status(job)["state"] == "scheduled"
    cli.run("pause", name, "--user", user, home=shared.dir)
    wait_state(client, job, "paused")
    client.cancel(job)
    assert client.watch_to_end(job)[-1]["state"] == "cancelled"
    done = cli.run("pause", name, "--json", "--user", user, home=shared.dir)
    assert done.code == 1 and done.json()["error"]["code"] == "already_ended"


def test_what_was_used_before_a_cancel_is_shown(shared, client, user):
    flow = flows.script_chat(["What colour?"], replies=5, user={"human_input_mode": "ALWAYS"})
    job = client.submit(flow, "paint", watch="all").id
    next_kind(client, job, "waiting")
    client.cancel(job)
    client.wait_for(lambda m: m.name == "EVENT" and m.get("end"))
    shown = cli.run("show", id_text(job), "--json", "--user", user, home=shared.dir).json()
    assert shown["state"] == "cancelled" and shown["usage_so_far"]["calls"] == 1 and shown["usage_so_far"]["tokens"] > 0


def test_an_unknown_word_to_a_job_is_refused(client):
    job = client.submit(flows.script_chat(["x"]), "later", not_before_ms=4_000_000_000_000).id
    with pytest.raises(Failure) as failure:
        client.inbox(job, "rest")
    assert failure.value.code == "invalid" and "pause" in failure.value.text
    client.cancel(job)
