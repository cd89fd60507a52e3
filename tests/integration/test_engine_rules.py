"""Rules of the engine through the real processes: how conversations end, what the model's server is sent, answers of a given
shape."""

import json

import autobots_wire as wire
import cli
import flows
import pytest
from service import ROOT, wait_until


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


def test_cost_ends_a_conversation_and_needs_a_price(shared, client, model):
    flow = two(model, ["again"], termination=[{"cost_usd": 0.02}, {"rounds": 9}])
    end = run(client, flow)[-1]
    assert end["state"] == "failed" and model.name in end["text"] and "autobots prices set" in end["text"]
    assert len(model.calls()) == 1
    cli.run("prices", "set", model.name, "--input", "0", "--output", "1000", home=shared.dir)
    model.behave(text="again", usage={"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 15})  # 1 cent each
    wait_until(lambda: run(client, flow)[-1]["stop_reason"] == "cost_usd", what="the price is known to the workers")
    end = run(client, flow)[-1]
    assert end["result"]["stop_condition"] == {"cost_usd": 0.02}
    assert end["result"]["usage"]["total"]["cost_pico_usd"] == 2 * 10**10


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


# --- what the model's server is sent -----------------------------------------------------------------------------


def sent(call):
    return [m["content"] for m in call["body"]["messages"]]


def test_the_newest_messages_and_the_task_are_sent(client, model):
    flow = two(model, [f"text {i}" for i in range(7)], termination={"rounds": 7}, context={"head": 1, "last": 2})
    end = run(client, flow, "the task")[-1]
    assert len(end["result"]["messages"]) == 8  # the transcript is whole
    for i, call in enumerate(model.calls()):
        told = [m["content"] for m in end["result"]["messages"]][:i + 1]
        assert sent(call) == (told if len(told) <= 3 else [told[0], *told[-2:]])


def test_earlier_messages_of_the_session_go_first(client, model, user):
    model.behave(text="answer")
    for i in range(3):
        job = client.submit(flows.http_chat(model, context={"last": 3}), f"question {i}", session="s", watch="all").id
        client.events_to_end(job)
    assert [sent(call) for call in model.calls()] == [
        ["question 0"], ["question 0", "answer", "question 1"], ["question 1", "answer", "question 2"]]


def test_a_context_that_is_too_small_is_asked_with_half_and_remembered(client, model):
    flow = two(model, [], termination={"rounds": 6})
    model.behave(text="x" * 300, context_chars=1000)
    events = run(client, flow, "the task")
    replies = [e for e in events if e["kind"] == "model_reply"]
    trimmed = [e.get("trimmed_tokens", 0) for e in replies]
    assert trimmed[:4] == [0, 0, 0, 0] and all(trimmed[4:]) and events[-1]["state"] == "succeeded"
    status = [call["status"] for call in model.calls()]
    assert status == [200] * 4 + [400, 200, 400, 200]  # once for each of the two agents
    assert len(events[-1]["result"]["messages"]) == 7


def test_what_was_too_much_is_not_asked_again_by_another_worker(make_service, model):
    service = make_service(workers=1)
    flow = two(model, [], termination={"rounds": 8})
    model.behave(text="x" * 300, context_chars=1000, delay_ms=50)
    with service.client() as client:
        job = client.submit(flow, "the task", watch="all").id
        seen = []
        while len([e for e in seen if e.get("trimmed_tokens")]) < 2:
            seen.append(client.next_event(job, 20).body_value())
        service.kill("worker1")
        service.start("worker1")
        events = seen + client.events_to_end(job, after=len(seen), timeout=60)
    assert [call["status"] for call in model.calls()].count(400) == 2
    assert len(events[-1]["result"]["messages"]) == 9


def test_one_message_that_is_too_long_fails_with_what_the_server_said(client, model):
    model.behave(context_chars=100)
    end = run(client, flows.http_chat(model), "x" * 500)[-1]
    assert end["state"] == "failed" and end["code"] == "model" and "4096" in end["text"]
    assert len(model.calls()) == 1


def test_a_summary_of_a_long_talk_is_cut_too(client, model):
    flow = two(model, [], termination={"rounds": 5}, summary_method="llm", context={"last": 1})
    model.behave(text="y" * 600, context_chars=2000)
    end = run(client, flow, "the task")[-1]
    assert end["state"] == "succeeded" and end["content"] == "y" * 600
    whole, asked = [sent(call) for call in model.calls()[-2:]]
    assert len(whole[1]) > 3000 and len(asked[1]) < 1700 and "user: the task" in asked[1]


# --- answers of a given shape --------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"],
          "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}


def shaped(model, texts, form=None, **more):
    model.behave(texts=texts)
    llm = {"config_list": [flows.endpoint(model.name, model.url, **more)], "response_format": form or FORMAT}
    return flows.chat([], assistant={"llm_config": llm})


def test_an_answer_that_does_not_fit_is_put_right_once(client, model):
    events = run(client, shaped(model, ['{"age": "7", "name": "x"}', '{"age": 7}']))
    end = events[-1]
    assert end["state"] == "succeeded" and end["content"] == '{"age": 7}' and end["result"]["parsed"] == {"age": 7}
    assert [m["content"] for m in end["result"]["messages"]] == ["hello", '{"age": 7}']
    assert end["result"]["messages"][1]["parsed"] == {"age": 7}
    first, second = model.calls()
    assert first["body"]["response_format"] == second["body"]["response_format"] == FORMAT
    assert [m["role"] for m in second["body"]["messages"]] == ["user", "assistant", "user"]
    assert "$.age must be integer, not string" in sent(second)[-1] and "$.name" in sent(second)[-1]
    assert [e["step"] for e in events if e["kind"] == "model_reply"] == ["chat:1", "chat:2"]


def test_a_second_one_fails_the_run_with_the_place(client, model):
    end = run(client, shaped(model, ["seven", '{"age": -7}']))[-1]
    assert end["state"] == "failed" and end["code"] == "model" and end["stop_reason"] == "error"
    assert "assistant" in end["text"] and "$.age is -7, at least 0 is wanted" in end["text"]
    assert end["path"].endswith(".config.llm_config.response_format")
    assert len(model.calls()) == 2 and end["result"]["usage"]["total"]["calls"] == 2


def test_any_object_and_azure(client, model):
    end = run(client, shaped(model, ['```json\n{"a": 1}\n```'], form="json_object", api_type="azure",
                             api_version="2024-10-21", api_key=None))[-1]
    assert end["result"]["parsed"] == {"a": 1}
    [call] = model.calls()
    assert call["body"]["response_format"] == {"type": "json_object"}
    assert "JSON" in call["body"]["messages"][0]["content"] and call["body"]["messages"][0]["role"] == "system"


def test_a_worker_killed_between_the_two_asks_for_the_second_only(make_service, model):
    service = make_service(workers=1)
    flow = shaped(model, ["no", '{"age": 7}'])
    model.behave(texts=["no", '{"age": 7}'], delay_ms=300)
    with service.client() as client:
        job = client.submit(flow, "hello", watch="all").id
        seen = [client.next_event(job, 20).body_value() for _ in range(3)]
        assert seen[-1]["kind"] == "model_reply" and seen[-1]["content"] == "no"
        service.kill("worker1")
        service.start("worker1")
        end = client.events_to_end(job, after=len(seen), timeout=60)[-1]
    assert end["result"]["parsed"] == {"age": 7}
    assert all(sent(call)[-1].startswith("This is not what was asked for") for call in model.calls()[1:])


# --- images and files of the user's message -------------------------------------------------------------------------

PARTS = [{"type": "text", "text": "What is this?"}, {"type": "image", "data": "QUJD", "media_type": "image/jpeg"},
         {"type": "file", "data": "QUJD", "media_type": "application/pdf", "name": "a.pdf"},
         {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}]
SENT = [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,QUJD"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}}]


def others(content):
    return [part for part in content if part["type"] != "text"]


@pytest.mark.parametrize("kind, more", [("autonomous", {}), ("sequential", {}), ("sequential", {"api_type": "azure"})])
def test_every_receiver_sees_the_images_and_files(client, model, kind, more):
    model.behave(text="a cat")
    llm = {"config_list": [flows.endpoint(model.name, model.url, **more)]}
    flow = {"name": "w", "type": kind, "sender": {"name": "user", "config": {"max_consecutive_auto_reply": 0}},
            "receiver": [{"name": name, "config": {"llm_config": llm}} for name in ("a", "b")]}
    end = client.events_to_end(client.submit(flow, PARTS, watch="all").id)[-1]
    assert end["state"] == "succeeded" and len(model.calls()) == 2
    for call in model.calls():
        assert others(call["body"]["messages"][-1]["content"]) == SENT
    assert end["result"]["messages"][0]["content"] == PARTS  # kept as it was sent


def test_group_chats_inside_each_other_see_them_too(client, model):
    model.behave(text="a cat")
    llm = {"config_list": [flows.endpoint(model.name, model.url)]}

    def group(name, members):
        return {"name": name, "type": "groupchat", "agents": members,
                "config": {"speaker_selection_method": "round_robin", "max_round": 2}}

    def agent(name):
        return {"name": name, "config": {"llm_config": llm}}

    inner = group("inner", [agent("a"), agent("b")])
    flow = {"name": "w", "type": "groupchat", "sender": {"name": "user"},
            "receiver": group("outer", [agent("c"), group("middle", [inner, agent("d")])])}
    end = client.events_to_end(client.submit(flow, PARTS, watch="all").id)[-1]
    assert end["state"] == "succeeded" and len(model.calls()) == 4  # c, then a, b and d
    for call in model.calls():
        parts = [p for m in call["body"]["messages"] if m["role"] == "user" and isinstance(m["content"], list)
                 for p in m["content"]]
        assert others(parts) == SENT, call["body"]["messages"]


def test_the_offline_model_takes_them(client):
    end = client.events_to_end(client.submit(flows.script_chat(), PARTS, watch="all").id)[-1]
    assert end["content"] == "What is this?"


def test_an_image_of_an_earlier_message_is_history(client, model):
    model.behave(text="a cat")
    for content in (PARTS, "and what colour?"):
        client.events_to_end(client.submit(flows.http_chat(model), content, session="s", watch="all").id)
    assert others(model.calls()[-1]["body"]["messages"][0]["content"]) == SENT


@pytest.mark.parametrize("part, says", [
    ({"type": "picture", "url": "x"}, "picture"), ({"type": "image"}, "url or data"), ({"type": "text"}, "text"),
    ({"type": "file", "name": "a"}, "data or file"), ({"type": "image_url", "url": "x"}, "image_url")])
def test_a_part_of_no_known_type_is_refused(client, part, says):
    with pytest.raises(Exception) as refusal:
        client.submit(flows.script_chat(), [{"type": "text", "text": "x"}, part])
    assert "content" in str(refusal.value) and says in str(refusal.value)


# --- settings of an agent ---------------------------------------------------------------------------------------------


def test_what_an_agents_model_is_configured_with_reaches_the_endpoint(client, model):
    llm = {"config_list": [flows.endpoint(model.name, model.url)], "temperature": 0.7, "max_tokens": 77,
           "extra_body": {"top_p": 0.5}}
    run(client, flows.chat([], assistant={"llm_config": llm, "system_message": "You are brief."}))
    [call] = model.calls()
    body = call["body"]
    assert (body["temperature"], body["max_tokens"], body["top_p"]) == (0.7, 77, 0.5)
    assert body["messages"] == [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "hello"}]
    assert "response_format" not in body


def test_a_seeds_request_with_a_task_where_there_are_no_steps_is_taken(client, model):
    """As the seed did: through the API it is a warning, in a file a fault."""
    flow = flows.http_chat(model)
    flow["agents"][1]["task_instruction"] = "Never told."
    assert run(client, flow)[-1]["state"] == "succeeded"
    assert sent(model.calls()[0]) == ["hello"]


def test_files_are_attached_on_the_command_line(shared, user, model, tmp_path):
    model.behave(text="a cat")
    flow, image, notes = tmp_path / "flow.json", tmp_path / "a photo.JPG", tmp_path / "notes.pdf"
    flow.write_text(json.dumps({**flows.http_chat(model), "task": "Compare."}))
    image.write_bytes(b"ABC")
    notes.write_bytes(b"DEF")
    (tmp_path / "empty.png").write_bytes(b"")

    def submit(names, *text):
        return cli.run("submit", "-w", flow, "--attach", names, *text, home=shared.dir, env={"AUTOBOTS_USER": user})

    assert submit(f"{image},{notes},https://example.org/x.png", "Which", "one?").code == 0
    assert submit(str(image)).code == 0
    first, second = [call["body"]["messages"][0]["content"] for call in model.calls()]
    assert first == [{"type": "text", "text": "Which one?"},
                     {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,QUJD"}},
                     {"type": "file", "file": {"filename": "notes.pdf", "file_data": "data:application/pdf;base64,REVG"}},
                     {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}]
    assert second[0] == {"type": "text", "text": "Compare."} and len(second) == 2
    for names, says in ((str(tmp_path / "none.png"), "No such file"), (str(tmp_path / "empty.png"), "is empty")):
        refused = submit(names, "x")
        assert refused.code == 2 and says in refused.err, refused
    assert len(model.calls()) == 2


def test_a_run_that_failed_for_its_answer_may_be_tried_again(shared, client, model, user):
    accepted = client.submit(shaped(model, ["no", "no", '{"age": 7}']), "hello", watch="all")
    assert client.events_to_end(accepted.id)[-1]["state"] == "failed"
    model.behave(text='{"age": 7}')
    result = cli.run("retry", wire.id_text(accepted.id), "--json", home=shared.dir, env={"AUTOBOTS_USER": client.user})
    end = result.lines()[-1]
    assert end["state"] == "succeeded" and end["result"]["parsed"] == {"age": 7}, result
    assert sent(model.calls()[-1])[-1].startswith("This is not what was asked for")  # the second try once more
