"""Every route of /openapi.json, which is made from the gateway's own table, answers as it says there: to good, faulty,
oversized and foreign requests. A new route is tested by being there; EXAMPLES has what cannot be guessed."""

import json
import re

import jsonschema
import pytest
from every_route import EXAMPLES, fill, make_things
from http_client import Gateway

BODY_MAX = 8 << 20


@pytest.fixture(scope="module")
def gateway(shared):
    one = Gateway(shared, "gateway5")
    yield one
    shared.processes.pop(one.name).terminate()


@pytest.fixture(scope="module")
def document(gateway):
    answer = gateway.get("/openapi.json")
    assert answer.status == 200
    return answer.body


@pytest.fixture(scope="module")
def routes(document):
    return [(method.upper(), path, operation) for path, methods in document["paths"].items()
            for method, operation in methods.items()]


@pytest.fixture(scope="module")
def things(gateway):
    return make_things(gateway, "everyroute")


def documented(operation):
    return {int(status) for status in operation["responses"]}


def is_seed(operation):
    return "422" in operation["responses"] or "Seed" in json.dumps(operation["responses"])


def check_error(answer, status, operation):
    assert answer.status == status, answer
    assert status in documented(operation), (status, sorted(documented(operation)))
    if status == 422:
        assert answer.body["detail"][0]["loc"][0] == "body"
    else:
        error = answer.body["error"]
        assert error["code"] and error["message"] and isinstance(error["retryable"], bool)


# -- the document -----------------------------------------------------------------------------------------------------


def test_the_document_is_openapi(document, routes):
    assert document["openapi"].startswith("3.1.") and document["info"]["title"] and document["info"]["version"]
    schemas = document["components"]["schemas"]
    ids = [operation["operationId"] for _, _, operation in routes]
    assert len(ids) == len(set(ids)) >= 40
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for method, path, operation in routes:
        assert path.startswith("/") and operation["summary"] and operation["responses"]
        assert operation["x-scope"] in ("none", "read", "write", "admin")
        assert ("security" in operation) == (operation["x-scope"] != "none")
        named = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        parameters = operation.get("parameters", [])
        assert {p["name"] for p in parameters if p["in"] == "path"} == named, path
        assert all(p["required"] for p in parameters if p["in"] == "path")
        for p in parameters:
            jsonschema.Draft202012Validator.check_schema(p["schema"])
        for response in operation["responses"].values():
            assert response["description"]
        for ref in find_refs(operation) + find_refs(schemas):
            assert ref.startswith("#/components/schemas/") and ref.rsplit("/", 1)[1] in schemas, ref


def find_refs(tree):
    if isinstance(tree, dict):
        return [v for k, v in tree.items() if k == "$ref"] + [r for v in tree.values() for r in find_refs(v)]
    return [r for v in tree for r in find_refs(v)] if isinstance(tree, list) else []


def schema_of(document, operation, status):
    content = operation["responses"][str(status)].get("content", {})
    schema = content.get("application/json", {}).get("schema")
    return {**schema, "components": document["components"]} if schema else None


# -- every route ------------------------------------------------------------------------------------------------------


def test_good_requests_get_the_documented_answer(gateway, document, routes, things):
    for method, path, operation in routes:
        values, body, expected = EXAMPLES.get((method, path), lambda g, t: ({}, None, 200))(gateway, things)
        where = fill(path, things, values)
        user = None if is_seed(operation) or not any(p["name"] == "user" for p in operation.get("parameters", [])) else things["user"]
        if "text/event-stream" in json.dumps(operation["responses"]):
            with gateway.stream(where, user=user) as stream:
                assert stream.status == 200 and next(iter(stream)).data, where
            continue
        answer = gateway.request(method, where, body, user=user)
        assert answer.status in documented(operation), (method, where, answer)
        assert expected in (None, answer.status), (method, where, answer)
        schema = schema_of(document, operation, answer.status)
        if schema:
            jsonschema.Draft202012Validator(schema).validate(answer.body)


