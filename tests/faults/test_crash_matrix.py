"""Every type of workflow, its worker killed after every event of the journal, and before and after every message that would
commit some: the run comes to what the uninterrupted one came to, and nothing that was journaled is asked for again.

Each death is a run of its own, with a worker of its own in a pool of its own, so that all deaths of a type happen at once.
Runs of a type have ids with the same end, of which the seed of what is random is made.
"""

import collections
import itertools
import json
import os
import re
import signal

import autobots_wire as wire
import pytest
from service import slow, wait_until
from stubborn import Stubborn, check_ends

CALL_MS = 30  # a kill after an event finds the call that follows it under way
POINTS = ("worker.before_events", "worker.after_events")
_numbers = itertools.count(1)


def two_agents(cast):
    return cast.flow("default", cast.agent("a", max_consecutive_auto_reply=9),
                     user={"llm_config": cast.llm("u"), "max_consecutive_auto_reply": 1})


def team(cast, how, rounds, names="abc", **config):
    return cast.group("team", [cast.agent(name) for name in names], llm_config=cast.llm("chair"),
                      speaker_selection_method=how, max_round=rounds, **config)


def groups(cast):
    inner = cast.group("inner", [cast.agent("a"), cast.agent("b")], speaker_selection_method="round_robin", max_round=2)
    return cast.group("outer", [inner, cast.agent("c")], llm_config=cast.llm("chair2"), max_round=2,
                      allow_repeat_speaker=False)


def calling(cast, tool):
    return {**cast.agent("t"), "tools": [tool]}


def called(id, expression):
    return {"id": id, "type": "function", "function": {"name": "calculator", "arguments": json.dumps({"expression": expression})}}


def delegating(cast):
    """One whose model asks an agent and a group at the same time; the group's model sums up what it said."""
    asked = cast.flow("groupchat", team(cast, "round_robin", 2, "bc"), summary_method="llm")
    return {**cast.agent("q"), "tools": [{"name": "ask_a", "agent": cast.agent("a")}, {"name": "ask_team", "workflow": asked}]}


# name: (workflow, answers of people, calls at once)
TYPES = {
    "two agents": (two_agents, [], 1),
    "sequential": (lambda c: c.flow("sequential", [c.agent("a"), c.agent("b"), c.agent("c")]), [], 1),
    "autonomous": (lambda c: c.flow("autonomous", [c.agent("a"), c.agent("b"), c.agent("c")],
                                    user={"max_consecutive_auto_reply": 1}), [], 3),
    "groupchat auto": (lambda c: c.flow("groupchat", team(c, "auto", 3)), [], 1),
    "groupchat round robin": (lambda c: c.flow("groupchat", team(c, "round_robin", 4)), [], 1),
    "groupchat random": (lambda c: c.flow("groupchat", team(c, "random", 5)), [], 1),
    "groupchat manual": (lambda c: c.flow("groupchat", team(c, "manual", 3)), ["c", "", "exit"], 1),
    "groups in a sequence": (lambda c: c.flow("sequential", [c.agent("d"), groups(c)]), [], 1),
    "groups at the same time": (lambda c: c.flow("autonomous", [groups(c), team(c, "random", 2, "de")]), [], 2),
    "a person": (lambda c: c.flow("default", c.agent("a"), user={"human_input_mode": "ALWAYS",
                                                                 "max_consecutive_auto_reply": 9}),
                 ["and then?", "", "exit"], 1),
    "people at the same time": (lambda c: c.flow("autonomous", [c.agent("a"), c.agent("b")],
                                                 user={"human_input_mode": "ALWAYS", "max_consecutive_auto_reply": 9}),
                                ["more", "exit", "exit"], 2),
    "a model that fails for now": (lambda c: c.flow("sequential", [c.agent("a"), c.agent("f")]), [], 1),
    "tools": (lambda c: c.flow("default", calling(c, "calculator")), [], 1),
    "tools and a person": (lambda c: c.flow("default", calling(c, {"name": "calculator", "approval": "ask"})), ["yes", "not this one"], 1),
    "agents and workflows as tools": (lambda c: c.flow("default", delegating(c)), [], 2),
    "summary by a model": (lambda c: c.flow("sequential", [c.agent("a"), c.agent("b")], summary_method="llm"), [], 1),
}


@pytest.fixture(scope="module")
def service(short_folder):
    """Broker and storage; workers come and go with the runs. Who dies is missed at once, by its connection; the heartbeats
    are long, so that no starved worker is taken for a dead one."""
    from service import Service
    one = Service(short_folder(), workers=0)
    yield one
    one.stop()


