"""History that comes with a job: told to the models behind the session's, pinned in the journal, checked before it is kept."""

import flows
import pytest
from autobots_wire import Failure, pack


def submit(client, workflow, content, history, **more):
    header = client.submit_header(workflow, **(more or {"no_session": True}))
    rid = next(client.rids)
    client.send("SUBMIT", {"rid": rid, **header}, pack({"content": content, "history": history}))
    return client.answer(rid, 20, "SUBMIT")["job"]


def run(client, *args, **more):
    job = submit(client, *args, **more)
    rid = client.watch(job)
    return client.events_to_end(job, rid=rid)


def messages(model):
    return [(m["role"], m["content"]) for m in model.calls()[-1]["body"]["messages"]]


GIVEN = [{"role": "user", "content": "My name is Ada."}, {"role": "assistant", "content": "Hello Ada."},
         {"role": "system", "content": "Answer in rhymes."}]


def test_models_are_told_what_came_with_the_job(client, model):
    events = run(client, flows.http_chat(model, assistant={"system_message": "You help."}), "Who am I?", GIVEN)
    assert events[-1]["state"] == "succeeded"
    assert messages(model) == [("system", "You help."), ("system", "Answer in rhymes."), ("user", "My name is Ada."),
                               ("assistant", "Hello Ada."), ("user", "Who am I?")]
    begin = next(e for e in events if e["kind"] == "begin")
    assert [m["content"] for m in begin["history"]] == [m["content"] for m in GIVEN]


def test_it_comes_behind_what_the_session_holds(client, model):
    model.behave(text="noted")
    flow = flows.http_chat(model)
    first = client.submit(flow, "In the session.", session="s-history")
    client.events_to_end(first.id, rid=client.watch(first.id))
    assert run(client, flow, "And now?", GIVEN[:2], session="s-history")[-1]["state"] == "succeeded"
    assert messages(model) == [("user", "In the session."), ("assistant", "noted"), ("user", "My name is Ada."),
                               ("assistant", "Hello Ada."), ("user", "And now?")]


@pytest.mark.parametrize("history", ["text", [{"role": "tool", "content": "x"}], [{"role": "user"}], [{"content": "x"}],
                                     [{"role": "user", "content": 1}], ["x"]], ids=str)
def test_a_malformed_one_is_refused(client, history):
    with pytest.raises(Failure) as refused:
        submit(client, flows.script_chat(["a"]), "x", history)
    assert refused.value.code == "invalid"
