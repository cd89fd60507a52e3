"""The main job, seen from a client: a message goes in, turns and tokens come back, everything can be queried."""

import threading
import time

import autobots_wire as wire
import flows
import pytest
from service import wait_until

KINDS_OF_ONE_TURN = ["started", "begin", "model_reply", "end"]


def kinds(events):
    return [event["kind"] for event in events]


def replies(events):
    return [event["content"] for event in events if event["kind"] == "model_reply"]


def test_a_chat_goes_through_the_whole_system(client, model):
    model.behave(text="Paris is the capital.", piece_chars=4, chunk_ms=20)
    accepted = client.submit(flows.http_chat(model), "What is the capital of France?", watch="all", deltas=True)
    events = client.events_to_end(accepted.id)
    assert kinds(events)[0] == "started" and kinds(events)[-1] == "end"
    assert replies(events) == ["Paris is the capital."]
    reply = next(event for event in events if event["kind"] == "model_reply")
    assert (reply["provider"], reply["model"], reply["agent"]) == ("openai", model.name, "assistant")
    assert reply["finish_reason"] == "stop" and not reply.get("offline")
    end = events[-1]
    assert end["state"] == "succeeded" and end["content"] == "Paris is the capital."
    assert end["stop_reason"]
    [call] = model.calls()
    assert call["body"]["stream"] is True
    assert call["body"]["messages"][-1]["content"] == "What is the capital of France?"


def test_tokens_stream_while_the_model_still_writes(client, model):
    model.behave(text="one two three four five", piece_chars=4, chunk_ms=60)
    job = client.submit(flows.http_chat(model), "count", watch="all", deltas=True).id
    events, seen = [], []
    while not events or events[-1]["kind"] != "end":
        message = client.wait_for(lambda m: m.name in ("EVENT", "DELTA") and m["job"] == job)
        if message.name == "DELTA":
            assert "model_reply" not in kinds(events), "a piece of the turn came after the turn"
            assert message["offset"] == sum(len(piece["text"].encode()) for piece in seen)
            assert message["agent"] == "assistant"
            seen.append(message)
        else:
            events.append(message.body_value())
    assert len(seen) >= 3, "the text did not come in pieces"
    assert "one two three four five".startswith("".join(piece["text"] for piece in seen))
    assert "".join(piece["text"] for piece in seen)


def test_a_late_watcher_gets_the_text_so_far(shared, client, model, user):
    model.behave(text="abcdefghijklmnopqrstuvwxyz", piece_chars=2, chunk_ms=80)
    job = client.submit(flows.http_chat(model), "alphabet", watch="all", deltas=True).id
    client.wait_for(lambda m: m.name == "DELTA" and m["job"] == job and m["offset"] > 4)
    with shared.client(user) as late:
        late.watch(job, deltas=True)
        first = late.wait_for(lambda m: m.name == "DELTA" and m["job"] == job)
        assert first["offset"] == 0 and first["text"].startswith("abcd")
        assert late.events_to_end(job)[-1]["state"] == "succeeded"


def test_several_turns_see_the_conversation_and_usage_is_summed(client, model):
    model.behave(texts=["first", "second", "third"],
                 usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                        "prompt_tokens_details": {"cached_tokens": 4},
                        "completion_tokens_details": {"reasoning_tokens": 2}})
    _, events = client.run(flows.http_chat(model, replies=2), "begin")
    assert replies(events) == ["first", "second", "third"]
    calls = model.calls()
    assert len(calls) == 3
    said = [(m["role"], m["content"]) for m in calls[2]["body"]["messages"] if m["role"] != "system"]
    assert [text for _, text in said] == ["begin", "first", "go on", "second", "go on"]
    assert said[1][0] == "assistant" and said[2][0] == "user"
    result = events[-1]["result"]
    total = result["usage"]["total"] if "total" in result["usage"] else result["usage"]
    text = str(result["usage"])
    assert "30" in text and "15" in text and "12" in text and "6" in text, total
    for key in ("start", "end", "duration", "stop_reason", "summary_method"):
        assert any(key in name for name in result), (key, sorted(result))
    assert len(result["messages"]) >= 5


