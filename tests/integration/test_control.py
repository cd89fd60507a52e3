"""Control of runs: pause and resume, fork and retry, through the whole system."""

import json
import time

import cli
import flows
import pytest
from autobots_wire import Accepted, Failure, id_text, make_id, pack
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


# ---- fork, retry ----------------------------------------------------------------------------------------------------


def fork(client, job, seq=0, content=None, text=None, **more):
    """A new job that goes on from the first seq events of this one."""
    header = {"job": make_id(), "user": client.user, "fork_of": job, "fork_seq": seq, "fork_text": text,
              **more}
    body = pack(content if content is None else {"content": content})
    return Accepted(client.request("SUBMIT", {key: value for key, value in header.items() if value is not None}, body))


def said(events):
    return [(m["agent"], m["content"]) for m in events[-1]["result"]["messages"]]


def test_a_fork_at_any_event_tells_the_same_story(client, model):
    model.behave(texts=["one", "two", "three"])
    accepted, whole = client.run(flows.http_chat(model, replies=2), "count")
    assert whole[-1]["content"] == "three" and "forked" not in whole[-1]["result"]
    for seq in range(len(whole) + 1):
        calls = len(model.calls())
        new = fork(client, accepted.id, seq)
        events = client.watch_to_end(new.id)
        copied = [e for e in whole[:seq] if e["kind"] in ("begin", "turn", "model_reply")]
        assert [{**e, "seq": 0} for e in events[:len(copied)]] == [{**e, "seq": 0} for e in copied]
        assert [e["kind"] for e in events[len(copied):len(copied) + 2]] == ["forked", "started"]
        paid = len(of_kind(copied, "model_reply"))
        assert said(events) == said(whole) and len(model.calls()) - calls == 3 - paid
        result = events[-1]["result"]
        assert result["usage"]["total"]["calls"] == 3 - paid
        assert result["forked"]["usage"]["total"]["calls"] == paid
        assert (result["forked"]["job"], result["forked"]["seq"]) == (id_text(accepted.id), seq)
        record = client.job(new.id)
        assert record["fork_of"] == accepted.id and record.get("fork_seq", 0) == seq
        assert new.session != accepted.session and record["attempt"] == 1


def test_what_was_said_may_be_another_thing_in_a_fork(client, model):
    model.behave(texts=["What colour?", "As you like."])
    asks = flows.http_chat(model, replies=5, user={"human_input_mode": "ALWAYS"})
    job = client.submit(asks, "paint", watch="all").id
    for answer in ("blue", "exit"):
        next_kind(client, job, "waiting")
        client.inbox(job, "input", answer)
    client.wait_for(lambda m: m.name == "EVENT" and m.get("end"))
    events = client.journal(job)
    at = {kind: [i + 1 for i, e in enumerate(events) if e["kind"] == kind] for kind in ("input", "model_reply", "turn")}

    def forked(seq, **more):
        new = fork(client, job, seq, **more).id
        client.inbox(new, "input", "exit")  # whenever it is asked: the rows that were consumed there are not its own
        return [content for _, content in said(client.watch_to_end(new))]

    assert forked(at["input"][0], text="green") == ["paint", "What colour?", "green", "As you like."]
    assert model.calls()[-1]["body"]["messages"][-1]["content"] == "green"
    assert forked(at["model_reply"][0], text="Which room?") == ["paint", "Which room?"]
    assert forked(2, content="sand the floor")[0] == "sand the floor"
    assert model.calls()[-1]["body"]["messages"][-1]["content"] == "sand the floor"
    with pytest.raises(Failure) as failure:
        fork(client, job, 1, text="x")
    assert failure.value.code == "invalid" and "started" in failure.value.text


def test_a_turn_without_a_model_may_be_another_one_in_a_fork(client):
    accepted, whole = client.run(flows.script_chat(["one", "two"], replies=1), "count")
    [turn] = of_kind(whole, "turn")
    events = client.watch_to_end(fork(client, accepted.id, turn["seq"], text="skip one").id)
    assert [content for _, content in said(events)] == ["count", "one", "skip one", "two"]


def test_a_fork_is_made_once_and_refused_with_a_reason(shared, client, user):
    accepted, whole = client.run(flows.script_chat(["a", "b"], replies=1), "x")
    header = {"job": make_id(), "user": user, "fork_of": accepted.id, "fork_seq": 3}
    first, again = (client.request("SUBMIT", header, pack(None)) for _ in range(2))
    assert first["created"] and not again.get("created") and first["n"] == again["n"]
    assert said(client.watch_to_end(header["job"])) == said(whole)
    whole_other = client.submit_header(flows.script_chat(["c"], replies=1))
    other = {key: whole_other[key] for key in ("hash", "workflow")}
    for more, code in (({"fork_seq": 99}, "invalid"), ({"fork_of": make_id()}, "not_found"),
                       ({"hash": bytes(32)}, "unknown_workflow"), (other, "invalid"), ({"fork_of": None}, "invalid")):
        wrong = {key: value for key, value in {**header, "job": make_id(), **more}.items() if value is not None}
        with pytest.raises(Failure) as failure:
            client.request("SUBMIT", wrong, pack(None))
        assert failure.value.code == code and failure.value.text
    with shared.client(user + "x") as stranger, pytest.raises(Failure) as failure:
        fork(stranger, accepted.id, 3)
    assert failure.value.code == "not_found"


