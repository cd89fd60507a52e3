"""Who may do what through the gateway: tokens, their scopes, their ends; and what a token's user does not see. The tests of
every route come from the gateway's own table: a new route is covered by being there."""

import itertools
import json
import time

import cli
import flows
import pytest
from every_route import EXAMPLES, QUERIES, fill, make_things, with_file
from http_client import Gateway
from service import slow, wait_until

SECRET = "the-fox-sleeps-at-noon"


@pytest.fixture(scope="module")
def gateway(shared):
    create(shared, "nobody")
    one = Gateway(shared, "gateway8", flags=["--http-auth", "tokens", "--http-token-rate", "0"])
    yield one
    shared.processes.pop(one.name).terminate()


def create(service, user, *more):
    made = cli.run("tokens", "create", "--json", "--user", user, *more, home=service.dir)
    assert made.code == 0, made
    return made.json()


def revoke(service, made):
    assert cli.run("tokens", "revoke", made["id"], home=service.dir).code == 0


@pytest.fixture(scope="module")
def ann(shared, gateway):
    return gateway.bearing(create(shared, "ann")["token"])


@pytest.fixture(scope="module")
def eve(shared, gateway):
    return gateway.bearing(create(shared, "eve")["token"])


@pytest.fixture(scope="module")
def routes(gateway):
    document = gateway.get("/openapi.json").body
    return [(method.upper(), path, operation) for path, methods in document["paths"].items()
            for method, operation in methods.items()]


def guarded(routes):
    return [(method, path, operation) for method, path, operation in routes if operation["x-scope"] != "none"]


def run(gateway, text, workflow=None, **more):
    answer = gateway.post("/api/jobs", {"workflow": workflow or flows.script_chat([SECRET]), "text": text, "wait_ms": 20000, **more})
    assert answer.status == 200, answer
    return answer.body


@pytest.fixture(scope="module")
def things(ann):
    """All of ann's; nothing with SECRET in it is published."""
    things = make_things(ann, "ann", text="for everybody")
    secret = run(ann, SECRET)
    waiting = run(ann, SECRET, flows.chat(flows.script([SECRET]), user={"human_input_mode": "ALWAYS"}, replies=5))
    assert waiting["state"] == "waiting"
    [message] = ann.get(f"/api/sessions/{waiting['session']}/messages").body["messages"]
    assert ann.request("PUT", "/api/workflows/stored", {"workflow": flows.script_chat([SECRET])}).status == 200
    assert ann.request("PUT", "/api/skills/stored", {"content": f"#!/bin/sh\necho {SECRET}\n", "title": SECRET}).status == 200
    kept = ann.post("/v1/responses", {"model": "stored", "input": SECRET}).body["id"]
    return {**things, "response": kept, "session": secret["session"], "done": waiting["job"], "msg_id": message["msg_id"], "ended": secret["job"]}


def play(gateway, method, path, body=None, **query):
    """(status, what came back); of a stream what it has to say."""
    if method == "GET" and path.endswith("/events"):
        with gateway.stream(path, **query) as stream:
            text = "" if stream.status == 200 else stream.response.read().decode()
            if stream.status == 200:
                text = json.dumps(next(iter(stream)).data)
            return stream.status, text
    answer = gateway.request(method, path, body, **query)
    return answer.status, answer.text


# -- tokens -----------------------------------------------------------------------------------------------------------


def test_nothing_is_answered_without_a_token(gateway, routes, things):
    for method, path, operation in guarded(routes):
        answer = gateway.request(method, fill(path, things))
        assert answer.status == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer "), (method, path, answer)
        assert answer.body["error"]["code"] == "unauthorized" and "401" in operation["responses"]
    assert gateway.get("/healthz").status == 200 and gateway.get("/readyz").status == 200


def addresses():
    """Another one each time, as a proxy on this machine tells them: wrong tokens of one address are slowed."""
    return ({"X-Forwarded-For": f"198.51.{n >> 8 & 255}.{n & 255}"} for n in itertools.count())