@pytest.fixture(autouse=True)
def storage_and_broker_are_whole(service):
    yield
    service.assert_alive()


def behave(cast):
    voices = {name: {"texts": [f"{name}{i} said" for i in range(1, 9)], "delay_ms": CALL_MS} for name in "abcdeu"}
    fails = {"status": 503, "times": 3, "headers": {"retry-after-ms": "20"}}  # as often as an attempt tries
    tools = {"texts": [{"tool_calls": [called("c1", "6*7"), called("c2", "1/0")]}, "t said"], "delay_ms": CALL_MS}
    asks = [{"id": name, "type": "function", "function": {"name": name, "arguments": '{"message": "<asked>"}'}}
            for name in ("ask_a", "ask_team")]
    cast.behave(q={"texts": [{"tool_calls": asks}, "q said"], "delay_ms": CALL_MS}, t=tools, f={"text": "at last", "fail": fails}, chair={"texts": ["c", "a", "b"], "delay_ms": CALL_MS}, chair2={"texts": ["inner", "c"], "delay_ms": CALL_MS},
                **voices)


class Run:
    """A job and the worker that dies with it: after `cut` events, or at a fail point the nth time."""

    def __init__(self, service, stubborn, flow, answers, tail, cut=None, point=None):
        self.service, self.stubborn, self.answers = service, stubborn, answers
        number = next(_numbers)
        self.cut, self.died, self.told = cut, False, 0
        self.worker, self.flags = f"worker{number}", ("--pool", f"pool{number}")
        self.tag = f"<{os.getpid()}-{number}>"
        service.start(self.worker, flags=self.flags, failpoint=point)
        service[self.worker].killed = point is not None
        self.job = stubborn.submit(flow, f"go {self.tag}", pool=self.flags[1], job=wire.make_id()[:8] + tail)

    def step(self):
        asked = dict.fromkeys(event["ask"] for event in self.job.events if event["kind"] == "waiting")
        if len(asked) > self.told:
            self.stubborn.tell(self.job, "input", self.answers[self.told])
            self.told += 1
        if self.died:
            return
        if self.cut and len(self.job.events) >= self.cut:
            self.service.kill(self.worker)
        if not self.service[self.worker].running():
            self.died = True
            self.service.start(self.worker, flags=self.flags)

    def finish(self):
        process = self.service[self.worker]
        process.killed = False
        assert process.terminate() == 0, self.service.tails()
        process.killed = True  # the service stops without it


def run_all(service, cast, kind, tail, deaths):
    """A run for each death; all have ended as they must when this returns."""
    flow, answers, _ = TYPES[kind]
    behave(cast)
    with Stubborn(service.endpoint(), "matrix") as stubborn:
        runs = [Run(service, stubborn, flow(cast), answers, tail, **death) for death in deaths]

        def step():
            for run in runs:
                run.step()

        stubborn.pump(stubborn.all_ended, 60 * slow(), "all runs ended", step)
        check_ends(service, stubborn)
    for run in runs:
        run.finish()
    return runs


def outcome(run):
    """What must be the same whoever died: what each branch journaled, in its order, and the result."""
    branches = collections.defaultdict(list)
    for event in run.job.events:
        step = event.get("step") or event.get("ask")
        if step and event["kind"] != "waiting":
            branch = re.match(r"(?:.*\.\d+)?(?:/?chats/\d+)?", step)[0]
            call = f", call {event['call']}" if "call" in event else ""  # they go on at the same time
            branches[branch + call].append([event["kind"], step] + [event.get(key) for key in (
                "agent", "to", "purpose", "content", "text", "prompt_tokens", "completion_tokens", "tool", "failed")])
    end = run.job.events[-1]
    kept = {key: end["result"].get(key) for key in ("usage", "results", "stop_reason", "summary_method")}
    said = [[message["agent"], message["content"]] for message in end["result"]["messages"]]
    found = {"branches": branches, "state": end["state"], "content": end.get("content"), "said": said, **kept}
    return json.loads(json.dumps(found).replace(run.tag, "<run>"))


def check_asked(run, calls, at_once):
    """Each step was asked for until its reply was journaled, and never again. Returns how many calls were repeated."""
    replies = [event for event in run.job.events if event["kind"] == "model_reply"]
    assert len({event["step"] for event in replies}) == len(replies), "a step was journaled twice"
    made = collections.defaultdict(list)
    for call in calls:
        if call["status"] in (200, None) and run.tag in json.dumps(call["body"]["messages"]):
            made[call["model"], json.dumps(call["body"]["messages"])].append(call["n"])
    journaled = {int(event["request_id"].removeprefix("req-")) for event in replies}
    assert len(made) == len(replies), (len(made), len(replies))
    for (model, _), numbers in made.items():
        assert max(numbers) in journaled, (model, numbers, sorted(journaled))
    repeated = sum(len(numbers) - 1 for numbers in made.values())
    assert repeated <= at_once, made
    return repeated


