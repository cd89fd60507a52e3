"""kill -9 at random times under load. AUTOBOTS_SEED repeats the choices, though not the machine's timing."""

import collections
import json
import time

import cli
import flows
import pytest
from service import slow, wait_until
from stubborn import Stubborn, check_calls, check_ends

OPEN_JOBS, KILLS, TURNS = 24, 8, 3
CONFIG = {"heartbeat_ms": 150, "lease_ms": 600, "slots": 8}
VICTIMS = {"storage": ["storage"], "broker": ["broker"], "broker and storage": ["broker", "storage"],
           "workers": ["worker1", "worker2"], "all": ["storage", "broker", "worker1", "worker2"]}


class Killer:
    """Kills one of the victims every now and then, and starts it again a little later."""

    def __init__(self, service, victims, rng, kills):
        self.service, self.victims, self.rng, self.left = service, victims, rng, kills
        self.at = time.monotonic() + rng.uniform(0.05, 0.3)
        self.down = None

    def __call__(self):
        if time.monotonic() < self.at:
            return
        if self.down:
            self.service.start(self.down)
            self.down = None
            self.at = time.monotonic() + self.rng.uniform(0.1, 0.6)
        elif self.left:
            self.left -= 1
            self.down = self.rng.choice(self.victims)
            self.service.kill(self.down)
            self.at = time.monotonic() + self.rng.choice([0.0, 0.1, 0.5])

    def done(self):
        return not self.left and not self.down


@pytest.mark.parametrize("who", VICTIMS)
def test_every_job_ends_once_whoever_is_killed(make_service, model, rng, who):
    model.behave(delay_ms=40, piece_chars=6)
    service = make_service(workers=2, config=CONFIG)
    with Stubborn(service.endpoint(), f"u-{model.name}") as stubborn:
        killer, flow = Killer(service, VICTIMS[who], rng, KILLS), flows.http_chat(model, replies=TURNS - 1)

        def meanwhile():
            killer()
            still_open = sum(not job.end for job in stubborn.jobs.values())
            if not killer.done() and still_open < OPEN_JOBS:
                stubborn.submit(flow, f"{model.name} load {len(stubborn.jobs)}")

        stubborn.pump(lambda: killer.done() and stubborn.all_ended(), 90 * slow(), "all jobs ended", meanwhile)
        states = collections.Counter(job.end for job in stubborn.jobs.values())
        assert set(states) == {"succeeded"} and states["succeeded"] > 2 * OPEN_JOBS, states
        check_ends(service, stubborn)
        repeated = check_calls(stubborn, model.calls(), repeats_allowed=any("worker" in v for v in VICTIMS[who]))
        print(f"{len(stubborn.jobs)} jobs, {repeated} model calls repeated, {stubborn.connects} connections")


def test_watchers_that_come_during_the_kills_see_every_event_once(make_service, model, rng):
    """Stubborn checks each connection's seqs; this one opens many, at random times, while broker and storage die."""
    model.behave(delay_ms=30)
    service = make_service(workers=1, config=CONFIG)
    with Stubborn(service.endpoint(), "w") as first:
        jobs = [first.submit(flows.http_chat(model, replies=9), f"{model.name} watch {i}") for i in range(3)]
        killer = Killer(service, ["broker", "storage"], rng, kills=5)
        others = []

        def meanwhile():
            killer()
            if all(job.accepted for job in jobs) and len(others) < 8 and rng.random() < 0.1:
                others.append(Stubborn(service.endpoint(), "w"))
                for job in jobs:
                    copy = type(job)(job.header, job.body)
                    copy.accepted = job.accepted
                    others[-1].jobs[job.id] = copy
            for other in others:
                other.step(0)

        first.pump(lambda: first.all_ended() and killer.done() and len(others) == 8 and
                   all(other.all_ended() for other in others), 90 * slow(), "all watchers saw the end", meanwhile)
        for other in others:
            for job in jobs:
                assert other.jobs[job.id].events == job.events
            other.close()
        check_ends(service, first)
        check_calls(first, model.calls(), repeats_allowed=False)


def test_a_stopped_worker_gives_its_jobs_back_and_nothing_is_lost(make_service, model):
    """SIGTERM: drained jobs are no failures and run on elsewhere."""
    model.behave(delay_ms=150)
    service = make_service(workers=2, config=CONFIG)
    with Stubborn(service.endpoint(), "drain") as stubborn:
        for i in range(20):
            stubborn.submit(flows.http_chat(model, replies=2), f"{model.name} drain {i}")
        stubborn.pump(lambda: len(model.calls()) > 10, 20, "calls are made")
        assert service["worker1"].terminate() == 0
        stubborn.pump(stubborn.all_ended, 60 * slow(), "all jobs ended")
        assert all(job.end == "succeeded" for job in stubborn.jobs.values())
        assert not any(e["kind"] == "attempt_failed" for job in stubborn.jobs.values() for e in job.events)
        check_ends(service, stubborn)
        check_calls(stubborn, model.calls(), repeats_allowed=True)


def test_the_client_library_outlives_restarts_of_everything(make_service, model, rng, tmp_path):
    """`autobots submit` and `watch` reconnect, send again and see 1…n while broker, storage and worker are killed."""
    model.behave(delay_ms=120)
    service = make_service(workers=1, config=CONFIG)
    flow = tmp_path / "flow.json"
    flow.write_text(json.dumps(flows.http_chat(model, replies=19)))
    submits = [cli.start("submit", "-w", flow, "--json", f"{model.name} cli {i}", home=service.dir) for i in range(3)]
    wait_until(lambda: len(model.calls()) > 3, what="calls are made")
    job = cli.run("jobs", "--json", home=service.dir).lines()[0]["id"]
    watch = cli.start("watch", job, "--json", home=service.dir)
    killer = Killer(service, ["broker", "storage", "worker1"], rng, kills=5)
    wait_until(lambda: killer() or killer.done(), 30, "the kills")
    outputs = {}
    for process in (*submits, watch):
        out, err = process.communicate(timeout=60 * slow())
        assert process.returncode == 0, (out[-500:], err)
        events = [json.loads(line) for line in out.splitlines()]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert [event["kind"] for event in events].count("end") == 1 and events[-1]["kind"] == "end"
        assert [event["kind"] for event in events].count("model_reply") == 20
        outputs[process] = events
    assert outputs[watch] in [outputs[process] for process in submits]