def test_a_live_job_is_forked(client, model):
    model.behave(texts=["one", "two"], delay_ms=300)
    job = client.submit(flows.http_chat(model, replies=1), "count", watch="all").id
    reply = next_kind(client, job, "model_reply")
    new = fork(client, job, len(client.journal(job)))
    assert reply["content"] == "one"
    client.wait_for(lambda m: m.name == "EVENT" and m.get("end"))
    client.stash.clear()
    for one in (job, new.id):
        events = client.watch_to_end(one)
        assert [e["content"] for e in of_kind(events, "model_reply")] == ["one", "two"]


def test_a_failed_job_is_tried_again_from_the_command_line(shared, client, user, model):
    model.behave(texts=["one", "two"], delay_ms=100)
    accepted = client.submit(flows.http_chat(model, replies=1), "count", watch="all")
    next_kind(client, accepted.id, "model_reply")
    client.cancel(accepted.id)
    client.wait_for(lambda m: m.name == "EVENT" and m.get("end"))
    calls, name = len(model.calls()), id_text(accepted.id)
    done = cli.run("retry", name, "--user", user, home=shared.dir)
    assert done.code == 0 and f"copied from {name}" in done.out and "two" in done.out and "1 call" in done.out
    assert len(model.calls()) == calls + 1, "the reply that was kept is not asked for again"
    shown = cli.run("show", "last", "--json", "--user", user, home=shared.dir).json()
    assert shown["fork_of"] == name and shown["session"] == accepted.session and shown["content"] == "two"
    [question, answer] = client.messages(accepted.session)
    assert (question["content"], answer["content"]) == ("count", "two")
    assert "has succeeded" in cli.run("retry", shown["id"], "--user", user, home=shared.dir).err


def test_fork_from_the_command_line(shared, client, user):
    flow = flows.script_chat(["one", "two"], replies=1)
    accepted, whole = client.run(flow, "count")
    name, step = id_text(accepted.id), of_kind(whole, "model_reply")[0]["step"]

    def forked(*args):
        done = cli.run("fork", name, *args, "--json", "--user", user, home=shared.dir)
        assert done.code == 0, done
        return [content for _, content in said(done.lines())], done.lines()

    assert forked()[0] == ["count", "one", "go on", "two"]
    assert forked("--text", "sum")[0] == ["sum", "one", "go on", "two"]
    assert forked("--step", step, "--text", "uno")[0] == ["count", "uno", "go on", "two"]
    texts, events = forked("--at", len(whole), "-s", accepted.session)
    assert texts == ["count", "one", "go on", "two"] and events[-1]["result"]["usage"]["total"]["calls"] == 0
    assert client.storage.ask("list_jobs", session=accepted.session, limit=1)["jobs"][0]["fork_of"] == accepted.id
    wrong = cli.run("fork", name, "--step", "nowhere:1", "--user", user, home=shared.dir)
    assert wrong.code == 1 and "nowhere:1" in wrong.err
    assert cli.run("fork", name, "--step", step, "--at", 3, "--user", user, home=shared.dir).code == 2


def test_a_fork_survives_the_end_of_everything(make_service, model):
    service = make_service(workers=1, config={"heartbeat_ms": 300, "lease_ms": 1500})
    model.behave(texts=["one", "two", "three"])
    with service.client() as client:
        accepted, whole = client.run(flows.http_chat(model, replies=2), "count")
        service.kill("worker1")
        new = fork(client, accepted.id, 5)
    kill_everything(service)
    with service.client() as client:
        events = client.watch_to_end(new.id)
        assert said(events) == said(whole) and len(model.calls()) == 3 + 1


def test_a_fork_of_a_job_with_keys_of_its_own_needs_them_again(shared, client, user, model, tmp_path):
    flow = flows.chat(flows.endpoint(model.name, model.url, api_key="sk-mine"))
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(flow))
    model.behave(text="hello")
    assert cli.run("submit", "-w", path, "--user", user, "hi", home=shared.dir).code == 0
    refused = cli.run("fork", "last", "--user", user, home=shared.dir)
    assert refused.code == 1 and "keys" in refused.err and "sealed" in refused.err
    done = cli.run("fork", "last", "-w", path, "--user", user, home=shared.dir)
    assert done.code == 0 and len(model.calls()) == 2
    assert len({call["key_sha256"] for call in model.calls()}) == 1 and model.calls()[0]["key_sha256"]