def test_no_route_takes_a_token_that_is_not_valid(shared, gateway, routes, things):
    made = {kind: create(shared, "ann", "--scope", "admin", *more) for kind, more in
            {"revoked": (), "expired": ("--expires", "1s")}.items()}
    revoke(shared, made["revoked"])
    tokens = {"unknown": "abt_" + "Z" * 43, "malformed": "abt_", "another program's": "sk-1234",
              **{kind: token["token"] for kind, token in made.items()}}
    seen = addresses()
    wait_until(lambda: gateway.bearing(tokens["expired"]).get("/api/jobs", headers=next(seen)).status == 401, 4 * slow())
    for method, path, operation in guarded(routes):
        for kind, token in tokens.items():
            answer = gateway.bearing(token).request(method, fill(path, things), headers=next(seen))
            assert answer.status == 401 and "401" in operation["responses"], (method, path, kind, answer)
            assert answer.body["error"]["code"] == "unauthorized" and SECRET not in answer.text


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer x", "Basic eDp5", "abt_" + "A" * 43, "Bearer abt_" + "A" * 43,
                                   "Bearer abt_" + "A" * 42 + "!"])
def test_what_is_no_token_of_ours_is_refused(gateway, value):
    wait_until(lambda: gateway.get("/api/jobs", headers={"Authorization": value}).status == 401)


def test_scopes_hold(shared, gateway, routes, things):
    having = {scope: gateway.bearing(create(shared, "sam", "--scope", scope)["token"]) for scope in ("read", "write", "admin")}
    order = ["read", "write", "admin"]
    for method, path, operation in guarded(routes):
        for scope in order[:order.index(operation["x-scope"])]:
            answer = having[scope].request(method, fill(path, things))
            assert answer.status == 403 and operation["x-scope"] in answer.body["error"]["message"], (method, path, scope)
    assert having["read"].get("/api/jobs").status == 200
    assert having["admin"].get("/api/jobs").status == 200 and run(having["admin"], "x")["state"] == "succeeded"


def test_a_token_is_shown_once_and_kept_nowhere(shared, gateway):
    made = create(shared, "ann", "--name", "laptop", "--expires", "30d")
    assert gateway.bearing(made["token"]).get("/api/jobs").status == 200
    listed = cli.run("tokens", "list", "--user", "ann", home=shared.dir)
    assert made["id"] in listed.out and "laptop" in listed.out and made["token"] not in listed.out + listed.err
    assert not shared.files_holding(made["token"]) and not shared.files_holding(made["token"][4:])


def test_the_last_use_is_noted(shared, gateway):
    made = create(shared, "ida")
    assert "used_ms" not in made
    assert gateway.bearing(made["token"]).get("/api/jobs").status == 200
    wait_until(lambda: cli.run("tokens", "--json", "--user", "ida", home=shared.dir).lines()[0].get("used_ms"))


def test_a_revoked_token_stops_and_its_streams_end(shared, gateway):
    made = create(shared, "rob")
    rob = gateway.bearing(made["token"])
    job = run(rob, "x", flows.chat(flows.script(["a"]), user={"human_input_mode": "ALWAYS"}, replies=5))["job"]
    with rob.stream(f"/api/jobs/{job}/events", timeout=20) as stream:
        assert stream.status == 200 and next(iter(stream)).data
        revoke(shared, made)
        began = time.monotonic()
        wait_until(lambda: rob.get("/api/jobs").status == 401)
        assert time.monotonic() - began < 1.6 * slow()
        list(stream)  # to its end
        assert time.monotonic() - began < 4 * slow()
    assert rob.get("/api/jobs").status == 401


def test_an_expired_token_stops(shared, gateway):
    one = gateway.bearing(create(shared, "ann", "--expires", "2s")["token"])
    assert one.get("/api/jobs").status == 200
    wait_until(lambda: one.get("/api/jobs").status == 401, 4 * slow())


def test_without_storage_nobody_new_comes_in(make_service):
    service = make_service(workers=0)
    known, new = create(service, "ann")["token"], create(service, "ann")["token"]
    gateway = Gateway(service, flags=["--http-auth", "tokens"])
    assert gateway.bearing(known).get("/api/jobs").status == 200
    service.kill("storage")
    wait_until(lambda: gateway.bearing(new).get("/api/jobs").status in (503, 504), 20 * slow())
    service.start("storage")
    wait_until(lambda: gateway.bearing(new).get("/api/jobs").status == 200, 20 * slow())


# -- one's own only ---------------------------------------------------------------------------------------------------