def check(cast, kind, whole, runs):
    """Returns how many calls were repeated in all."""
    calls, expected = cast.calls(), outcome(whole)
    assert expected["state"] == "succeeded"
    repeated = 0
    for run in runs:
        found = outcome(run)
        for key, value in expected.items():
            assert found[key] == value, (kind, run.cut, key)
        repeated += check_asked(run, calls, TYPES[kind][2])
    return repeated


@pytest.fixture
def tail(rng):
    """The end of the ids of all runs of a test. The first bits are the variant of a UUID."""
    return bytes([0x80 | rng.randrange(64)]) + rng.randbytes(7)


@pytest.mark.parametrize("kind", TYPES)
def test_the_worker_is_killed(service, cast, tail, kind):
    [whole] = run_all(service, cast, kind, tail, [{}])
    events, at_once = whole.job.events, TYPES[kind][2]
    assert check(cast, kind, whole, [whole]) == 0
    assert ("attempt_failed" in [event["kind"] for event in events]) == (kind == "a model that fails for now")
    places = range(1, len(events))
    deaths = {"after each event": [{"cut": cut} for cut in places]}
    deaths.update({point: [{"point": f"{point}:kill:{nth}"} for nth in places] for point in POINTS})
    runs = iter(run_all(service, cast, kind, tail, sum(deaths.values(), [])))
    replies = sum(event["kind"] == "model_reply" for event in events)
    for place, wanted in deaths.items():
        some = list(itertools.islice(runs, len(wanted)))
        repeated, died = check(cast, kind, whole, some), [run.died for run in some]
        print(f"{kind}, {place}: {sum(died)} deaths, {repeated} calls repeated")
        if place in POINTS:
            assert at_once > 1 or died == sorted(died, reverse=True), "as many as there are messages, from the first on"
            assert all(died[:replies // at_once]), "each reply is a message, unless some come at the same time"
            assert place != POINTS[0] or repeated, "what was lost before its commit is asked for again"
        else:
            assert all(died)


@pytest.mark.parametrize("kind", ["two agents", "sequential", "groupchat auto", "groups in a sequence", "summary by a model"])
def test_no_call_is_made_before_what_it_follows_from_is_on_disk(service, cast, kind):
    """While storage is held no journal grows, so no second call may be made."""
    behave(cast)
    cast.behave(**{name: {**cast.models[cast.name(name)], "delay_ms": 100} for name in ("a", "d", "chair")})
    worker = f"worker{next(_numbers)}"
    service.start(worker, flags=("--pool", worker))
    with service.client() as client:
        job = client.submit(TYPES[kind][0](cast), "go", watch="all", pool=worker).id
        wait_until(cast.calls, what="the first call")
        service["storage"].process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: cast.calls()[0]["outcome"] == "done", what="its answer")
            with pytest.raises(AssertionError, match="a second call"):
                wait_until(lambda: len(cast.calls()) > 1, 0.15, "a second call")
        finally:
            service["storage"].process.send_signal(signal.SIGCONT)
        assert client.events_to_end(job)[-1]["state"] == "succeeded" and len(cast.calls()) > 1
    assert service[worker].terminate() == 0
    service[worker].killed = True


def test_a_job_that_kills_its_workers_is_dead_though_the_broker_is_restarted_in_between(make_service, cast):
    service = make_service(workers=0, config={"heartbeat_ms": 300, "lease_ms": 1200})
    cast.behave(a={"stall": "headers"})
    with Stubborn(service.endpoint(), "deadly") as stubborn:
        job = stubborn.submit(cast.flow("default", cast.agent("a")), "go")

        def held():
            return [event["kind"] for event in job.events].count("started") == attempt and len(cast.calls()) == attempt

        def attached():
            with service.client() as client:
                return [worker["running"] for worker in client.status().get("workers") or []] == [1]

        for attempt in (1, 2, 3):
            assert not job.end
            service.start(f"worker{attempt}")
            stubborn.pump(held, 20 * slow(), f"call {attempt} is made")
            service.kill("broker")
            service.start("broker")
            service.wait_ready(1)
            wait_until(attached, 20 * slow(), "the worker has its job again")
            service.kill(f"worker{attempt}")
        stubborn.pump(stubborn.all_ended, 20 * slow(), "the end")
    assert job.end == "dead"
    assert [event.get("crashes", 0) for event in job.events if event["kind"] == "started"] == [0, 1, 2]
