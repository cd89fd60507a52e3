"""kill -9 at every step of the protocol. The points are read from the sources: a new one is tested by being there.

Each point gets a small service of its own and jobs that take every way there is: several model turns, a person, a
cancelled one, a failed attempt, a worker that goes. The process with the point must reach it and die; it is started
again without it; then every job has one end, and no journaled model call was made again.
"""

import pathlib
import re
import time

import autobots_wire as wire
import flows
import pytest
from service import ROOT, slow, wait_until
from stubborn import Stubborn, check_calls, check_ends

CONFIG = {"heartbeat_ms": 150, "lease_ms": 600}
TURNS = 2


def points():
    found = {}
    for folder in ("storage", "broker", "worker", "common"):
        for path in sorted((ROOT / folder).rglob("*.c")):
            for name in re.findall(r'AB_FAILPOINT\("([^"]+)"\)', path.read_text()):
                found[name] = str(pathlib.Path(path).relative_to(ROOT))
    return found


# None of these jobs gets there: a call of a tool that was cut off (test_tool_calls.py), a session too long to be deleted at
# once (test_long_sessions.py).
ELSEWHERE = {"worker.tool_not_idempotent", "storage.step"}
POINTS = {name: file for name, file in points().items() if name not in ELSEWHERE}
# Which hit of a point is the last one: later ones meet a service that is in the middle of its work.
NTH = (1, 4)


def test_there_are_points_in_every_program():
    assert {name.split(".")[0] for name in POINTS} >= {"storage", "broker", "worker"}
    assert len(POINTS) >= 12, sorted(POINTS)


def start(make_service, name, failpoint, config=None):
    """A service whose process `name` has the fail point, if it lives to be ready."""
    service = make_service(workers=2, config=config, start=False)
    for one in ("storage", "broker", "worker1", "worker2"):
        service.start(one, failpoint=failpoint if one == name else None)
        service[one].killed = one == name
    return service


def submit_all(stubborn, model):
    """Jobs that go all the ways."""
    turns = flows.http_chat(model, replies=TURNS - 1)
    jobs = [stubborn.submit(turns, f"{model.name} talk {i}") for i in range(6)]
    asking = flows.http_chat(model, replies=5, user={"human_input_mode": "ALWAYS"})
    person = stubborn.submit(asking, f"{model.name} person")
    failing = flows.chat(flows.endpoint(model.name + "-fails", model.url))
    stubborn.submit(failing, f"{model.name} fails", deadline_ms=int(time.time() * 1000) + 1500)
    stuck = stubborn.submit(flows.chat(flows.endpoint(model.name + "-stalls", model.url)), f"{model.name} stalls")
    return jobs, person, stuck


class Talker:
    """Answers the person's question and cancels the stuck job, once each when the time has come."""

    def __init__(self, stubborn, person, stuck):
        self.stubborn, self.person, self.stuck = stubborn, person, stuck
        self.told = set()

    def __call__(self):
        asked = [e["ask"] for e in self.person.events if e["kind"] == "waiting"]
        if asked and asked[-1] not in self.told:
            self.told.add(asked[-1])
            self.stubborn.tell(self.person, "input", "exit")
        if self.stuck.events and "cancel" not in self.told:
            self.told.add("cancel")
            self.stubborn.tell(self.stuck, "cancel")


@pytest.mark.parametrize("nth", NTH)
@pytest.mark.parametrize("point", sorted(POINTS))
def test_killed_at(make_service, model, point, nth):
    kind = point.split(".")[0]
    name = "worker1" if kind == "worker" else kind
    model.behave(delay_ms=20)
    model.server.control(models={model.name + "-fails": {"fail": {"status": 500, "headers": {"retry-after-ms": "20"}}},
                                 model.name + "-stalls": {"stall": "headers"}})
    service = start(make_service, name, f"{point}:kill:{nth}", CONFIG)
    with Stubborn(service.endpoint(), f"u-{model.name}") as stubborn:
        talker = Talker(stubborn, *submit_all(stubborn, model)[1:])
        restarted = False
        idle_since = None

        def revive():
            nonlocal restarted, idle_since
            talker()
            if restarted:
                return
            if not service[name].running():
                service.start(name)
                restarted = True
            elif stubborn.all_ended():
                # What only happens on the way down or after a restart of the others.
                idle_since = idle_since or time.monotonic()
                provoke(service, name, stubborn, model)

        stubborn.pump(lambda: restarted and stubborn.all_ended(), 40 * slow(), f"{point} reached and all jobs ended",
                      meanwhile=revive)
        check_ends(service, stubborn)
        check_calls(stubborn, model.calls(), repeats_allowed=kind == "worker")


