"""Every type of workflow through the real processes: what runs when, what each model is told, what comes of it, and what is
not done twice when a worker dies in the middle."""

import flows
import pytest
from service import slow, wait_until


def told(call):
    return call["body"]["messages"][-1]["content"]


def of_kind(events, kind):
    return [event for event in events if event["kind"] == kind]


def waiting(client):
    event = client.wait_for(lambda m: m.name == "EVENT" and m.body_value()["kind"] == "waiting", 20)
    return event.body_value()


def ended(client):
    """The end of the one job that this client watches."""
    return client.wait_for(lambda m: m.name == "EVENT" and m.get("end"), 20).body_value()


def test_a_sequence_never_overlaps_and_hands_its_results_on(client, cast):
    cast.behave(**{name: {"text": f"result of {name}", "delay_ms": 150} for name in "abc"})
    steps = [cast.agent("a"), cast.agent("b", task_instruction="Improve it."), cast.agent("c")]
    events = client.events_to_end(client.submit(cast.flow("sequential", steps), "the message", watch="all").id)
    calls = cast.calls()
    assert [call["model"] for call in calls] == [cast.name(name) for name in "abc"]
    assert all(one["end"] <= other["start"] for one, other in zip(calls, calls[1:]))
    assert told(calls[0]) == "the message"
    assert "the message" in told(calls[1]) and "result of a" in told(calls[1]) and "Improve it." in told(calls[1])
    assert "result of a" in told(calls[2]) and "result of b" in told(calls[2]) and "Improve" not in told(calls[2])
    end = events[-1]
    assert end["content"] == "result of c" and end["stop_reason"] == "completed"
    assert [one["content"] for one in end["result"]["results"]] == ["result of a", "result of b", "result of c"]
    assert {name: row["calls"] for name, row in end["result"]["usage"]["agents"].items()} == {"a": 1, "b": 1, "c": 1}


def test_five_receivers_of_one_second_each_take_about_one_second(client, cast):
    """Their calls take a second each and all overlap; none is answered before all five are there, so whoever made one
    after the other would wait for ever."""
    names = ["one", "two", "three", "four", "five"]
    # the first listed is the last to answer
    cast.behave(**{name: {"text": f"I am {name}", "delay_ms": 1000 - 40 * i, "meet": [cast.name("all"), 5]}
                   for i, name in enumerate(names)})
    flow = cast.flow("autonomous", [cast.agent(name) for name in names])
    events = client.events_to_end(client.submit(flow, "who?", watch="all").id)
    assert max(call["start"] for call in cast.calls()) < min(call["end"] for call in cast.calls())
    assert [told(call) for call in cast.calls()] == ["who?"] * 5
    end = events[-1]
    assert end["content"] == "\n\n".join(f"I am {name}" for name in names)
    assert [m["agent"] for m in end["result"]["messages"]] == [who for name in names for who in ("user", name)]
    assert {event["step"] for event in of_kind(events, "model_reply")} == {f"chats/{i}:1" for i in range(1, 6)}


def test_a_worker_killed_in_the_middle_of_simultaneous_chats_repeats_no_journaled_call(make_service, cast):
    service = make_service(workers=2)
    names = ["a", "b", "c"]
    # two are through their first calls, the third still talks, when the worker dies
    cast.behave(a={"texts": ["a1", "a2"], "delay_ms": 100}, b={"texts": ["b1", "b2"], "delay_ms": 300},
                c={"texts": ["c1", "c2"], "delay_ms": 1300 * slow()})
    flow = cast.flow("autonomous", [cast.agent(name) for name in names], user={"max_consecutive_auto_reply": 1})
    with service.client() as client:
        job = client.submit(flow, "go", watch="all").id
        seen = []
        while len(of_kind(seen, "model_reply")) < 3:
            seen.append(client.next_event(job, 20).body_value())
        holder = of_kind(seen, "started")[0]["worker"].rpartition(":")[2]
        [victim] = [name for name in ("worker1", "worker2") if str(service[name].pid) == holder]
        service.kill(victim)
        events = seen + client.events_to_end(job, after=len(seen), timeout=60)
    replies = of_kind(events, "model_reply")
    assert sorted(reply["content"] for reply in replies) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    for reply in replies:  # the last call of each turn is the one in the journal
        turn = int(reply["content"][1]) - 1
        made = [call["n"] for call in cast.calls(reply["agent"])
                if sum(m["role"] == "assistant" for m in call["body"]["messages"]) == turn]
        assert max(made) == int(reply["request_id"].removeprefix("req-")), (reply["step"], made)
    assert [m["content"] for m in events[-1]["result"]["messages"]] == [
        "go", "a1", "", "a2", "go", "b1", "", "b2", "go", "c1", "", "c2"]


