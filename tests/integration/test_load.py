"""A thousand jobs at once on the release build: 2 workers of 64 slots, a model that takes a second per call."""

import os
import pathlib
import time

import autobots_wire as wire
import flows
import pytest
import service as service_module
from service import Service, wait_until

JOBS, SLOTS, CALL_MS = 1000, 64, 1000
SECONDS_MAX, WORKER_BYTES_MAX = 30, 60 << 20

pytestmark = pytest.mark.skipif(service_module.mode() != "debug", reason="measured once, with the release build")


@pytest.fixture
def release(short_folder, monkeypatch):
    monkeypatch.setenv("AUTOBOTS_BIN", str(service_module.release_binaries()))
    one = Service(short_folder(), workers=2, config={"slots": SLOTS})
    yield one
    one.stop()


def test_a_thousand_jobs_at_once(release, model):
    model.behave(delay_ms=CALL_MS)
    model.server.control(record_bodies=False)
    flow = flows.http_chat(model)
    with release.client("load") as client:
        began = time.monotonic()
        rids = [client.submit_later(flow, f"job {i}", watch="end")[0] for i in range(JOBS)]
        ended, accepted, states = 0, 0, set()
        peak = {}
        while ended < JOBS:
            message = client.receive(5)
            assert message is not None, f"silence after {ended} ends"
            accepted += message.name == "ACCEPTED"
            assert message.name in ("ACCEPTED", "EVENT"), message
            if message.name == "EVENT":
                ended += 1
                states.add(message["end"])
            if ended % 50 == 0:
                for name in ("worker1", "worker2"):
                    peak[name] = max(peak.get(name, 0), release[name].memory())
        seconds = time.monotonic() - began
    model.server.control(record_bodies=True)
    assert accepted == JOBS == len(rids) and states == {"succeeded"}
    peak = {name: release[name].memory("VmHWM") for name in peak}
    calls = model.server.state(model.first)
    print(f"{JOBS} jobs in {seconds:.1f} s; most calls at once {calls['open_max']}; "
          f"workers' peak {[f'{b / 2**20:.1f} MB' for b in peak.values()]}")
    assert seconds < SECONDS_MAX
    assert max(peak.values()) < WORKER_BYTES_MAX
    assert len([c for c in calls["calls"] if c.get("model") == model.name]) == JOBS


def test_a_third_worker_started_by_hand_takes_a_share_within_a_second(release, model):
    model.behave(delay_ms=CALL_MS)
    flow = flows.http_chat(model)
    with release.client("third") as client:
        for i in range(400):
            client.submit_later(flow, f"job {i}", watch="end")
        wait_until(lambda: client.status().get("running", 0) == 2 * SLOTS, 10, "two full workers")
        release.start("worker3")
        end = time.monotonic() + 1.0
        wait_until(lambda: any(w["running"] > 0 for w in client.status()["workers"][2:]), 1.5, "the third worker's share")
        assert time.monotonic() <= end + 0.1
        ended = sum(1 for m in client.stash if m.name == "EVENT")
        while ended < 400:
            message = client.receive(10)
            assert message is not None
            ended += message.name == "EVENT"
    with release.storage("third") as storage:
        page = storage.ask("list_jobs", limit=1000)["jobs"]
        workers = {}
        for job in page:
            started = storage.ask("journal", job=job["id"], limit=1)["events"][0]["worker"]
            workers[started] = workers.get(started, 0) + 1
    assert len(workers) == 3 and min(workers.values()) >= 60, workers
