"""A program written for the seed runs unchanged: its routes, bodies, envelopes and status codes."""

import json
import secrets

import flows
import pytest
from http_client import Gateway
from service import Service, slow, wait_until

# What a seed's message has, whoever reads it.
MESSAGE_KEYS = {"user_id", "role", "content", "root_msg_id", "msg_id", "timestamp", "personalize", "ra", "code", "metadata",
                "session_id"}


@pytest.fixture(scope="module")
def seed(short_folder):
    service = Service(short_folder(), workers=1, config={
        "default_user_id": "guestuser@gmail.com", "default_session_id": "default", "log_level": "debug",
        "allow_origins": ["http://localhost:8000"]})
    gateway = Gateway(service)
    yield gateway
    service.stop()


def message(user, content="What is 2+2?", **more):
    return {"user_id": user, "role": "user", "content": content, "root_msg_id": "0", **more}


def config(name, replies, **more):
    return {"name": name, "llm_config": {"config_list": [flows.script(replies)], "temperature": 0.1, "timeout": 600,
                                         "cache_seed": None}, "human_input_mode": "NEVER", "max_consecutive_auto_reply": 8,
            "system_message": "You are helpful.", "code_execution_config": None, "is_termination_msg": None, **more}


def assistant(name, *replies, **more):
    return {"type": "assistant", "config": config(name, replies or [f"{name} says so. TERMINATE"], **more)}


SENDER = {"type": "userproxy", "config": {"name": "userproxy", "llm_config": False, "human_input_mode": "NEVER",
                                          "max_consecutive_auto_reply": 5, "code_execution_config": False}}
GROUP = {"type": "groupchat", "config": {"name": "group", **{k: v for k, v in config("group", ["one"]).items() if k == "llm_config"}},
         "groupchat_config": None, "agents": []}


def entry(agent, link="receiver"):
    return {"agent": {"name": agent["config"]["name"], "type": agent["type"], "config": agent["config"],
                      "agents": agent.get("agents", [])}, "link": {"agent_type": link}}


def two(*replies, **more):
    return {"name": "General Agent Workflow", "type": "default", "summary_method": "last", "sender": SENDER,
            "receiver": assistant("primary_assistant", *replies), **more}


def autonomous(*receivers):
    return {"name": "autonomous", "type": "autonomous", "agents": [entry(SENDER, "sender"), *[entry(r) for r in receivers]]}


def group(*names):
    members = [{"name": name, "type": "assistant", "config": config(name, [f"{name} in the group"])} for name in names]
    return {"type": "groupchat", "agents": members,
            "config": {"name": "group", "admin_name": "Admin", "max_round": len(names), "speaker_selection_method": "round_robin",
                       "messages": [], "llm_config": {"config_list": [flows.script(["x"])]}}}


def send(seed, user, flow, text="What is 2+2?", **more):
    answer = seed.post("/api/messages", {"message": message(user, text, **more), "flow_config": flow})
    assert answer.status == 200, answer
    return answer.body


# -- messages ---------------------------------------------------------------------------------------------------------


def test_a_message_is_answered_and_both_are_kept(seed, user):
    body = send(seed, user, two("4. TERMINATE"), session_id="s-" + user, msg_id="m-" + user, ra="ra", code="c",
                personalize=False, timestamp="2024-05-01T12:00:00")
    assert body["status"] is True and body["message"] == "4. "[:2] and set(body) == {"status", "message", "metadata"}
    assert MESSAGE_KEYS <= set(body["metadata"])
    assert body["metadata"]["role"] == "assistant" and body["metadata"]["content"] == body["message"]
    assert body["metadata"]["session_id"] == "s-" + user and body["metadata"]["metadata"]["messages"]
    stored = seed.get("/api/messages", user_id=user, session_id="s-" + user)
    assert stored.status == 200 and stored.body["status"] is True
    assert stored.body["message"] == "Messages retrieved successfully"
    asked, answered = stored.body["data"]
    assert MESSAGE_KEYS <= set(asked) and MESSAGE_KEYS <= set(answered)
    assert (asked["role"], asked["content"], asked["msg_id"]) == ("user", "What is 2+2?", "m-" + user)
    same = {key: body["metadata"][key] for key in MESSAGE_KEYS - {"root_msg_id"}}
    assert {key: answered[key] for key in same} == same