def test_a_retry_asks_again_for_the_answer_that_did_not_fit(shared, client, user, model):
    model.behave(text="not JSON")
    shaped = {"llm_config": {"config_list": [flows.endpoint(model.name, model.url)],
                             "response_format": {"type": "json_object"}}}
    accepted, events = client.run(flows.http_chat(model, assistant=shaped), "a number")
    assert events[-1]["state"] == "failed" and len(model.calls()) == 2
    model.behave(text='{"number": 7}')
    done = cli.run("retry", id_text(accepted.id), "--json", "--user", user, home=shared.dir)
    assert done.code == 0 and done.lines()[-1]["content"] == '{"number": 7}' and len(model.calls()) == 3


# ---- messages to a busy session -------------------------------------------------------------------------------------

ASKS = flows.script_chat(["What colour?", "Painted."], replies=5, user={"human_input_mode": "ALWAYS"})


def asking(client):
    """A job of a new session that waits for a person; its Accepted."""
    accepted = client.submit(ASKS, "paint", watch="all")
    next_kind(client, accepted.id, "waiting")
    wait_state(client, accepted.id, "waiting")
    client.stash.clear()
    return accepted


def test_a_message_to_a_session_that_waits_is_the_answer(client):
    accepted = asking(client)
    new = make_id()
    rid, _ = client.submit_later(ASKS, [{"type": "text", "text": "blue"}, {"type": "text", "text": "or green"}], job=new,
                                 session=accepted.session, watch="all")
    answer = client.answer(rid)
    assert answer["job"] == accepted.id and answer["input"] == 1 and answer["session"] == accepted.session
    assert client.next_event(accepted.id)["seq"] == answer["seq"] + 1, "it is watched behind the question"
    next_kind(client, accepted.id, "waiting")
    again = client.answer(client.submit_later(ASKS, "blue\nor green", job=new, session=accepted.session)[0])
    assert again["job"] == accepted.id and again["input"] == 1 and not again.get("created")
    with pytest.raises(Failure) as failure:
        client.submit(ASKS, "red", job=new, session=accepted.session)
    assert failure.value.code == "conflict"
    with pytest.raises(Failure) as failure:
        client.submit(ASKS, [{"type": "image_url", "image_url": {"url": "x"}}], session=accepted.session)
    assert failure.value.code == "invalid" and "new_job" in failure.value.text
    client.inbox(accepted.id, "input", "exit")
    wait_until(lambda: of_kind(client.journal(accepted.id), "end"), what="its end")
    events = client.journal(accepted.id)
    assert [e["text"] for e in of_kind(events, "input")] == ["blue\nor green", "exit"]
    assert len(client.storage.ask("list_jobs", session=accepted.session)["jobs"]) == 1


def test_an_answer_is_taken_once_whatever_is_killed(make_service):
    service = make_service(workers=1)
    with service.client() as client:
        accepted, new = asking(client), make_id()
        client.submit(ASKS, "blue", job=new, session=accepted.session)
        wait_until(lambda: of_kind(client.journal(accepted.id), "waiting")[1:], what="its next question")
    kill_everything(service)
    with service.client() as client:
        wait_state(client, accepted.id, "waiting")
        answer = client.answer(client.submit_later(ASKS, "blue", job=new, session=accepted.session)[0])
        assert answer["job"] == accepted.id and answer["input"] == 1
        client.submit(ASKS, "exit", session=accepted.session)
        events = client.watch_to_end(accepted.id)
    assert [e["text"] for e in of_kind(events, "input")] == ["blue", "exit"]


def test_a_busy_session_enqueues_rejects_or_is_interrupted(client, model):
    model.behave(stall="headers")
    flow = flows.http_chat(model)
    first = client.submit(flow, "one")
    wait_until(model.calls, what="its call")
    second = client.submit(flow, "two", session=first.session)
    with pytest.raises(Failure) as failure:
        client.submit(flow, "three", session=first.session, if_busy="reject")
    assert failure.value.code == "conflict" and id_text(first.id) in failure.value.text
    assert "session" in client.job_status(second.id)["why"]
    model.behave(text="fine")
    third = client.submit(flow, "three", session=first.session, if_busy="interrupt", watch="all")
    assert client.events_to_end(third.id)[-1]["state"] == "succeeded"
    assert client.watch_to_end(first.id)[-1]["state"] == "cancelled"
    assert client.watch_to_end(second.id)[-1]["state"] == "succeeded"
    assert [call["outcome"] for call in model.calls()] == ["disconnected", "done", "done"]
    last = client.submit(flow, "four", session=first.session, if_busy="reject", watch="all")
    assert client.events_to_end(last.id)[-1]["state"] == "succeeded"