def test_a_call_that_fails_for_now_costs_its_siblings_nothing(make_service, cast):
    service = make_service(workers=1)
    fails = {"status": 503, "times": 3, "headers": {"retry-after-ms": "20"}}  # as often as an attempt tries
    cast.behave(good={"text": "fine", "delay_ms": 1000 * slow()}, bad={"fail": fails, "text": "at last"})
    with service.client() as client:
        job = client.submit(cast.flow("autonomous", [cast.agent("good"), cast.agent("bad")]), "go", watch="all").id
        events = client.events_to_end(job, timeout=60 * slow())
    assert events[-1]["content"] == "fine\n\nat last"
    assert len(of_kind(events, "attempt_failed")) == 1
    assert len(cast.calls("good")) == 1 and len(cast.calls("bad")) == 4


def test_one_that_fails_for_good_ends_the_job(client, cast):
    cast.behave(good={"text": "fine", "delay_ms": 20000}, bad={"fail": {"status": 401}})
    flow = cast.flow("autonomous", [cast.agent("good"), cast.agent("bad")])
    end = client.events_to_end(client.submit(flow, "go", watch="all").id)[-1]
    assert end["state"] == "failed"
    wait_until(lambda: cast.calls("good")[0]["outcome"] == "disconnected", what="the other call is given up")


def test_a_cancelled_job_closes_all_its_calls(client, cast):
    cast.behave(a={"delay_ms": 30000}, b={"delay_ms": 30000})
    job = client.submit(cast.flow("autonomous", [cast.agent("a"), cast.agent("b")]), "go", watch="all").id
    wait_until(lambda: len(cast.calls()) == 2, what="both calls")
    client.cancel(job)
    assert client.events_to_end(job)[-1]["state"] == "cancelled"
    wait_until(lambda: all(c["outcome"] == "disconnected" for c in cast.calls()), what="both connections are closed")


def test_the_admins_model_chooses_the_speakers_and_its_calls_count(client, cast):
    cast.behave(chair={"text": "bob"}, ann={"text": "Ann here."}, bob={"text": "Bob here."})
    group = cast.group("team", [cast.agent("ann", description="a painter"), cast.agent("bob", system_message="You sing.")],
                       llm_config=cast.llm("chair"), admin_name="chair", max_round=2, allow_repeat_speaker=["bob"])
    events = client.events_to_end(client.submit(cast.flow("groupchat", group), "hello all", watch="all").id)
    choices = [e for e in of_kind(events, "model_reply") if e.get("purpose") == "speaker"]
    assert [(e["agent"], e["content"]) for e in choices] == [("chair", "bob")] * 2
    first, second = cast.calls("chair")
    assert "ann: a painter" in first["body"]["messages"][0]["content"]
    assert "bob: You sing." in first["body"]["messages"][0]["content"]
    assert any("hello all" in m["content"] for m in first["body"]["messages"])
    assert any("Bob here." in m["content"] for m in second["body"]["messages"])
    end = events[-1]
    assert end["stop_reason"] == "max_round" and end["content"] == "Bob here."
    usage = end["result"]["usage"]
    assert usage["agents"]["chair"]["calls"] == 2 and usage["total"]["calls"] == 4


def test_an_unclear_choice_is_asked_for_again_and_then_the_next_in_the_list_speaks(client, cast):
    cast.behave(chair={"text": "either ann or bob"}, ann={"text": "me then TERMINATE"}, bob={})
    group = cast.group("team", [cast.agent("ann"), cast.agent("bob")], llm_config=cast.llm("chair"))
    end = client.events_to_end(client.submit(cast.flow("groupchat", group), "hello", watch="all").id)[-1]
    assert len(cast.calls("chair")) == 3 and end["content"] == "me then"


