"""Rules of the engine through the real processes: how conversations end, what the model's server is sent, answers of a given
shape."""

import cli
import flows
import pytest
from service import ROOT


def two(model, texts, **more):
    """Two agents on the model server that answer with these texts in turn."""
    model.behave(texts=texts)
    one = {"llm_config": {"config_list": [flows.endpoint(model.name, model.url)]}}
    return {"name": "two", "type": "default", "sender": {"name": "user", "config": one},
            "receiver": {"name": "bot", "config": one}, **more}


def run(client, flow, text="hello"):
    return client.events_to_end(client.submit(flow, text, watch="all").id)


@pytest.mark.parametrize("condition, calls, reason, by", [
    ([{"text": "two"}, {"rounds": 9}], 2, "text", {"text": "two"}),
    ({"rounds": 3}, 3, "rounds", {"rounds": 3}),
    ({"and": [{"tokens": 1}, {"or": [{"agent": "user"}, {"text": "never"}]}]}, 2, "agent",
     {"and": [{"tokens": 1}, {"or": [{"agent": "user"}, {"text": "never"}]}]}),
])
def test_a_condition_ends_the_conversation_and_is_named(client, model, condition, calls, reason, by):
    end = run(client, two(model, ["one", "two"], termination=condition))[-1]
    assert end["state"] == "succeeded" and end["stop_reason"] == reason and end["result"]["stop_condition"] == by
    assert len(model.calls()) == calls


def test_time_ends_a_conversation(client, model):
    flow = two(model, ["again"], termination={"seconds": 0.5})
    model.behave(text="again", delay_ms=200)
    end = run(client, flow)[-1]
    assert end["stop_reason"] == "seconds" and 0.5 <= end["result"]["duration_s"] < 10
    assert 2 <= len(model.calls()) <= 3


def test_the_example_says_what_ended_it(shared, user):
    result = cli.run("submit", "-w", ROOT / "client/examples/termination.yaml", "--json", home=shared.dir,
                     env={"AUTOBOTS_USER": user})
    end = result.lines()[-1]
    assert end["stop_reason"] == "text" and end["result"]["stop_condition"] == {"text": "APPROVED", "from": ["critic"]}
    assert len([e for e in result.lines() if e["kind"] == "model_reply"]) == 4


def test_a_condition_on_nobody_is_refused_with_its_place(client, model):
    with pytest.raises(Exception) as refusal:
        client.submit(two(model, ["x"], termination=[{"agent": "bott"}]), "hello")
    assert "termination[0].agent" in str(refusal.value) and "bot" in str(refusal.value)
