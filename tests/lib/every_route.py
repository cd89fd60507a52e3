"""How each route of /openapi.json is asked: what cannot be guessed from its row. Tests that play every route share it."""

import code

import flows


SKILL = "#!/bin/sh\n# title: Says hello\necho hello\n"


def make_things(gateway, user, text="hello"):
    """What routes can be asked about, by the names of their arguments; all of it is this user's."""
    flow = flows.script_chat(["fine"])

    def run(workflow, **more):
        answer = gateway.post("/api/jobs", {"workflow": workflow, "text": text, "wait_ms": 20000, **more}, user=user)
        assert answer.status == 200, answer
        return answer.body

    done = run(flow)
    failed = run(flows.chat({"model": "script", "api_type": "script", "script": {"replies": [{"error": {"status": 400}}]}}))
    item = gateway.post(f"/api/sessions/{done['session']}/publish", {"tags": ["t"]}, user=user).body["gallery"]
    message = gateway.get(f"/api/sessions/{done['session']}/messages", user=user).body["messages"][0]
    assert gateway.request("PUT", "/api/workflows/stored", {"workflow": flow}, user=user).status == 200
    assert gateway.request("PUT", "/api/skills/stored", {"content": SKILL}, user=user).status == 200
    kept = gateway.post("/v1/responses", {"model": "stored", "input": "x"}, user=user).body["id"]
    return {"response": kept, "user": user, "done": done["job"], "failed": failed["job"], "session": done["session"], "gallery": item["id"],
            "msg_id": message["msg_id"], "item": item, "flow": flow}


def fresh_session(gateway, things):
    return gateway.post("/api/jobs", {"workflow": things["flow"], "text": "x", "wait_ms": 20000}, user=things["user"]).body


def asking(gateway, things):
    flow = flows.chat(flows.script(["a", "b"]), user={"human_input_mode": "ALWAYS"}, replies=5)
    return gateway.post("/api/jobs", {"workflow": flow, "text": "x", "wait_ms": 20000}, user=things["user"]).body["job"]


def with_file(gateway, things):
    """A job that made the file a/b."""
    flow = code.flow(code.block("print(1)", name="a/b"))
    return gateway.post("/api/jobs", {"workflow": flow, "text": "x", "wait_ms": 20000}, user=things["user"]).body["job"]


def response(gateway, things):
    return gateway.post("/v1/responses", {"model": "stored", "input": "x"}, user=things["user"]).body["id"]


def seed_message(user, **more):
    return {"user_id": user, "role": "user", "content": "hi", **more}


