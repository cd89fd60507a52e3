"""Every route of /openapi.json, which is made from the gateway's own table, answers as it says there: to good, faulty,
oversized and foreign requests. A new route is tested by being there; EXAMPLES has what cannot be guessed."""

import json
import re
import urllib.parse

import jsonschema
import pytest
from every_route import EXAMPLES, QUERIES, fill, make_things
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


@pytest.fixture(scope="module")
def samples(gateway, routes, things):
    """(method, path) → (where, body) of a good request. It is not sent: tests spoil it in one place each."""
    made = {}
    for method, path, operation in routes:
        body = EXAMPLES[method, path](gateway, things)[1] if (method, path) in EXAMPLES else None
        made[method, path] = fill(path, things), body
    return made


def documented(operation):
    return {int(status) for status in operation["responses"]}


def is_seed(operation):
    return "422" in operation["responses"] or "Seed" in json.dumps(operation["responses"])


def strict(schema):
    """The same schema, under which there are no members that it does not name."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def check_documented(document, operation, answer):
    """The answer is one of those that the route's row tells of: its status, its type, its shape."""
    assert answer.status in documented(operation), (answer, sorted(documented(operation)))
    content = operation["responses"][str(answer.status)].get("content", {})
    kind = (answer.headers.get("Content-Type") or "").split(";")[0]
    assert kind in content or "*/*" in content or (not content and not answer.text), (kind, content, answer)
    if kind == "application/json" and kind in content:
        schema = {**strict(content[kind]["schema"]), "components": strict(document["components"])}
        jsonschema.Draft202012Validator(schema).validate(answer.body)


def check_error(document, answer, status, operation):
    assert answer.status == status, answer
    check_documented(document, operation, answer)
    if status != 422:
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


def test_every_member_of_every_answer_is_described(document, routes):
    for method, path, operation in routes:
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values():
                for name, member in content["schema"].get("properties", {}).items():
                    assert {"type", "$ref"} & set(member), f"{method} {path} {status}: what is {name}? A row of `holders` in openapi.c says it"


def find_refs(tree):
    if isinstance(tree, dict):
        return [v for k, v in tree.items() if k == "$ref"] + [r for v in tree.values() for r in find_refs(v)]
    return [r for v in tree for r in find_refs(v)] if isinstance(tree, list) else []


# -- every route ------------------------------------------------------------------------------------------------------


def whose(operation, things):
    """Whom a request is for, where its query can say so."""
    named = any(p["name"] == "user" for p in operation.get("parameters", []))
    return things["user"] if named and not is_seed(operation) else None


def test_good_requests_get_the_documented_answer(gateway, document, routes, things):
    for method, path, operation in routes:
        guess = lambda g, t: ({}, None, 200)
        assert (method, path) in EXAMPLES or (method == "GET" and "requestBody" not in operation), f"{method} {path}: EXAMPLES lacks it"
        values, body, expected = EXAMPLES.get((method, path), guess)(gateway, things)
        where = fill(path, things, values) + QUERIES.get(path, "")
        user = whose(operation, things)
        if "text/event-stream" in operation["responses"]["200"]["content"] if "200" in operation["responses"] else False:
            with gateway.stream(where, user=user) as stream:
                assert stream.status == 200 and next(iter(stream)).data, where
                assert stream.response.headers["Content-Type"] == "text/event-stream"
            continue
        answer = gateway.request(method, where, body, user=user)
        assert answer.status == expected, (method, where, answer)
        assert 200 <= expected < 300, "a good request succeeds"
        check_documented(document, operation, answer)


# -- faulty ones: each argument, spoiled in each way that its row forbids ----------------------------------------------


