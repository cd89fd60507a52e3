"""/v1 as Open WebUI asks it, after its source: models, chats that stream, and its own tasks (a chat's title, its tags), which
are prompts of their own to the same model."""

import json

import flows
import pytest
from http_client import Gateway

TASK = """### Task:
Generate a concise, 3-5 word title with an emoji summarizing the chat history.
### Output:
JSON format: { "title": "your concise title here" }
### Chat History:
<chat_history>
USER: Why is the sky blue?
ASSISTANT: Because of scattering.
</chat_history>"""


@pytest.fixture(scope="module")
def gateway(shared):
    one = Gateway(shared, "gateway33")
    yield one
    shared.processes.pop(one.name).terminate()


def headers(user, chat):
    """With ENABLE_FORWARD_USER_INFO_HEADERS; aiohttp's own beside them."""
    return {"Authorization": "Bearer sk-any", "Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "Python/3.11 aiohttp/3.12.15",
            "X-OpenWebUI-User-Name": user, "X-OpenWebUI-User-Id": "7d1f", "X-OpenWebUI-User-Email": f"{user}@example.org",
            "X-OpenWebUI-User-Role": "user", "X-OpenWebUI-Chat-Id": chat}


def chunks(answer):
    lines = [line[len("data: "):] for line in answer.text.split("\n") if line.startswith("data: ")]
    assert answer.headers["Content-Type"].startswith("text/event-stream") and lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def sessions(gateway, user):
    """By the seed's route, which knows a user by its own name."""
    return [one["session_id"] for one in gateway.get("/api/sessions", user_id=user).body["data"]]


def test_it_finds_models_and_chats(gateway, user, model):
    model.behave(text="Because of scattering.")
    assert gateway.request("PUT", "/api/workflows/sky", {"workflow": flows.http_chat(model)}, user=user).status == 200
    listed = gateway.get("/v1/models", user=user, headers=headers(user, "none"))
    assert listed.status == 200 and "sky" in [one["id"] for one in listed.body["data"]]
    body = {"stream": True, "model": "sky", "messages": [{"role": "user", "content": "Why is the sky blue?"}],
            "stream_options": {"include_usage": True}, "params": {}, "tool_ids": None, "features": {"web_search": False}}
    seen = chunks(gateway.post("/v1/chat/completions", body, user=user, headers=headers(user, f"chat-{user}")))
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in seen if one["choices"]) == "Because of scattering."
    assert seen[-1]["usage"]["total_tokens"] > 0 and seen[-1]["choices"] == []
    # The next message: it sends the whole conversation, of which the session here knows what was said.
    body["messages"] += [{"role": "assistant", "content": "Because of scattering."}, {"role": "user", "content": "And at dusk?"}]
    assert chunks(gateway.post("/v1/chat/completions", body, user=user, headers=headers(user, f"chat-{user}")))
    said = [one["content"] for one in model.calls()[-1]["body"]["messages"] if one["role"] != "system"]
    assert said == ["Why is the sky blue?", "Because of scattering.", "And at dusk?"]


def test_its_own_tasks_are_answered_at_once_and_leave_no_session(gateway, user, model):
    model.behave(text='{ "title": "Blue sky" }')
    assert gateway.request("PUT", "/api/workflows/sky", {"workflow": flows.http_chat(model)}, user=user).status == 200
    for limit in ({"max_completion_tokens": 1000}, {"max_tokens": 1000}):
        task = {"model": "sky", "messages": [{"role": "user", "content": TASK}], "stream": False, **limit}
        answer = gateway.post("/v1/chat/completions", task, user=user, headers={"Authorization": "Bearer sk-any"})
        assert answer.status == 200 and json.loads(answer.body["choices"][0]["message"]["content"]) == {"title": "Blue sky"}
        assert answer.body["choices"][0]["finish_reason"] == "stop" and answer.body["object"] == "chat.completion"
    assert sessions(gateway, user) == []


def test_a_task_about_a_chat_is_no_message_of_it(gateway, user, model):
    model.behave(text="Because.")
    assert gateway.request("PUT", "/api/workflows/sky", {"workflow": flows.http_chat(model)}, user=user).status == 200
    for text in ("Why is the sky blue?", TASK, "And at dusk?"):
        body = {"model": "sky", "messages": [{"role": "user", "content": text}], "stream": False}
        assert gateway.post("/v1/chat/completions", body, user=user, headers=headers(user, f"chat-{user}")).status == 200
    assert sessions(gateway, user) == [f"chat-{user}"]
    said = [one["content"] for one in gateway.get(f"/api/sessions/chat-{user}/messages", user=user).body["messages"]]
    assert said == ["Why is the sky blue?", "Because.", "And at dusk?", "Because."]