def test_messages_to_a_busy_session_from_the_command_line(shared, client, user, tmp_path):
    accepted = asking(client)
    path = tmp_path / "asks.json"
    path.write_text(json.dumps(ASKS))

    def submit(*args):
        return cli.run("submit", "-w", path, "-s", accepted.session, "--user", user, *args, home=shared.dir)

    queued = submit("--if-busy", "new-job", "--detach", "later")
    assert queued.code == 0 and queued.out.strip() != id_text(accepted.id)
    answered = submit("--json", "blue")
    assert answered.code == 4 and f"answer to the question of job {id_text(accepted.id)}" in answered.err
    assert [e["text"] for e in answered.lines() if e["kind"] == "input"] == ["blue"]
    assert submit("--detach", "--json", "exit").json() == {"id": id_text(accepted.id), "answered": True}
    cli.run("cancel", queued.out.strip(), "--user", user, home=shared.dir)
    wrong = submit("--if-busy", "later", "x")
    assert wrong.code == 2 and "new-job" in wrong.err
    assert "--if-busy HOW" in cli.run("submit", "--help").out


# ---- questions with a time limit ------------------------------------------------------------------------------------


def hurried(seconds, default=None, **more):
    """The user is asked at every turn, and has so long to answer."""
    user = {"human_input_mode": "ALWAYS", "human_timeout_s": seconds, "human_default": default, **more}
    return flows.script_chat(["What colour?", "Painted."], replies=1,
                             user={key: value for key, value in user.items() if value is not None})


def test_a_question_that_nobody_answers_in_time_has_its_default_answer(client):
    accepted = client.submit(hurried(0.4, "exit"), "paint", watch="all")
    waiting = next_kind(client, accepted.id, "waiting")
    assert waiting["until_ms"] == waiting["at_ms"] + 400
    answer = next_kind(client, accepted.id, "input")
    assert (answer["text"], answer["timeout"], answer["k"]) == ("exit", True, 0)
    assert answer["at_ms"] >= waiting["until_ms"] - 1
    end = next_kind(client, accepted.id, "end")
    assert end["state"] == "succeeded" and end["stop_reason"] == "human_exit"


def test_without_a_default_the_agent_answers_by_itself(client):
    _, events = client.run(hurried(0.2), "paint")
    assert [content for _, content in said(events)][:4] == ["paint", "What colour?", "go on", "Painted."]
    assert {e["text"] for e in of_kind(events, "input")} == {""} and all(e["timeout"] for e in of_kind(events, "input"))


def test_an_answer_in_time_counts(client):
    accepted = client.submit(hurried(3600, "red"), "paint", watch="all")
    waiting = next_kind(client, accepted.id, "waiting")
    wait_state(client, accepted.id, "waiting")
    status = client.job_status(accepted.id)
    assert status["wake_at_ms"] == waiting["until_ms"] and "person" in status["why"]
    client.inbox(accepted.id, "input", "blue")
    assert next_kind(client, accepted.id, "input")["text"] == "blue"
    client.cancel(accepted.id)


def test_the_time_may_end_while_everything_is_down(make_service):
    service = make_service(workers=1)
    with service.client() as client:
        ends, paused = client.submit(hurried(1.0, "exit"), "x", watch="all"), client.submit(hurried(1.0, "exit"), "y")
        until = next_kind(client, ends.id, "waiting")["until_ms"]
        wait_state(client, paused.id, "waiting")
        client.inbox(paused.id, "pause")
    for name in list(service.processes):
        service.kill(name)
    wait_until(lambda: time.time() * 1000 > until + 200, what="the time is over")
    for name in list(service.processes):
        service.start(name)
    service.wait_ready()
    with service.client() as client:
        events = client.watch_to_end(ends.id)
        assert of_kind(events, "input")[0]["timeout"] and events[-1]["stop_reason"] == "human_exit"
        assert client.job_status(paused.id)["state"] == "paused"
        client.inbox(paused.id, "resume")
        assert client.watch_to_end(paused.id)[-1]["stop_reason"] == "human_exit"


def test_the_choice_of_a_speaker_has_an_end_too(client):
    member = lambda name: {"name": name, "config": {"llm_config": {"config_list": [flows.script()]}}}
    flow = {"name": "meeting", "type": "groupchat",
            "receiver": {"name": "team", "type": "groupchat", "agents": [member("ann"), member("bob")],
                         "config": {"speaker_selection_method": "manual", "max_round": 2, "human_timeout_s": 0.2,
                                    "human_default": "bob"}}}
    _, events = client.run(flow, "talk")
    assert [e["agent"] for e in of_kind(events, "model_reply")] == ["bob", "bob"]
    assert len(of_kind(events, "input")) == 2