# (method, path) → (path values, body, expected status). Each is made when it is played.
EXAMPLES = {
    ("POST", "/api/jobs"): lambda g, t: ({}, {"workflow": "stored", "text": "x"}, 202),
    ("POST", "/api/jobs/{job}/fork"): lambda g, t: ({"job": t["done"]}, {"text": "again"}, 202),
    ("POST", "/api/jobs/{job}/retry"): lambda g, t: ({"job": t["failed"]}, {}, 202),
    ("GET", "/api/jobs/{job}/status"): lambda g, t: ({"job": t["done"]}, None, 200),
    ("POST", "/api/jobs/{job}/cancel"): lambda g, t: ({"job": asking(g, t)}, {"reason": "x"}, 202),
    ("POST", "/api/jobs/{job}/input"): lambda g, t: ({"job": asking(g, t)}, {"text": "exit"}, 202),
    ("POST", "/api/jobs/{job}/budget"): lambda g, t: ({"job": asking(g, t)}, {"limits": "calls=50"}, 202),
    ("POST", "/api/jobs/{job}/pause"): lambda g, t: ({"job": asking(g, t)}, {}, 202),
    ("POST", "/api/jobs/{job}/resume"): lambda g, t: ({"job": asking(g, t)}, {}, 202),
    ("GET", "/api/jobs/{job}/files/{path}"): lambda g, t: ({"job": with_file(g, t), "path": "a%2Fb"}, None, 200),
    ("POST", "/api/queues/{pool}/pause"): lambda g, t: ({}, {"reason": "r"}, 200),
    ("POST", "/api/queues/{pool}/drain"): lambda g, t: ({}, {"reason": "r"}, 200),
    ("POST", "/api/queues/{pool}/resume"): lambda g, t: ({}, {}, 200),
    ("PATCH", "/api/sessions/{session}"): lambda g, t: ({}, {"name": "new", "description": "d"}, 200),
    ("DELETE", "/api/sessions/{session}"): lambda g, t: ({"session": fresh_session(g, t)["session"]}, None, 200),
    ("POST", "/api/sessions/{session}/clear"): lambda g, t: ({"session": fresh_session(g, t)["session"]}, None, 200),
    ("POST", "/api/sessions/{session}/messages"): lambda g, t: ({}, {"role": "user", "content": "noted"}, 200),
    ("POST", "/api/sessions/{session}/publish"): lambda g, t: ({}, {"tags": ["t"]}, 200),
    ("DELETE", "/api/messages/{msg_id}"): lambda g, t: (
        {"msg_id": g.post("/api/sessions/x/messages", {"role": "user", "content": "y"}, user=t["user"]).body["message"]["msg_id"]}, None, 200),
    ("PATCH", "/api/gallery/{gallery}"): lambda g, t: ({}, {"name": "n"}, 200),
    ("DELETE", "/api/gallery/{gallery}"): lambda g, t: (
        {"gallery": g.post(f"/api/sessions/{t['session']}/publish", {}, user=t["user"]).body["gallery"]["id"]}, None, 200),
    ("POST", "/api/gallery/import"): lambda g, t: ({}, {"gallery": {**t["item"], "id": "imported-by-" + t["user"]}}, 200),
    ("POST", "/api/gallery/{gallery}/session"): lambda g, t: ({}, None, 201),
    ("POST", "/api/workflows/validate"): lambda g, t: ({}, {"workflow": t["flow"]}, 200),
    ("PUT", "/api/workflows/{name}"): lambda g, t: ({"name": "another"}, {"workflow": t["flow"]}, 200),
    ("DELETE", "/api/workflows/{name}"): lambda g, t: ({"name": "another"}, None, 200),
    ("POST", "/api/skills"): lambda g, t: ({}, {"title": "Says hello", "content": SKILL}, 200),
    ("PUT", "/api/skills/{name}"): lambda g, t: ({"name": "another"}, {"content": SKILL, "parameters": {"type": "object"}}, 200),
    ("DELETE", "/api/skills/{name}"): lambda g, t: ({"name": "another"}, None, 200),
    ("PUT", "/api/budgets"): lambda g, t: ({}, {"limits": "calls=1000000"}, 200),
    ("PUT", "/api/prices"): lambda g, t: ({}, {"prices": [{"model": "nobodys-*", "input_pico_usd": 1, "output_pico_usd": 2}]}, 200),
    ("DELETE", "/api/prices/{model}"): lambda g, t: (
        {"model": g.request("PUT", "/api/prices", {"prices": [{"model": "one-", "input_pico_usd": 1, "output_pico_usd": 2}]}) and "one-"},
        None, 200),
    ("POST", "/api/messages"): lambda g, t: ({}, {"message": seed_message(t["user"]), "flow_config": t["flow"]}, 200),
    ("POST", "/api/messages/delete"): lambda g, t: ({}, {"user_id": t["user"], "msg_id": "none"}, 200),
    ("POST", "/api/sessions"): lambda g, t: ({}, {"user_id": t["user"], "session": {"user_id": t["user"], "flow_config": t["flow"]}}, 200),
    ("POST", "/api/sessions/publish"): lambda g, t: (
        {}, {"user_id": t["user"], "session": {"user_id": t["user"], "session_id": t["session"]}}, 200),
    ("POST", "/api/cleardb"): lambda g, t: ({}, {"user_id": t["user"], "session_id": "none"}, 200),
    ("POST", "/v1/chat/completions"): lambda g, t: ({}, {"model": "stored", "messages": [{"role": "user", "content": "x"}]}, 200),
    ("POST", "/v1/responses"): lambda g, t: ({}, {"model": "stored", "input": "x"}, 200),
    ("POST", "/v1/responses/{response_id}/cancel"): lambda g, t: ({}, {}, 200),
    ("DELETE", "/v1/responses/{response_id}"): lambda g, t: ({"response_id": response(g, t)}, None, 200),
    ("GET", "/v1/models/{model}"): lambda g, t: ({"model": "stored"}, None, 200),
}
# What must stand in a query: path → what goes behind it.
QUERIES = {"/api/search": "?q=hello"}
VALUES = {"response_id": "response", "job": "done", "session": "session", "gallery": "gallery", "msg_id": "msg_id"}


def fill(path, things, values=None):
    names = {**{name: things[key] for name, key in VALUES.items()}, "name": "stored", "model": "m", "path": "a", "pool": "of-tests", **(values or {})}
    for name, value in names.items():
        path = path.replace("{%s}" % name, value)
    assert "{" not in path, f"EXAMPLES must say what {path} is asked with"
    return path