def everything(ann, things):
    """What ann has, as far as others must not change it."""
    paths = ["/api/jobs?limit=1000", "/api/sessions", f"/api/jobs/{things['done']}", f"/api/jobs/{things['done']}/journal",
             f"/api/jobs/{things['ended']}/journal", f"/api/sessions/{things['session']}/messages", "/api/workflows",
             "/api/skills", "/api/skills/stored", f"/api/gallery/{things['gallery']}"]
    return {path: ann.get(path).body for path in paths}


# Published is what everybody may see.
PUBLIC = {("GET", "/api/gallery"), ("GET", "/api/gallery/{gallery}"), ("POST", "/api/gallery/{gallery}/session")}


def test_another_users_things_are_not_there(ann, eve, routes, things):
    """By id, in lists, as a stream, and to change: without naming anybody, and naming their owner."""
    own = make_things(eve, "eve")
    example = lambda g, t: ({}, None, 200)
    asked = [(method, path, operation, EXAMPLES.get((method, path), example)(eve, own)[1])
             for method, path, operation in guarded(routes)]
    with ann.stream(f"/api/jobs/{things['done']}/events") as watched:
        assert next(iter(watched)).data, "the job is being followed by its owner meanwhile"
        before = everything(ann, things)
        for method, path, operation, body in asked:
            where = fill(path, things) + QUERIES.get(path, "")
            status, text = play(eve, method, where, body)
            assert SECRET not in text or (SECRET in json.dumps(body)), (method, where, text)
            by_id = "{" in path and (method, path) not in PUBLIC
            if by_id and status < 300:
                assert "ann" not in text and things["ended"] not in text, (method, where, text)
            names = {p["name"] for p in operation.get("parameters", [])} & {"user", "user_id"}
            for name in names:
                status, text = play(eve, method, where, body, **{name: "ann"})
                assert status == 403 and SECRET not in text, (method, where, text)
        assert everything(ann, things) == before


def test_the_owner_in_a_body_is_no_way_in(shared, gateway, ann, routes, things):
    kim = gateway.bearing(create(shared, "kim")["token"])
    bodies = [(method, path, EXAMPLES.get((method, path), lambda g, t: ({}, None, 200))(ann, things)[1])
              for method, path, _ in guarded(routes)]
    bodies = [(method, path, body) for method, path, body in bodies
              if body and "gallery" not in body and '"user_id": "ann"' in json.dumps(body)]
    assert len(bodies) >= 5
    before = everything(ann, things)
    for method, path, body in bodies:
        answer = kim.request(method, fill(path, things), body)
        assert answer.status == 403, (method, path, answer)
    body = {"user_id": "kim", "session": {"user_id": "ann", "session_id": things["session"]}}
    assert kim.post("/api/sessions/publish", body).status == 403
    body["session"]["user_id"] = "kim"
    assert kim.post("/api/sessions/publish", body).body["status"] is False, "kim has no such session"
    assert everything(ann, things) == before


def test_figures_of_the_whole_service_are_its_administrators(shared, gateway, ann, eve):
    admin = gateway.bearing(create(shared, "root", "--scope", "admin")["token"])
    for path in ("/metrics", "/api/status", "/api/workers", "/api/storage"):
        assert eve.get(path).status == 403 and admin.get(path).status == 200, path
    assert "workers" not in gateway.get("/readyz").body
    assert all(row.get("of") == "eve" for row in eve.get("/api/queues").body["queues"]), "a pool has others' jobs too"
    assert any("of" not in row for row in admin.get("/api/queues").body["queues"])
    with eve.stream("/api/events") as events, admin.stream("/api/events") as all_events:
        job = run(eve, "shown")["job"]
        seen = next(event for event in events if event.data.get("id") == job or event.name == "status")
        assert seen.name == "job"
        assert next(event for event in all_events if event.name == "status").data["workers"]


@pytest.mark.parametrize("method, path", [("GET", "/api/jobs/{job}"), ("GET", "/api/jobs/{job}/events"), ("POST", "/api/jobs/{job}/fork"),
                                          ("GET", "/api/jobs/{job}/journal"), ("POST", "/api/jobs/{job}/cancel"),
                                          ("POST", "/api/jobs/{job}/pause"), ("POST", "/api/jobs/{job}/resume"),
                                          ("POST", "/api/jobs/{job}/retry"), ("PATCH", "/api/sessions/{session}"),
                                          ("GET", "/api/sessions/{session}"), ("DELETE", "/api/sessions/{session}"),
                                          ("GET", "/api/sessions/{session}/export"), ("POST", "/api/sessions/{session}/clear"),
                                          ("POST", "/api/sessions/{session}/publish"), ("GET", "/api/workflows/{name}"), ("GET", "/api/skills/{name}"),
                                          ("DELETE", "/api/messages/{msg_id}")])