def test_what_a_message_brings_along_is_given_back(seed, user):
    brought = {"root_msg_id": "r-" + user, "ra": "ä ra", "code": "print(1)\n", "personalize": True,
               "timestamp": "2024-05-01T12:00:00.123456", "metadata": {"a": [1, 2.5, None, {"b": "ü"}], "c": False}}
    session = {"user_id": user, "session_id": "b-" + user, "flow_config": two()}
    body = send(seed, user, two("4. TERMINATE"), session_id="b-" + user, msg_id="m-" + user, **brought)
    assert body["metadata"]["root_msg_id"] == "r-" + user

    def is_whole(messages):
        asked, answered = messages
        assert {key: asked[key] for key in brought} == brought
        assert answered["timestamp"] == body["metadata"]["timestamp"]

    is_whole(seed.get("/api/messages", user_id=user, session_id="b-" + user).body["data"])
    is_whole(seed.get(f"/api/sessions/b-{user}/export", user=user).body["messages"])
    item = seed.post("/api/sessions/publish", {"user_id": user, "session": session}).body["data"]
    is_whole(item["messages"])
    copy = seed.request("POST", f"/api/gallery/{item['id']}/session", user=user)
    assert copy.status == 201
    is_whole(seed.get("/api/messages", user_id=user, session_id=copy.body["session"]).body["data"])
    again = seed.post("/api/gallery/import", {"gallery": {**item, "id": "again-" + user}}, user=user)
    is_whole(again.body["gallery"]["messages"])


def test_defaults_come_from_the_configuration(seed):
    answer = seed.get("/api/messages").body
    assert answer == {"status": True, "data": [], "message": "Messages retrieved successfully"}
    assert send(seed, "guestuser@gmail.com", two())["metadata"]["session_id"] == "default"
    assert len(seed.get("/api/messages").body["data"]) == 2
    assert [s["session_id"] for s in seed.get("/api/sessions").body["data"]] == ["default"]


@pytest.mark.parametrize("flow,expected", [
    (autonomous(assistant("first"), assistant("second")), ["first says so", "second says so"]),
    ({**autonomous(assistant("first"), assistant("second")), "type": "sequential", "name": "sequential"}, ["second says so"]),
    (autonomous(assistant("first"), group("ann", "bob")), ["first says so", "bob in the group"]),
], ids=["autonomous", "sequential", "group chat inside"])
def test_every_type_of_workflow_answers(seed, user, flow, expected):
    body = send(seed, user, flow)
    assert body["status"] is True, body
    for text in expected:
        assert text in body["message"]
    spoken = [m["content"] for m in body["metadata"]["metadata"]["messages"]]
    assert any("first says so" in text for text in spoken) and not body["metadata"].get("ask")


def test_a_session_goes_on(seed, user):
    first = send(seed, user, two("one. TERMINATE"), session_id="again" + user)
    send(seed, user, two("two. TERMINATE"), session_id="again" + user)
    data = seed.get("/api/messages", user_id=user, session_id="again" + user).body["data"]
    assert [m["role"] for m in data] == ["user", "assistant"] * 2 and data[1]["msg_id"] == first["metadata"]["msg_id"]
    remaining = seed.post("/api/messages/delete", {"user_id": user, "msg_id": data[1]["msg_id"], "session_id": "again" + user})
    assert remaining.body["status"] is True and remaining.body["message"] == "Message deleted successfully"
    assert [m["msg_id"] for m in remaining.body["data"]] == [data[0]["msg_id"], data[2]["msg_id"], data[3]["msg_id"]]


def test_a_question_is_the_answer_and_the_next_message_answers_it(seed, user):
    flow = {**two("What colour?", "And what shade?"), "sender": {"type": "userproxy", "config": {
        **SENDER["config"], "human_input_mode": "ALWAYS"}}}
    asked = send(seed, user, flow, "paint it", session_id="q" + user)
    assert asked["status"] is True and asked["message"] and asked["metadata"]["state"] == "waiting"
    again = send(seed, user, flow, "red", session_id="q" + user)
    assert again["metadata"]["state"] == "waiting" and again["metadata"]["job"] == asked["metadata"]["job"]
    done = send(seed, user, flow, "exit", session_id="q" + user)
    assert done["status"] is True and done["metadata"]["state"] == "succeeded"
    assert done["metadata"]["job"] == asked["metadata"]["job"]