def provoke(service, name, stubborn, model):
    """The load did not reach the point often enough: more of it, with the other processes restarted in its midst."""
    for other in ("broker", "storage"):
        if other != name and not getattr(service, "provoked_" + other, False):
            setattr(service, "provoked_" + other, True)
            stubborn.submit(flows.http_chat(model), f"{model.name} more {other}")
            service.kill(other)
            service.start(other)
            return
    count = getattr(service, "provoked", 0)
    assert count < 8, f"the fail point of {name} is never reached"
    service.provoked = count + 1
    stubborn.submit(flows.http_chat(model), f"{model.name} more {count}")


@pytest.mark.parametrize("point", sorted(name for name in POINTS if not name.startswith("worker.")))
def test_delayed_at(make_service, model, point):
    """A slow step is not a lost one: nothing is repeated, nothing expires. What the slow steps of a heartbeat take together
    must stay below it, since heartbeats wait in line with all other messages."""
    kind = point.split(".")[0]
    service = start(make_service, kind, f"{point}:delay=20", {"heartbeat_ms": 600, "lease_ms": 2400})
    service[kind].killed = False
    with Stubborn(service.endpoint(), f"u-{model.name}") as stubborn:
        for i in range(5):
            stubborn.submit(flows.http_chat(model, replies=1), f"{model.name} slow {i}")
        stubborn.pump(stubborn.all_ended, 40 * slow(), "all jobs ended")
        assert all(job.end == "succeeded" for job in stubborn.jobs.values())
        assert all(len([e for e in job.events if e["kind"] == "started"]) == 1 for job in stubborn.jobs.values())
        check_ends(service, stubborn)
        check_calls(stubborn, model.calls(), repeats_allowed=False)


def test_an_unknown_action_is_refused_at_start(make_service):
    service = make_service(workers=0, start=False)
    process = service.start("storage", failpoint="storage.begin:explode")
    process.killed = True
    wait_until(lambda: not process.running() or (service.dir / "storage.sock").exists(), what="an end or a start")
    if process.running():  # points are read when the first one is met
        with service.storage(greet=False) as storage:
            storage.send("HELLO", storage.hello)
            storage.send("QUERY", {"rid": 1, "op": "get_sessions"}, wire.pack({"user": "x"}))
            wait_until(lambda: not process.running(), what="the end")
    assert process.process.returncode == 100


# The step fails once instead of killing its process. Lost messages are not in here: the sockets of one machine lose none
# without a reconnect.
FAILS_ONCE = ["storage.begin", "storage.operation", "broker.before_batch", "worker.before_call"]


@pytest.mark.parametrize("point", [name for name in FAILS_ONCE if name in POINTS])
def test_fails_once_at(make_service, model, point):
    kind = point.split(".")[0]
    name = "worker1" if kind == "worker" else kind
    service = start(make_service, name, f"{point}:error:3", CONFIG)
    service[name].killed = False
    with Stubborn(service.endpoint(), f"u-{model.name}") as stubborn:
        for i in range(5):
            stubborn.submit(flows.http_chat(model, replies=1), f"{model.name} once {i}")
        stubborn.pump(lambda: stubborn.all_ended() and "failpoint" in service[name].log(), 30 * slow(),
                      f"{point} reached and all jobs ended")
        check_ends(service, stubborn)
        check_calls(stubborn, model.calls(), repeats_allowed=False)