def test_anothers_is_404_as_if_it_were_not_there(shared, gateway, things, method, path):
    zoe = gateway.bearing(create(shared, "zoe")["token"])
    body = {"name": "mine"} if method == "PATCH" else {} if method == "POST" and not path.endswith("/clear") else None
    status, text = play(zoe, method, fill(path, things), body)
    assert status == 404 and SECRET not in text, text


def test_anothers_files_are_not_there(ann, eve):
    job = with_file(ann, {"user": None})
    assert ann.get(f"/api/jobs/{job}/files/a%2Fb").status == 200 and ann.get(f"/api/jobs/{job}/files").status == 200
    for path in (f"/api/jobs/{job}/files/a%2Fb", f"/api/jobs/{job}/files"):
        assert eve.get(path).status == 404 and eve.get(path, user="ann").status == 403


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_published_items_are_changed_by_their_publisher_only(eve, ann, things, method):
    answer = eve.request(method, f"/api/gallery/{things['gallery']}", {"name": "mine"} if method == "PATCH" else None)
    assert answer.status in (403, 404)
    assert ann.get(f"/api/gallery/{things['gallery']}").status == 200


def test_what_is_made_belongs_to_the_tokens_user(eve, things):
    assert run(eve, "mine")["job"] in [job["id"] for job in eve.get("/api/jobs").body["jobs"]]
    item = {**things["item"], "id": "taken-over"}
    assert eve.post("/api/gallery/import", {"gallery": item}).status == 403, "it says that ann has published it"
    assert eve.post("/api/gallery/import", {"gallery": {**item, "user_id": "eve"}}).body["gallery"]["user_id"] == "eve"


# -- one token for many users -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(shared, gateway):
    """A program that has users of its own."""
    return gateway.bearing(create(shared, "*", "--scope", "write")["token"])


def as_user(user):
    return {"X-Autobots-User": user}


def test_a_token_for_all_acts_for_whom_each_request_names(program, ann, things):
    mine = ann.get("/api/jobs").body["jobs"]
    assert program.get("/api/jobs", user="ann").body["jobs"] == mine
    assert program.get("/api/jobs", headers=as_user("ann")).body["jobs"] == mine
    assert program.get(f"/api/jobs/{things['done']}", headers=as_user("ann")).status == 200
    assert program.get(f"/api/jobs/{things['done']}", headers=as_user("eve")).status == 404
    assert things["session"] in program.get("/api/sessions", headers=as_user("ann")).text
    body = {"workflow": flows.script_chat(["a"]), "text": "x", "wait_ms": 20000}
    job = program.post("/api/jobs", body, headers=as_user("uma")).body["job"]
    assert program.get(f"/api/jobs/{job}", user="uma").body["job"]["user"] == "uma"
    seed = {"message": {"user_id": "uma", "role": "user", "content": "hi"}, "flow_config": flows.script_chat(["fine"])}
    assert program.post("/api/messages", seed).body["metadata"]["user_id"] == "uma"
    chat = {"model": "stored", "messages": [{"role": "user", "content": "x"}]}
    assert program.post("/v1/chat/completions", chat, headers=as_user("ann")).status == 200
    assert program.post("/v1/chat/completions", chat, headers=as_user("uma")).status == 404, "uma has no such workflow"


def test_a_token_for_all_must_name_somebody_and_one_only(program, ann, routes, things):
    for method, path, operation in guarded(routes):
        names = {p["name"] for p in operation.get("parameters", [])} & {"user", "user_id"}
        if names and operation["x-scope"] != "admin":
            body = EXAMPLES[method, path](ann, things)[1] if (method, path) in EXAMPLES else None
            query = {p["name"]: "x" for p in operation["parameters"] if p["in"] == "query" and p["required"]}
            answer = program.request(method, fill(path, things), body, **query)
            assert answer.status == 400 and SECRET not in answer.text, (method, path, answer)
            for name in names:
                answer = program.request(method, fill(path, things), body, headers=as_user("eve"), **query, **{name: "ann"})
                assert answer.status == 403, (method, path, answer)
    seed = {"message": {"user_id": "ann", "role": "user", "content": "hi"}, "flow_config": flows.script_chat(["fine"])}
    assert program.post("/api/messages", seed, headers=as_user("eve")).status == 403
    for bad in ("*", "x" * 129, "\xff"):
        assert program.get("/api/jobs", headers=as_user(bad)).status == 400
    assert program.get("/api/jobs", user="*").status == 400


