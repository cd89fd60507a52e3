"""Many jobs that wait, and many that talk at once, on the release build: what they cost in memory, and that none is lost."""

import collections
import time

import autobots_wire as wire
import cli
import flows
import pytest
import service as service_module

PARKED, WARM = 10_000, 500
PARKED_WORKER_BYTES_MAX = 2 << 20
CHATS, CHATS_WORKER_BYTES_MAX = 1000, 200 << 20
WINDOW = 500  # submitted and not yet where they are to go

pytestmark = pytest.mark.skipif(service_module.mode() != "debug", reason="measured once, with the release build")


@pytest.fixture
def make_release(make_service, monkeypatch):
    monkeypatch.setenv("AUTOBOTS_BIN", str(service_module.release_binaries()))
    return make_service


def memory(service):
    return {name: process.memory() for name, process in service.processes.items()}


def shown(bytes_by_process):
    return ", ".join(f"{name} {bytes_ / 2**20:.1f} MB" for name, bytes_ in bytes_by_process.items())


def park(client, flow, count):
    """Submits until so many jobs more wait for a person; returns their ids."""
    waiting, sent = {}, 0
    while len(waiting) < count:
        while sent < count and sent - len(waiting) < WINDOW:
            client.submit_later(flow, f"job {sent}", watch="all")
            sent += 1
        message = client.receive(20)
        assert message is not None, f"silence after {len(waiting)} of {count}"
        assert message.name in ("ACCEPTED", "EVENT"), message
        if message.name == "EVENT" and message.body_value()["kind"] == "waiting":
            waiting[wire.id_text(message["job"])] = message["seq"]
    return waiting


def restart_everything(service):
    """kill -9 of all; returns how long it took until jobs were taken again."""
    for name in service.processes:
        service.kill(name)
    began = time.monotonic()
    for name in ("storage", "broker", "worker1"):
        service.start(name)
    service.wait_ready(1)
    return time.monotonic() - began


def test_ten_thousand_jobs_that_wait_for_people_cost_their_worker_nothing(make_release, rng):
    service = make_release(workers=1)
    flow = flows.script_chat(["one", "two"], replies=5, user={"human_input_mode": "ALWAYS"})
    with service.client("ann") as client:
        park(client, flow, WARM)
        before, began = memory(service), time.monotonic()
        parked = park(client, flow, PARKED)
        seconds, after = time.monotonic() - began, memory(service)
        assert client.status()["waiting"] == PARKED + WARM and not client.status().get("running")
    assert after["worker1"] - before["worker1"] < PARKED_WORKER_BYTES_MAX, (shown(before), shown(after))
    shown_jobs = cli.run("jobs", "--state", "waiting", "--user", "ann", "--json", "--limit", 2 * PARKED, home=service.dir)
    jobs = shown_jobs.lines()
    ids = {job["id"] for job in jobs}
    assert shown_jobs.code == 0 and len(jobs) == PARKED + WARM == len(ids) and ids >= set(parked)
    assert all(job["state"] == "waiting" and job["waiting"]["ask"] == "chat:2" for job in jobs)
    assert [job["n"] for job in jobs] == sorted((job["n"] for job in jobs), reverse=True)

    restart = restart_everything(service)
    with service.client("ann") as client:
        assert client.status()["waiting"] == PARKED + WARM
        job = wire.id_bytes(rng.choice(list(parked)))
        client.inbox(job, "input", "go on")
        rid = client.watch(job, after=parked[wire.id_text(job)])
        events = [client.next_event(job, 20, rid).body_value() for _ in range(4)]
        assert [event["kind"] for event in events] == ["started", "input", "model_reply", "waiting"], events
        assert events[2]["content"] == "two" and events[3]["ask"] == "chat:4"
        assert client.status()["waiting"] == PARKED + WARM
        client.inbox(job, "input", "exit")
        end = client.events_to_end(job, after=parked[wire.id_text(job)] + 4)[-1]
        assert [m["content"] for m in end["result"]["messages"]][1:] == ["one", "go on", "two"], end
        assert client.status()["waiting"] == PARKED + WARM - 1 == client.storage.ask("storage_status")["open"]
    print(f"{PARKED} jobs parked in {seconds:.1f} s; before: {shown(before)}; after: {shown(after)}; "
          f"restart of everything {restart:.2f} s, then {shown(memory(service))}")


def group_chat(model, rounds):
    """Three members in turn, each with a model over HTTP."""
    llm = {"config_list": [flows.endpoint(model.name, model.url)]}
    members = [{"name": name, "type": "assistant", "config": {"llm_config": llm, "system_message": f"You are {name}."}}
               for name in ("ann", "bob", "cy")]
    return {"name": "many", "type": "groupchat",
            "sender": {"name": "user", "type": "userproxy", "config": {"llm_config": False}},
            "receiver": {"name": "team", "type": "groupchat", "agents": members,
                         "config": {"speaker_selection_method": "round_robin", "max_round": rounds}}}


def test_a_thousand_group_chats_at_once_in_one_worker(make_release, model):
    rounds = 3
    model.behave(meet=[model.name, CHATS], text="What I say has some length, so that it comes in pieces.")
    model.server.control(record_bodies=False)
    service = make_release(workers=1, config={"slots": CHATS})
    idle = service["worker1"].memory()
    with service.client("many") as client:
        began = time.monotonic()
        for i in range(CHATS):
            client.submit_later(group_chat(model, rounds), f"chat {i}", watch="end")
        states, most = collections.Counter(), 0
        while states.total() < CHATS:
            message = client.receive(20)
            assert message is not None, f"silence after {states}"
            assert message.name in ("ACCEPTED", "EVENT"), message
            if message.name == "EVENT":
                states[message["end"]] += 1
                assert message.body_value()["stop_reason"] == "max_round"
        seconds = time.monotonic() - began
    model.server.control(record_bodies=True)
    peak = service["worker1"].memory("VmHWM")
    calls = model.calls()
    print(f"{CHATS} group chats of {rounds} rounds in {seconds:.1f} s; calls at once {max(c['open'] for c in calls)}; "
          f"worker idle {idle / 2**20:.1f} MB, peak {peak / 2**20:.1f} MB, then {service['worker1'].memory() / 2**20:.1f} MB")
    assert states == {"succeeded": CHATS} and len(calls) == CHATS * rounds
    assert max(call["open"] for call in calls) == CHATS
    assert peak < CHATS_WORKER_BYTES_MAX