def test_answer_messages_session_and_job_can_be_queried(client, model):
    model.behave(text="stored answer")
    accepted, events = client.run(flows.http_chat(model), "stored question")
    assert accepted.session
    messages = client.messages(accepted.session)
    assert [(m["role"], m["content"]) for m in messages] == [("user", "stored question"), ("assistant", "stored answer")]
    assert messages[1]["metadata"] == events[-1]["result"]
    [session] = client.storage.ask("get_sessions")["sessions"]
    assert session["session_id"] == accepted.session and session["user_id"] == client.user
    job = client.job(accepted.id)
    assert job["state"] == "succeeded" and job["attempt"] == 1 and job["seq"] == len(events)
    assert job["end"]["content"] == "stored answer"
    assert client.journal(accepted.id) == [{k: v for k, v in e.items() if k != "seq"} for e in events]
    assert [one["id"] for one in client.storage.ask("list_jobs")["jobs"]] == [accepted.id]


def test_the_next_message_of_a_session_sees_what_was_said(client, model):
    model.behave(texts=["I am Ada."])
    first, _ = client.run(flows.http_chat(model), "Who are you?")
    _, events = client.run(flows.http_chat(model), "And now?", session=first.session)
    said = [m["content"] for m in model.calls()[1]["body"]["messages"] if m["role"] != "system"]
    assert said == ["Who are you?", "I am Ada.", "And now?"]
    assert [m["content"] for m in client.messages(first.session)][::2] == ["Who are you?", "And now?"]
    assert events[-1]["state"] == "succeeded"


def test_messages_of_one_session_run_one_after_the_other(client, model):
    model.behave(delay_ms=150)
    flow = flows.http_chat(model)
    first = client.submit(flow, "one", watch="all")
    rest = [client.submit(flow, text, session=first.session, watch="all") for text in ("two", "three")]
    for job in (first, *rest):
        assert client.events_to_end(job.id)[-1]["state"] == "succeeded"
    calls = model.calls()
    assert [call["body"]["messages"][-1]["content"] for call in calls] == ["one", "two", "three"]
    for before, after in zip(calls, calls[1:]):
        assert before["end"] <= after["start"], "two messages of a session ran at the same time"


def test_a_job_without_session_leaves_no_messages(client):
    accepted, events = client.run(flows.script_chat(["offline answer"]), "q", no_session=True)
    assert not accepted.session and events[-1]["content"] == "offline answer"
    assert client.storage.ask("get_sessions")["sessions"] == []


def test_termination_ends_the_chat_and_is_not_part_of_the_answer(client, model):
    model.behave(texts=["working", "finished TERMINATE", "never said"])
    _, events = client.run(flows.http_chat(model, replies=9), "go")
    assert len(model.calls()) == 2
    assert events[-1]["content"] == "finished"


def test_script_results_are_marked_offline(client):
    _, events = client.run(flows.script_chat(["a", "b"], replies=1), "x")
    assert replies(events) == ["a", "b"]
    assert all(e["offline"] for e in events if e["kind"] == "model_reply")
    assert events[-1]["result"]["offline"] is True


def test_submitting_the_same_again_is_the_same_job(client, model):
    flow, job = flows.http_chat(model), wire.make_id()
    first = client.submit(flow, "once", job=job)
    again = client.submit(flow, "once", job=job)
    assert first.created and not again.created and first.n == again.n and first.session == again.session
    client.watch_to_end(job)
    last = client.submit(flow, "once", job=job)
    assert last.state == "succeeded" and last.n == first.n
    assert len(model.calls()) == 1


@pytest.mark.parametrize("change", ["content", "workflow", "session", "priority"])
def test_the_same_id_with_other_content_is_a_conflict(client, model, change):
    flow, job = flows.http_chat(model), wire.make_id()
    client.submit(flow, "once", job=job)
    other = {"content": "twice"} if change == "content" else {"content": "once"}
    if change == "session":
        other["session"] = "another"
    if change == "priority":
        other["priority"] = 5
    text = other.pop("content")
    with pytest.raises(wire.Failure) as failure:
        client.submit(flows.script_chat(["x"]) if change == "workflow" else flow, text, job=job, **other)
    assert failure.value.code == "conflict"
    assert client.watch_to_end(job)[-1]["state"] == "succeeded"