def test_its_scope_holds_and_others_do_not_get_its_rights(program, eve):
    assert program.get("/metrics").status == 403 and program.get("/api/prices", user="ann").status == 200
    assert eve.get("/api/jobs", headers=as_user("ann")).status == 403, "an ordinary token names its own user only"
    assert eve.get("/api/jobs", headers=as_user("eve")).status == 200


# -- limits -----------------------------------------------------------------------------------------------------------


def test_a_token_has_its_rate(shared):
    token = create(shared, "max")["token"]
    gateway = Gateway(shared, "gateway9", flags=["--http-auth", "tokens", "--http-token-rate", "5"])
    answers = [gateway.bearing(token).get("/api/jobs") for _ in range(12)]
    late = [answer for answer in answers if answer.status == 429]
    assert answers[0].status == 200 and late and int(late[0].headers["Retry-After"]) >= 1
    assert late[0].body["error"]["retry_after_ms"] > 0
    other = create(shared, "may")["token"]
    assert gateway.bearing(other).get("/api/jobs").status == 200, "the others have their own"
    shared.processes.pop(gateway.name).terminate()


def test_guessing_is_slowed_and_hurts_nobody_else(shared, gateway, ann):
    assert ann.get("/api/jobs").status == 200
    statuses = [gateway.bearing(f"abt_{i:043d}").get("/api/jobs").status for i in range(40)]
    assert statuses[0] in (401, 429) and set(statuses) == {401, 429}
    statuses = [gateway.bearing("sk-of-another-program").get("/api/jobs").status for _ in range(20)]
    assert set(statuses) <= {401, 429} and statuses.count(429) > 10, "malformed ones are wrong ones"
    behind = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
    wrong = gateway.bearing("abt_" + "B" * 43)
    assert wrong.get("/api/jobs", headers=behind).status == 401, "another address, behind a proxy on this machine"
    assert ann.get("/api/jobs").status == 200, "who is known goes on"


# -- addresses --------------------------------------------------------------------------------------------------------


def test_behind_a_proxy_any_name_is_served(ann, gateway):
    assert ann.get("/api/jobs", headers={"Host": "agents.example.com"}).status == 200
    page = {"Host": "agents.example.com", "Origin": "https://agents.example.com"}
    assert ann.get("/api/jobs", headers=page).headers["Access-Control-Allow-Origin"] == page["Origin"]
    foreign = ann.get("/api/jobs", headers={"Host": "agents.example.com", "Origin": "https://evil.example"})
    assert foreign.status == 403 and "Access-Control-Allow-Origin" not in foreign.headers
    preflight = gateway.request("OPTIONS", "/api/jobs", headers={**page, "Access-Control-Request-Method": "POST",
                                                                 "Access-Control-Request-Headers": "authorization"})
    assert preflight.status == 204 and "authorization" in preflight.headers["Access-Control-Allow-Headers"].lower()


def test_without_required_tokens_one_that_is_sent_counts_all_the_same(shared, things):
    gateway = Gateway(shared, "gateway10")
    eve = create(shared, "eve")
    assert gateway.bearing(eve["token"]).get(f"/api/jobs/{things['done']}", user="ann").status == 403
    assert gateway.bearing(eve["token"]).get(f"/api/jobs/{things['done']}").status == 404
    assert gateway.bearing("abt_" + "C" * 43).get("/api/jobs").status == 401
    assert gateway.bearing("sk-of-somebody-else").get("/api/jobs", user="ann").status == 200
    shared.processes.pop(gateway.name).terminate()


def test_an_address_that_others_reach_is_served_with_tokens_only(make_service):
    service = make_service(workers=0)
    refused = service.start("gateway1", flags=["--http", "0.0.0.0:0"])
    assert service.wait_dead("gateway1") == 100 and "autobots tokens create" in refused.log()
    token = create(service, "ann")["token"]
    gateway = Gateway(service, "gateway2", flags=["--http", "0.0.0.0:0"])
    assert gateway.get("/api/jobs").status == 401
    assert gateway.bearing(token).get("/api/jobs", headers={"Host": "box.example"}).status == 200