def spoil(schema):
    """Values that this schema forbids."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds:
        wrong = {"string": "x", "integer": 1, "boolean": True, "object": {"x": 1}, "array": [1]}
        yield from (value for kind, value in wrong.items() if kind not in kinds)
    if "integer" in kinds:
        yield from (1.5, "1", 1 << 70)
        if "minimum" in schema:
            yield schema["minimum"] - 1
        if "maximum" in schema:
            yield schema["maximum"] + 1
    if "maxLength" in schema and schema["maxLength"] < 1 << 20:
        yield "x" * (schema["maxLength"] + 1)
    if schema.get("format") == "uuid":
        yield from ("", "x", "0" * 36, "01a203a0-f703-72ac-a3e8-e1b5b83cb55")
    if schema.get("items", {}).get("type") == "string" and "array" in kinds:
        yield [1]


def in_a_query(value):
    return value if isinstance(value, str) else json.dumps(value)


def faulty_parameters(operation, method, where, path, things):
    """(where, what is wrong) of requests with one faulty argument in the path or the query."""
    for parameter in operation.get("parameters", []):
        name, schema = parameter["name"], parameter["schema"]
        bad = [value for value in spoil(schema) if isinstance(value, str) or schema.get("type") in ("integer", "boolean")]
        if schema.get("type") == "array":
            continue  # a text is one of one element there
        bad = [value for value in bad if not (schema.get("type") == "boolean" and in_a_query(value) in ("1", "true"))
               and not (schema.get("type") == "integer" and in_a_query(value) == "1")]
        for value in bad:
            text = urllib.parse.quote(in_a_query(value), safe="")
            if parameter["in"] == "query":
                yield f"{where}?{name}={text}", (name, value)
            elif text:
                yield fill(path, things, {name: text}), (name, value)
        for text in ("%ff", "%zz", "a%00b", "%0d%0a"):
            if parameter["in"] == "query":
                yield f"{where}?{name}={text}", (name, text)
            else:
                yield fill(path, things, {name: text}), (name, text)
        if parameter["in"] == "query":
            yield f"{where}?{name}=1&{name}=1", (name, "twice")


def test_faulty_parameters_are_refused_as_documented(gateway, document, routes, things, samples):
    tried = 0
    for method, path, operation in routes:
        where, body = samples[method, path]
        if not is_seed(operation) and not path.startswith("/v1/"):
            check_error(document, gateway.request(method, where, body, nonsense=1), 400, operation)
        for spoiled, what in faulty_parameters(operation, method, where, path, things):
            answer = gateway.request(method, spoiled, body)
            assert answer.status == 400, (method, spoiled, what, answer)
            check_error(document, answer, 400, operation)
            tried += 1
    assert tried > 200


def resolved(document, schema):
    if schema is True:
        return {}
    return document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def faulty_bodies(document, schema, sample, path=()):
    """(body, what is wrong): the sample without a required member, or with a spoiled one, at any depth that is described."""
    schema = resolved(document, schema)
    for name in schema.get("required", []):
        if name in sample:
            yield {key: value for key, value in sample.items() if key != name}, (*path, name, "missing")
            if schema.get("properties", {}).get(name, {}).get("type"):
                yield {**sample, name: None}, (*path, name, None)
    for name, member in schema.get("properties", {}).items():
        member = resolved(document, member)
        for value in spoil(member):
            yield {**sample, name: value}, (*path, name, value)
        if isinstance(sample.get(name), dict) and "properties" in member:
            for inner, what in faulty_bodies(document, member, sample[name], (*path, name)):
                yield {**sample, name: inner}, what


def test_faulty_bodies_are_refused_as_documented(gateway, document, routes, things, samples):
    tried = 0
    for method, path, operation in routes:
        if "requestBody" not in operation:
            continue
        where, sample = samples[method, path]
        sample = sample or {}
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        wrong = 422 if is_seed(operation) else 400
        for data in (b"{", b"[1]", b'{"a":1,"a":2}', b'"x"', b"\xff", b"1", b"null", b"{}x", b'{"a":"\\ud800"}', b"[" * 100000):
            check_error(document, gateway.request(method, where, data, {"Content-Type": "application/json"}), wrong, operation)
        for body, what in faulty_bodies(document, schema, sample):
            if wrong == 422 and what[-1] == 1 and what[-1] is not True:
                continue  # the seed's framework takes a number for a text
            answer = gateway.request(method, where, body, user=whose(operation, things))
            assert answer.status == wrong, (method, where, what, answer)
            check_error(document, answer, wrong, operation)
            tried += 1
        if wrong == 400 and not path.startswith("/v1/"):
            check_error(document, gateway.request(method, where, {**sample, "no such field": 1}), 400, operation)
        if wrong == 400:
            for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
                check_error(document, gateway.request(method, where, b"a=b", {"Content-Type": kind}), 415, operation)
    assert tried > 150


def test_a_body_where_none_is_taken_is_refused(gateway, document, routes, samples):
    for method, path, operation in routes:
        if "requestBody" not in operation and method != "GET" and not path.startswith("/v1/"):
            check_error(document, gateway.request(method, samples[method, path][0], {"a": 1}), 400, operation)


def raw_status(gateway, data):
    with gateway.raw(data) as one:
        head = one.recv(4096)
    assert head.startswith(b"HTTP/1.1 "), head
    return int(head[9:12])


def test_oversized_requests_are_refused(gateway, routes, samples):
    """Body, header, path, query: all routes alike, before anything is looked up."""
    for method, path, operation in routes:
        where = samples[method, path][0]
        start, end = f"{method} {where}", "Host: localhost\r\nConnection: close\r\n"
        if "requestBody" in operation:
            assert raw_status(gateway, f"{start} HTTP/1.1\r\n{end}Content-Type: application/json\r\n"
                              f"Content-Length: {BODY_MAX + 1}\r\n\r\n".encode()) == 413, path
            assert 413 in documented(operation)
        assert raw_status(gateway, f"{start} HTTP/1.1\r\n{end}X-Long: {'x' * 20000}\r\n\r\n".encode()) == 431, path
        assert raw_status(gateway, f"{start}?x={'x' * 20000} HTTP/1.1\r\n{end}\r\n".encode()) in (414, 431), path
        assert raw_status(gateway, f"{start}/{'x' * 20000} HTTP/1.1\r\n{end}\r\n".encode()) in (414, 431), path
        assert raw_status(gateway, f"{start}/{'x' * 5000} HTTP/1.1\r\n{end}\r\n".encode()) in (400, 404, 405), path


def test_a_chunked_body_is_bounded_too(gateway):
    with gateway.raw(b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n") as one:
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        for _ in range(9):
            one.sendall(chunk)
        one.sendall(b"0\r\n\r\n")
        assert one.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_strangers_are_refused_everywhere(gateway, document, routes, things):
    """A page of another origin, and a name that an attacker has pointed to 127.0.0.1."""
    for method, path, operation in routes:
        where = fill(path, things)
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"},
                        {"Host": f"evil.example:{gateway.port}"}, {"Host": "127.0.0.1.evil.example"},
                        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
                        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
                        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}):
            answer = gateway.request(method, where, headers=headers)
            check_error(document, answer, 403, operation)
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