def test_a_job_that_fails_is_a_200_with_status_false(seed, user, model):
    model.behave(fail={"status": 400, "error": {"message": "no such model here"}})
    flow = two()
    flow["receiver"]["config"]["llm_config"]["config_list"] = [{"model": model.name, "base_url": model.url}]
    body = send(seed, user, flow)
    assert body["status"] is False and set(body) == {"status", "message"}
    assert body["message"].startswith("Error occurred while processing message: ")


def test_a_workflow_without_a_model_is_a_200_with_status_false(seed, user):
    flow = two()
    flow["receiver"]["config"]["llm_config"] = {"config_list": []}
    body = seed.post("/api/messages", {"message": message(user), "flow_config": flow}).body
    assert body.get("status") is False or "detail" in body


# -- bodies that are wrong --------------------------------------------------------------------------------------------


def missing(*path):
    return {"loc": ["body", *path], "msg": "field required", "type": "value_error.missing"}


def test_missing_fields_are_422_with_their_places(seed, user):
    answer = seed.post("/api/messages", {"message": {"content": "x"}})
    assert answer.status == 422
    assert answer.body == {"detail": [missing("message", "user_id"), missing("message", "role"), missing("flow_config")]}
    answer = seed.post("/api/messages", {"message": message(user), "flow_config": {"sender": SENDER}})
    assert answer.status == 422 and missing("flow_config", "name") in answer.body["detail"]
    nameless = autonomous(assistant("a"))
    del nameless["agents"][1]["agent"]["name"], nameless["agents"][1]["agent"]["config"]["name"]
    answer = seed.post("/api/messages", {"message": message(user), "flow_config": nameless})
    assert answer.status == 422 and missing("flow_config", "agents", 1, "agent", "name") in answer.body["detail"]
    for path, body, places in (("/api/messages/delete", {}, [("user_id",), ("msg_id",)]),
                               ("/api/sessions", {"user_id": user, "session": {}}, [("session", "user_id"), ("session", "flow_config")]),
                               ("/api/sessions/publish", {"user_id": user}, [("session",)]),
                               ("/api/cleardb", {"user_id": user}, [("session_id",)])):
        answer = seed.post(path, body)
        assert (answer.status, answer.body) == (422, {"detail": [missing(*place) for place in places]}), path


def test_wrong_types_and_no_json_are_422(seed, user):
    answer = seed.post("/api/messages", {"message": message(user, role=["user"]), "flow_config": []})
    assert answer.status == 422
    assert [d["loc"] for d in answer.body["detail"]] == [["body", "message", "role"], ["body", "flow_config"]]
    assert [d["type"] for d in answer.body["detail"]] == ["type_error.str", "type_error.dict"]
    for data in (b"", b"{", b"[]", b"\xff", b'{"message": 1, "message": 2}'):
        assert seed.request("POST", "/api/messages", data, {"Content-Type": "application/json"}).status == 422, data


def test_unknown_keys_are_ignored(seed, user):
    flow = two("fine. TERMINATE", id="17", timestamp="now", user_id=user, whatever={"x": 1})
    flow["sender"]["config"]["unheard_of"] = True
    body = seed.post("/api/messages", {"message": message(user, extra=1), "flow_config": flow, "connection_id": "c1"}).body
    assert body["status"] is True and body["message"] == "fine."


# -- sessions, gallery ------------------------------------------------------------------------------------------------