def test_faulty_requests_are_refused_as_documented(gateway, routes, things):
    for method, path, operation in routes:
        where = fill(path, things)
        seed = is_seed(operation)
        parameters = operation.get("parameters", [])
        if not seed and not path.startswith("/v1/"):
            check_error(gateway.request(method, where, nonsense=1), 400, operation)
        for name in {"user", "user_id"} & {p["name"] for p in parameters}:
            check_error(gateway.request(method, f"{where}?{name}=%ff"), 400, operation)
        for parameter in parameters:
            schema = parameter["schema"]
            if parameter["in"] == "query" and "maxLength" in schema:
                bad = "x" * (schema["maxLength"] + 1)
            elif schema.get("type") in ("integer", "boolean"):
                bad = "many"
            else:
                continue
            if parameter["in"] == "query":
                check_error(gateway.request(method, where, **{parameter["name"]: bad}), 400, operation)
        if any(p["in"] == "path" and p["schema"].get("format") == "uuid" for p in parameters):
            check_error(gateway.request(method, fill(path, things, {"job": "no-id"})), 400, operation)
        if "requestBody" in operation:
            for data in (b"{", b"[1]", b'{"a":1,"a":2}', b'"x"', b"\xff"):
                answer = gateway.request(method, where, data, {"Content-Type": "application/json"})
                check_error(answer, 422 if seed else 400, operation)
            if not seed:
                check_error(gateway.request(method, where, {"no such field": 1}), 400, operation)
                check_error(gateway.request(method, where, b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}), 415, operation)
                required = operation["requestBody"]["content"]["application/json"]["schema"].get("required")
                if required:
                    check_error(gateway.request(method, where, {}), 400, operation)


def test_oversized_bodies_are_refused(gateway, routes, things):
    for method, path, operation in routes:
        if "requestBody" not in operation:
            continue
        with gateway.raw(f"{method} {fill(path, things)} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                         f"Content-Length: {BODY_MAX + 1}\r\n\r\n".encode()) as one:
            head = one.recv(4096)
        assert head.startswith(b"HTTP/1.1 413 "), (path, head)
        assert 413 in documented(operation)


def test_a_chunked_body_is_bounded_too(gateway):
    with gateway.raw(b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n") as one:
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        for _ in range(9):
            one.sendall(chunk)
        one.sendall(b"0\r\n\r\n")
        assert one.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_strangers_are_refused_everywhere(gateway, routes, things):
    """A page of another origin, and a name that an attacker has pointed to 127.0.0.1."""
    for method, path, operation in routes:
        where = fill(path, things)
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"},
                        {"Host": f"evil.example:{gateway.port}"}, {"Host": "127.0.0.1.evil.example"},
                        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}):
            answer = gateway.request(method, where, headers=headers)
            check_error(answer, 403, operation)
            assert "Access-Control-Allow-Origin" not in answer.headers


def matches(pattern, path):
    """Also a path that is written out may be one of another pattern: /api/gallery/import of /api/gallery/{gallery}."""
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path)


def test_other_methods_are_405_with_allow_and_options_tells_them(gateway, document, things):
    for path in document["paths"]:
        where = fill(path, things)
        allowed = {method.upper() for pattern, methods in document["paths"].items() if matches(pattern, where) for method in methods}
        allowed |= {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set())
        options = gateway.request("OPTIONS", where)
        assert options.status == 204 and set(options.headers["Allow"].split(", ")) == allowed
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - allowed:
            answer = gateway.request(method, where)
            assert answer.status == 405 and set(answer.headers["Allow"].split(", ")) == allowed
            assert answer.body["error"]["code"] == "method_not_allowed"


def test_head_is_get_without_the_body(gateway, document, things):
    for path in document["paths"]:
        if "get" in document["paths"][path] and not path.endswith("/events"):
            answer, whole = (gateway.request(method, fill(path, things)) for method in ("HEAD", "GET"))
            assert answer.text == "" and answer.status == whole.status, path


@pytest.mark.parametrize("path", ["/nothing", "/api", "/api/", "/api/jobs/", "//api/jobs", "/api/jobs/x/y/z", "/api/../healthz",
                                  "/api/%6aobs", "/API/jobs", "/%2e%2e/etc/passwd", "/api/jobs%00"])
def test_what_is_not_there_is_404(gateway, path):
    with gateway.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()) as one:
        assert one.recv(65536).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("lines", [
    ["Host: localhost", "Host: evil.example"], ["Host: localhost", "Content-Length: 2", "Content-Length: 3"],
    ["Host: localhost", "Content-Length: 2", "Transfer-Encoding: chunked"], ["Host: localhost", "Origin: a", "Origin: b"],
    ["Host: localhost", *[f"X-{i}: 1" for i in range(120)]], ["Host: localhost", "X: " + "x" * 40000],
    ["Host: localhost", "Last-Event-ID: 1\x01"], []], ids=str)
def test_headers_that_are_somebodys_trick_are_refused(gateway, lines):
    with gateway.raw("\r\n".join(["POST /api/jobs HTTP/1.1", "Connection: close", *lines, "", "{}"]).encode()) as one:
        status = one.recv(65536).split(b" ", 2)[1:2]
    assert status in ([b"400"], [b"413"], [b"431"], [b"403"]), status
    assert gateway.get("/healthz").status == 200