def test_another_users_job_is_not_there(shared, client, model):
    flow, job = flows.http_chat(model), wire.make_id()
    accepted, _ = client.run(flow, "mine", job=job)
    with shared.client("stranger") as stranger:
        with pytest.raises(wire.Failure) as failure:
            stranger.submit(flow, "mine", job=job)
        assert failure.value.code == "conflict" and "mine" not in failure.value.text
        for attempt in (lambda: stranger.watch_to_end(job), lambda: stranger.job(job),
                        lambda: stranger.cancel(job), lambda: stranger.journal(job)):
            with pytest.raises(wire.Failure) as failure:
                attempt()
            assert failure.value.code in ("not_found", "denied")
        assert stranger.storage.ask("load_messages", session=accepted.session)["messages"] == []


def test_watchers_that_come_at_random_times_see_every_event_once(shared, client, user, rng):
    job = client.submit(flows.script_chat([f"turn {i}" for i in range(40)], replies=39, delay_ms=20), "talk").id
    found, delays = [], sorted(rng.random() * 1.2 for _ in range(12))

    def watch(delay, after):
        time.sleep(delay)
        with shared.client(user) as watcher:
            found.append((after, watcher.watch_to_end(job, after)))

    threads = [threading.Thread(target=watch, args=(delay, rng.choice([0, 0, 3, 11]))) for delay in delays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == len(delays), "a watcher failed"
    whole = client.watch_to_end(job)
    assert len(whole) > 60
    for after, events in found:
        assert events == whole[after:]


def test_want_end_sends_only_the_last_event(client):
    accepted = client.submit(flows.script_chat(["a", "b", "c"], replies=2), "x", watch="end")
    event = client.next_event(accepted.id)
    assert event["end"] == "succeeded" and event["seq"] > 4
    client.watch(accepted.id, want="end")
    assert client.next_event(accepted.id)["end"] == "succeeded"


def test_cancel_closes_the_models_connection_within_a_second(client, model):
    model.behave(text="a long story " * 50, piece_chars=4, chunk_ms=100)
    job = client.submit(flows.http_chat(model), "tell", watch="all").id
    wait_until(lambda: model.calls() and model.calls()[0]["chunks"] > 2, what="the stream has begun")
    asked = time.time()
    client.cancel(job, text="enough")
    events = client.events_to_end(job)
    assert events[-1]["state"] == "cancelled" and events[-1]["code"] == "cancelled"
    [call] = wait_until(lambda: [c for c in model.calls() if c["outcome"] != "running"], what="the call is over")
    assert call["outcome"] == "disconnected"
    assert call["disconnected"] - asked < 1.0
    assert client.job(job)["state"] == "cancelled"


def test_cancel_before_the_first_byte_of_the_answer(client, model):
    model.behave(stall="headers")
    job = client.submit(flows.http_chat(model), "tell", watch="all").id
    wait_until(model.calls, what="the call has come")
    asked = time.time()
    client.cancel(job)
    assert client.events_to_end(job)[-1]["state"] == "cancelled"
    [call] = wait_until(lambda: [c for c in model.calls() if c["outcome"] == "disconnected"], what="disconnected")
    assert call["disconnected"] - asked < 1.0


def test_the_same_cancel_twice_is_one_row_and_a_late_one_is_told(client, model):
    model.behave(stall="headers")
    job, row = client.submit(flows.http_chat(model), "tell", watch="all").id, wire.make_id()
    wait_until(model.calls, what="the call has come")
    assert client.cancel(job, id=row) == client.cancel(job, id=row)
    assert client.events_to_end(job)[-1]["state"] == "cancelled"
    with pytest.raises(wire.Failure) as failure:
        client.cancel(job)
    assert failure.value.code == "already_ended"


def test_a_scheduled_job_waits_for_its_time_and_can_be_cancelled(client):
    flow = flows.script_chat(["x"])
    soon = int(time.time() * 1000) + 700
    job = client.submit(flow, "later", not_before_ms=soon, watch="all").id
    status = client.job_status(job)
    assert status["state"] == "scheduled" and "schedule" in status["why"]
    events = client.events_to_end(job)
    assert events[0]["at_ms"] >= soon
    far = client.submit(flow, "much later", not_before_ms=soon + 3_600_000, watch="all").id
    client.cancel(far)
    assert client.events_to_end(far)[-1]["state"] == "cancelled"


def test_a_deadline_ends_a_running_job(client, model):
    model.behave(stall="headers")
    job = client.submit(flows.http_chat(model), "x", deadline_ms=int(time.time() * 1000) + 800, watch="all").id
    end = client.events_to_end(job)[-1]
    assert end["state"] == "expired" and end["code"] == "expired"
    wait_until(lambda: model.calls()[0]["outcome"] == "disconnected", what="the call is given up")


def test_a_person_is_asked_and_answers(client, model):
    model.behave(texts=["What colour?", "Blue it is."])
    flow = flows.http_chat(model, replies=5, user={"human_input_mode": "ALWAYS"})
    job = client.submit(flow, "paint it", watch="all").id
    waiting = client.wait_for(lambda m: m.name == "EVENT" and m.body_value()["kind"] == "waiting").body_value()
    assert waiting["reason"] == "person" and waiting["ask"]
    wait_until(lambda: client.job_status(job)["state"] == "waiting", what="state waiting")
    assert client.job(job)["state"] == "waiting"
    client.inbox(job, "input", "blue", ask=waiting["ask"])
    client.wait_for(lambda m: m.name == "EVENT" and m.body_value()["kind"] == "waiting")
    client.inbox(job, "input", "exit")
    end = client.wait_for(lambda m: m.name == "EVENT" and m.get("end"))
    assert end["end"] == "succeeded"
    assert [c["body"]["messages"][-1]["content"] for c in model.calls()] == ["paint it", "blue"]
    client.stash.clear()
    assert [e["kind"] for e in client.watch_to_end(job)].count("input") == 2


def test_a_waiting_job_can_be_cancelled(client, model):
    flow = flows.http_chat(model, replies=5, user={"human_input_mode": "ALWAYS"})
    job = client.submit(flow, "wait", watch="all").id
    client.wait_for(lambda m: m.name == "EVENT" and m.body_value()["kind"] == "waiting")
    client.cancel(job)
    assert client.wait_for(lambda m: m.name == "EVENT" and m.get("end"))["end"] == "cancelled"


def test_deleting_a_session_cancels_its_live_job(client, model):
    model.behave(stall="headers")
    accepted = client.submit(flows.http_chat(model), "x", watch="all")
    wait_until(model.calls, what="the call has come")
    client.storage.ask("delete_user_sessions", session=accepted.session)
    wait_until(lambda: model.calls()[0]["outcome"] == "disconnected", 10, "the call is given up")
    assert client.storage.ask("get_sessions")["sessions"] == []


def test_a_large_message_and_a_large_answer(client, model):
    model.behave(huge=2_000_000)
    text = "ä" * 1_000_000
    _, events = client.run(flows.http_chat(model), text)
    assert model.calls()[0]["body"]["messages"][-1]["content"] == text
    assert len(events[-1]["content"]) == 2_000_000


@pytest.mark.parametrize("megabytes", [9, 20])
def test_an_answer_over_the_limits_fails_its_job_and_no_other(client, model, megabytes):
    """Over a message's size (8 MiB) and over what a reply may have (16 MiB)."""
    model.behave(huge=megabytes << 20)
    bystander = client.submit(flows.script_chat(["turn"] * 20, replies=19, delay_ms=100), "bystander", watch="all")
    _, events = client.run(flows.http_chat(model), "talk much", timeout=30)
    assert events[-1]["state"] == "failed" and events[-1]["code"] in ("too_large", "model"), events[-1]
    assert len(model.calls()) == 1
    others = client.events_to_end(bystander.id)
    assert others[-1]["state"] == "succeeded" and [e["kind"] for e in others].count("started") == 1