def test_sessions_are_made_listed_published_and_cleared(seed, user):
    made = seed.post("/api/sessions", {"user_id": user, "session": {"user_id": user, "session_id": "a" + user, "flow_config": two()}})
    assert made.body["status"] is True and made.body["message"] == "Session created successfully"
    [session] = made.body["data"]
    assert session["session_id"] == "a" + user and session["user_id"] == user and session["timestamp"]
    assert session["flow_config"]["name"] == "General Agent Workflow"
    twice = seed.post("/api/sessions", {"user_id": user, "session": {"user_id": user, "flow_config": two()}})
    assert len(twice.body["data"]) == 2 and twice.body["data"][0] == session
    send(seed, user, two("said. TERMINATE"), session_id="a" + user)
    published = seed.post("/api/sessions/publish", {"user_id": user, "session": {
        "user_id": user, "session_id": "a" + user, "flow_config": two()}, "tags": ["math", user]})
    assert published.body["status"] is True and published.body["message"] == "Session successfully published"
    item = published.body["data"]
    assert item["tags"] == ["math", user] and [m["content"] for m in item["messages"]] == ["What is 2+2?", "said."]
    assert {"id", "session", "messages", "tags", "timestamp"} <= set(item)
    one = seed.get("/api/gallery", gallery_id=item["id"])
    assert one.body == {"status": True, "data": [item], "message": "Gallery items retrieved successfully"}
    assert item["id"] in [g["id"] for g in seed.get("/api/gallery").body["data"]]
    assert [g["id"] for g in seed.get("/api/gallery", tag=user).body["data"]] == [item["id"]]
    assert seed.get("/api/gallery", gallery_id="no such").body["data"] == []
    cleared = seed.post("/api/cleardb", {"user_id": user, "session_id": "a" + user})
    assert cleared.body["status"] is True and cleared.body["message"] == "Messages and files cleared successfully"
    assert [s["session_id"] for s in cleared.body["data"]["sessions"]] == [twice.body["data"][1]["session_id"]]
    assert seed.get("/api/messages", user_id=user, session_id="a" + user).body["data"] == []
    assert seed.get("/api/gallery", gallery_id=item["id"]).body["data"] == [item], "what is published stays"
    assert seed.post("/api/cleardb", {"user_id": user, "session_id": "a" + user}).body["status"] is True


def test_an_empty_session_can_be_published(seed, user):
    seed.post("/api/sessions", {"user_id": user, "session": {"user_id": user, "session_id": "e" + user, "flow_config": two()}})
    item = seed.post("/api/sessions/publish", {"user_id": user, "session": {"user_id": user, "session_id": "e" + user}}).body["data"]
    assert item["messages"] == [] and item["tags"] == []
    none = seed.post("/api/sessions/publish", {"user_id": user, "session": {"user_id": user, "session_id": "none" + user}})
    assert none.status == 200 and none.body["status"] is False
    assert none.body["message"].startswith("Error occurred while publishing session: ")


def test_listings_go_over_pages(seed, user):
    for i in range(130):
        seed.service.storage(user) if False else None
    with seed.service.storage(user) as storage:
        for i in range(130):
            storage.ask("save_message", message={"user_id": user, "session_id": "long", "role": "user", "content": str(i)})
    data = seed.get("/api/messages", user_id=user, session_id="long").body["data"]
    assert [m["content"] for m in data] == [str(i) for i in range(130)]
    page = seed.get("/api/messages", user_id=user, session_id="long", limit=50).body
    assert len(page["data"]) == 50 and page["next"]
    rest = seed.get("/api/messages", user_id=user, session_id="long", limit=100, after=page["next"]).body
    assert [m["content"] for m in rest["data"]] == [str(i) for i in range(50, 130)] and "next" not in rest


def test_sessions_are_found_by_words(seed, user):
    for name in ("Garden plans", "Garden tools", "Taxes"):
        seed.post("/api/sessions", {"user_id": user, "session": {"user_id": user, "name": name, "flow_config": two()}})
    found = {words: [s["name"] for s in seed.get("/api/sessions", user_id=user, search=words).body["data"]]
             for words in ("garden", "plans garden", "tax", "nothing", "")}
    assert found == {"garden": ["Garden plans", "Garden tools"], "plans garden": ["Garden plans"], "tax": ["Taxes"], "nothing": [],
                     "": ["Garden plans", "Garden tools", "Taxes"]}