def test_a_group_chat_inside_a_sequence_and_inside_simultaneous_chats(client, cast):
    cast.behave(**{name: {"text": f"<{name}>"} for name in "abcde"})
    inner = cast.group("inner", [cast.agent("a"), cast.agent("b")], speaker_selection_method="round_robin", max_round=2)
    outer = cast.group("outer", [inner, cast.agent("c")], speaker_selection_method="round_robin", max_round=2)
    for kind in ("sequential", "autonomous"):
        flow = cast.flow(kind, [cast.agent("d"), outer, cast.agent("e")])
        end = client.events_to_end(client.submit(flow, "hello", watch="all").id)[-1]
        assert end["state"] == "succeeded"
        said = [m["content"] for m in end["result"]["messages"] if m["agent"] != "user"]
        assert said == ["<d>", "<a>", "<b>", "<b>", "<c>", "<e>"]
        assert end["content"] == ("<e>" if kind == "sequential" else "<d>\n\n<c>\n\n<e>")


def test_a_person_chooses_the_speakers(client, cast):
    cast.behave(ann={"text": "A"}, bob={"text": "B"})
    group = cast.group("team", [cast.agent("ann"), cast.agent("bob")], speaker_selection_method="manual")
    job = client.submit(cast.flow("groupchat", group), "hello", watch="all").id
    for answer in ("bob", "nobody", "1", "exit"):
        question = waiting(client)
        assert "1 ann, 2 bob" in question["prompt"]
        client.inbox(job, "input", answer, ask=question["ask"])
    end = ended(client)
    assert [m["content"] for m in end["result"]["messages"]] == ["hello", "B", "A"]
    assert end["stop_reason"] == "human_exit"


def test_questions_of_simultaneous_chats_are_asked_one_after_the_other(client, cast):
    cast.behave(a={"text": "A"}, b={"text": "B"}, c={"text": "C", "delay_ms": 300})
    flow = cast.flow("autonomous", [cast.agent(name) for name in "abc"],
                     user={"human_input_mode": "ALWAYS", "max_consecutive_auto_reply": 1})
    job = client.submit(flow, "hello", watch="all").id
    asked = []
    for _ in range(3):
        question = waiting(client)
        asked.append(question["ask"])
        client.inbox(job, "input", "exit")
    assert asked == ["chats/1:2", "chats/2:2", "chats/3:2"]
    end = ended(client)
    assert end["content"] == "A\n\nB\n\nC" and len(cast.calls()) == 3


def test_a_summary_by_a_model_is_one_more_call(client, cast):
    cast.behave(a={"text": "in short"}, b={"text": "more talk"})
    flow = cast.flow("sequential", [cast.agent("a"), cast.agent("b")], summary_method="llm")
    events = client.events_to_end(client.submit(flow, "hello", watch="all").id)
    [summary] = [e for e in of_kind(events, "model_reply") if e.get("purpose") == "summary"]
    end = events[-1]
    assert end["content"] == summary["content"] == "in short" and end["result"]["summary_method"] == "llm"
    asked = cast.calls("a")[-1]["body"]["messages"]
    assert "more talk" in asked[-1]["content"] and "hello" in asked[-1]["content"]
    assert end["result"]["usage"]["agents"]["a"]["calls"] == 2


def test_a_group_of_one_is_refused_with_its_place(client, cast):
    group = cast.group("team", [cast.agent("a")], speaker_selection_method="random")
    with pytest.raises(Exception) as refusal:
        client.submit(cast.flow("groupchat", group), "hello")
    assert "agents" in str(refusal.value)


def test_the_cap_on_calls_holds_for_simultaneous_chats(make_service, cast):
    service = make_service(workers=1, config={"job_calls_max": 4})
    names = ["a", "b", "c"]
    cast.behave(**{name: {"text": name, "delay_ms": 100 * (i + 1)} for i, name in enumerate(names)})
    flow = cast.flow("autonomous", [cast.agent(name) for name in names], user={"max_consecutive_auto_reply": 9})
    with service.client() as client:
        end = client.events_to_end(client.submit(flow, "go", watch="all").id)[-1]
    assert end["stop_reason"] == "job_calls_max" and len(cast.calls()) == 4
    assert end["result"]["usage"]["total"]["calls"] == 4