def test_what_was_said_is_found(seed, user):
    """In messages and, with the session's name, in sessions."""
    seed.post("/api/sessions", {"user_id": user, "session": {"user_id": user, "session_id": "h" + user, "name": "Holiday", "flow_config": two()}})
    send(seed, user, two("Take the night train to Zürich. TERMINATE"), "How do I travel?", session_id="h" + user)
    found = wait_until(lambda: seed.get("/api/search", q='"night train" zurich', user=user).body["hits"], 20 * slow(), "the index")
    assert [(hit["role"], hit["session_id"], hit["session_name"]) for hit in found] == [("assistant", "h" + user, "Holiday")]
    [first, n] = found[0]["marks"][0]
    assert found[0]["snippet"][first:first + n] == "night train"
    sessions = seed.get("/api/sessions", user_id=user, search="holiday train trav*").body["data"]
    assert [s["session_id"] for s in sessions] == ["h" + user]
    assert seed.get("/api/sessions", user_id=user, search="holiday bus").body["data"] == []
    for i in range(3):
        send(seed, user, two("A train again. TERMINATE"), f"train {i}", session_id=f"t{i}{user}")
    wait_until(lambda: len(seed.get("/api/search", q="train", user=user).body["hits"]) == 7, 20 * slow(), "the index")
    page = seed.get("/api/sessions", user_id=user, search="train", limit=3).body
    assert len(page["data"]) == 3
    rest = seed.get("/api/sessions", user_id=user, search="train", limit=3, after=page["next"]).body
    assert len({s["session_id"] for s in page["data"] + rest["data"]}) == 4
    assert len(seed.get("/api/sessions", user_id=user, search="train").body["data"]) == 4
    assert seed.get("/api/search", q="train", session="h" + user, user=user).body["hits"][0]["session_id"] == "h" + user
    assert seed.get("/api/search", q="train", user="nobody" + user).body["hits"] == []
    assert seed.get("/api/search", q="...", user=user).status == 400 and seed.get("/api/search", user=user).status == 400
    assert seed.get("/api/search", q="x", session="none", user=user).status == 404
    refused = seed.get("/api/sessions", user_id=user, search="...")
    assert refused.status == 200 and refused.body["status"] is False and "no word" in refused.body["message"]


# -- keys, pages ------------------------------------------------------------------------------------------------------


def test_a_key_in_a_body_works_and_is_nowhere_afterwards(seed, user, model):
    key = "sk-seed-" + secrets.token_hex(16)
    model.behave(text="with key. TERMINATE")
    flow = two()
    flow["receiver"]["config"]["llm_config"]["config_list"] = [{"model": model.name, "base_url": model.url, "api_key": key}]
    body = send(seed, user, flow, session_id="k" + user)
    assert body["status"] is True
    assert key in str(model.calls()[-1]) or model.calls()[-1]["authorization"]
    made = seed.post("/api/sessions", {"user_id": user, "session": {"user_id": user, "flow_config": flow}})
    seen = [made.text, str(body), seed.get("/api/sessions", user_id=user).text,
            seed.post("/api/sessions/publish", {"user_id": user, "session": {"user_id": user, "session_id": "k" + user, "flow_config": flow}}).text]
    assert made.body["status"] is True and not any(key in text for text in seen)
    faulty = dict(flow, type="nonsense")
    assert key not in seed.post("/api/messages", {"message": message(user), "flow_config": faulty}).text
    assert not seed.service.files_holding(key), seed.service.files_holding(key)


def test_allowed_origins_get_cors_headers_and_others_nothing(seed):
    headers = {"Origin": "http://localhost:8000"}
    answer = seed.get("/api/sessions", headers=headers)
    assert answer.status == 200 and answer.headers["Access-Control-Allow-Origin"] == "http://localhost:8000"
    preflight = seed.request("OPTIONS", "/api/messages", headers={
        **headers, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"})
    assert preflight.status == 204 and "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "content-type" in preflight.headers["Access-Control-Allow-Headers"].lower()
    for origin in ("http://evil.example", "http://localhost:8000.evil.example", "null", "http://127.0.0.1"):
        answer = seed.get("/api/sessions", headers={"Origin": origin})
        assert answer.status == 403 and "Access-Control-Allow-Origin" not in answer.headers


def test_a_client_that_hangs_up_does_not_stop_the_chat(seed, user):
    flow = two()
    flow["receiver"]["config"]["llm_config"]["config_list"] = [flows.script(["late. TERMINATE"], delay_ms=500)]
    body = json.dumps({"message": message(user, session_id="h" + user), "flow_config": flow}).encode()
    with seed.raw(b"POST /api/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body):
        wait_until(lambda: seed.get("/api/messages", user_id=user, session_id="h" + user).body["data"])
    wait_until(lambda: len(seed.get("/api/messages", user_id=user, session_id="h" + user).body["data"]) == 2)
