"""HTTP as its standards have it (RFC 9110, 9112), and as nobody should send it: targets, pipelining, bodies in pieces, expectations,
and requests damaged at random."""

import json
import re
import signal
import socket
import zlib

import flows
import pytest
from every_route import EXAMPLES, fill, make_things
from http_client import Gateway
from service import slow, wait_until


@pytest.fixture(scope="module")
def gateway(shared):
    one = Gateway(shared, "gateway12", flags=["--http-slow-ms", "1s"])
    yield one
    shared.processes.pop(one.name).terminate()


def answers(data):
    """[(status, headers, body)…] of what came back, each of a known length."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.1 \d{3} .+", lines[0]), lines[0]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        n, status = int(headers.get("content-length", 0)), int(lines[0].split()[1])
        if headers.get("transfer-encoding") == "chunked":
            n = data.index(b"0\r\n\r\n") + 5
        found.append((status, headers, data[:n]))
        data = data[n:]
    return found


def say(gateway, data, piece=None):
    """All that is answered until the gateway hangs up; the last request must ask for that. `piece`: so many bytes at a time."""
    with gateway.raw() as one:
        try:
            for at in range(0, len(data), piece or len(data)):
                one.sendall(data[at:at + (piece or len(data))])
        except ConnectionError:
            pass
        said = b""
        try:
            while more := one.recv(65536):
                said += more
        except ConnectionError:
            pass
    return answers(said)


def request(target, *lines, method="GET", body=b"", last=True, host="localhost"):
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, *(["Connection: close"] if last else [])]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


# -- what a request is for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target, host, status", [
    ("http://127.0.0.1:{}/api/version", "localhost", 200), ("HTTP://localhost/api/version?", "127.0.0.1", 200),
    ("http://localhost:{}/api/version", "evil.example", 200),  # the target counts, not Host
    ("https://[::1]:{}/api/version", "localhost", 200), ("http://localhost", "localhost", 404), ("http://localhost?x=1", "localhost", 404),
    ("http://evil.example/api/version", "localhost", 403), ("http://evil.example@127.0.0.1/api/version", "localhost", 403),
    ("http://127.0.0.1:80@evil.example/api/version", "localhost", 403), ("http:///api/version", "localhost", 403),
    ("http://", "localhost", 403), ("http://127.0.0.1.evil.example/api/version", "localhost", 403),
    ("ftp://localhost/api/version", "localhost", 404), ("//localhost/api/version", "localhost", 404)])
def test_an_absolute_target_names_its_host(gateway, target, host, status):
    [(got, _, body)] = say(gateway, request(target.format(gateway.port), host=host))
    assert got == status, body


def test_an_absolute_target_is_its_pages_own_origin(gateway):
    target = f"http://localhost:{gateway.port}/api/version"
    for origin, status in ((f"http://localhost:{gateway.port}", 200), ("http://evil.example", 403)):
        [(got, headers, _)] = say(gateway, request(target, f"Origin: {origin}", host="evil.example"))
        assert got == status and (headers.get("access-control-allow-origin") == origin) == (status == 200)


def test_the_whole_server_tells_its_methods(gateway):
    [(status, headers, _)] = say(gateway, request("*", method="OPTIONS"))
    assert status == 204 and "DELETE" in headers["allow"]
    assert say(gateway, request("*"))[0][0] == 404


@pytest.mark.parametrize("path, status", [("/api/sessions/a%2Fb", 404), ("/api/sessions/a%00b", 400), ("/api/sessions/a%0Ab", 400),
                                          ("/api/sessions/%ff", 400), ("/api/sessions/%4", 400), ("/api/sessions/%", 400),
                                          ("/api/sessions/a%2fmessages", 404), ("/api%2fsessions", 404), ("/api/sessions/..", 404)])
def test_paths_are_split_before_they_are_decoded(gateway, path, status):
    [(got, _, body)] = say(gateway, request(path))
    assert got == status, body
    if path.endswith("%2Fb"):
        assert b"session a/b" in body, "the session a/b is looked for"


def test_a_slash_in_a_name_stays_in_it(gateway, user):
    name = "week 1/2: ä%"
    body = {"workflow": flows.script_chat(["a"]), "text": "x", "session": name, "wait_ms": 20000}
    assert gateway.post("/api/jobs", body, user=user).status == 200
    assert gateway.get("/api/sessions/week%201%2F2%3A%20%C3%A4%25", user=user).body["session"]["session_id"] == name


# -- how it comes ------------------------------------------------------------------------------------------------------


def submission(user, **more):
    return json.dumps({"workflow": flows.script_chat(["a"]), "text": "x", **more}).encode()


def test_requests_in_one_packet_are_answered_in_their_order(gateway, user):
    body = submission(user, wait_ms=20000)
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    said = say(gateway, request("/api/version", last=False) + request(f"/api/jobs?user={user}", *lines, method="POST", body=body, last=False)
               + request("/nothing", last=False) + request("/api/version", method="HEAD", last=False).replace(b"HEAD", b"GET")
               + request("/healthz"))
    assert [status for status, _, _ in said] == [200, 200, 404, 200, 200]
    assert json.loads(said[1][2])["state"] == "succeeded"


@pytest.mark.parametrize("piece", [None, 7])
def test_a_body_in_chunks_is_one_body(gateway, user, piece):
    body = submission(user, wait_ms=20000)
    cut = len(body) // 3
    chunks = b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in (body[:cut], body[cut:])) + b"0\r\nX-Trailer: 1\r\n\r\n"
    lines = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    [(status, _, text)] = say(gateway, request(f"/api/jobs?user={user}", *lines, method="POST", body=chunks), piece)
    assert status == 200 and json.loads(text)["state"] == "succeeded"


@pytest.mark.parametrize("chunks", [b"zz\r\nab\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"])
def test_chunks_that_are_none_end_the_connection(gateway, chunks):
    said = say(gateway, request("/api/jobs", "Content-Type: application/json", "Transfer-Encoding: chunked", method="POST", body=chunks))
    assert len(said) <= 1 and all(status in (400, 413) for status, _, _ in said), said
    assert gateway.get("/healthz").status == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, identity"])
def test_a_packed_body_is_refused(gateway, user, coding):
    body = zlib.compress(submission(user))
    answer = gateway.request("POST", "/api/jobs", body, {"Content-Type": "application/json", "Content-Encoding": coding}, user=user)
    assert answer.status == 415 and answer.body["error"]["path"] == "Content-Encoding"
    same = gateway.request("POST", "/api/jobs", submission(user), {"Content-Type": "application/json", "Content-Encoding": "identity"}, user=user)
    assert same.status == 202


def test_who_asks_before_sending_is_told_to_or_refused(gateway, user):
    body = submission(user)
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}", "Expect: 100-continue")
    with gateway.raw(request(f"/api/jobs?user={user}", *lines, method="POST")) as one:
        assert one.recv(4096).startswith(b"HTTP/1.1 100 ")
        one.sendall(body)
        assert b"".join(iter(lambda: one.recv(65536), b"")).startswith(b"HTTP/1.1 202 ")
    for refused, status in ((("Origin: http://evil.example",), 403), (("Content-Encoding: gzip",), 415)):
        [(got, _, _)] = say(gateway, request("/api/jobs", *lines, *refused, method="POST"))
        assert got == status, "no byte of the body was asked for"


@pytest.mark.parametrize("line", ["User-Agent: a\x01b", "X-Any: \x7f", "Cookie: a\x0bb", "X-Forwarded-For: \x1b[2J"])
def test_control_characters_in_any_header_are_refused(gateway, line):
    said = say(gateway, request("/api/version", line))
    assert [status for status, _, _ in said] == [400]


def test_a_stream_asked_with_head_ends_at_once(gateway, user):
    job = gateway.post("/api/jobs", {"workflow": flows.script_chat(["a"], delay_ms=3000), "text": "x"}, user=user).body["job"]
    for path in (f"/api/jobs/{job}/events?user={user}", f"/api/events?user={user}"):
        with gateway.raw(request(path, method="HEAD"), timeout=2) as one:
            said = b"".join(iter(lambda: one.recv(65536), b""))
        assert said.startswith(b"HTTP/1.1 200 ") and said.index(b"\r\n\r\n") + 4 == len(said), "headers only"


# -- starting and stopping ---------------------------------------------------------------------------------------------


def test_signals_are_heard_while_storage_is_waited_for(make_service):
    """At an address that others reach nothing is served before storage has said that there are tokens."""
    service = make_service(workers=0)
    service.kill("storage")
    waiting = service.start("gateway1", flags=["--http", "0.0.0.0:0"])
    with pytest.raises(AssertionError):
        wait_until(lambda: "gateway.ready" in waiting.log(), 0.5, "an address that must not be told")
    assert waiting.running()
    service.kill("gateway1", signal.SIGTERM)
    assert waiting.process.wait(3 * slow()) == 0
    storage = service.start("storage")
    wait_until(lambda: storage.log().count("storage.ready") == 2, 20 * slow())


# -- damaged at random -------------------------------------------------------------------------------------------------


def damage(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, how = rng.randrange(len(data)), rng.randrange(6)
        if how == 0:
            data[at] = rng.randrange(256)
        elif how == 1:
            del data[at + 1:at + rng.choice((2, 3, 20))]
        elif how == 2:
            data[at:at] = rng.choice((b"\0", b"\r\n", b"%", b"%00", b"\xff", b"[" * 50, b'"', b"\r\n\r\n", b":", b"9" * 30, b"/../", b"{}"))
        elif how == 3:
            data[at:at] = data[at:at + rng.randrange(1, 60)]
        elif how == 4:
            del data[at + 1:]
        else:
            other = rng.randrange(len(data))
            data[at], data[other] = data[other], data[at]
    return bytes(data)


def test_damaged_requests_are_answered_or_dropped_and_break_nothing(gateway, rng):
    things = make_things(gateway, "damaged")
    samples = []
    for path, methods in gateway.get("/openapi.json").body["paths"].items():
        for method in map(str.upper, methods):
            body = json.dumps(EXAMPLES[method, path](gateway, things)[1]).encode() if (method, path) in EXAMPLES and method != "GET" else b""
            lines = (f"Content-Length: {len(body)}", "Content-Type: application/json") if body else ()
            samples.append(request(fill(path, things), *lines, method=method, body=body))
    sent = []
    for _ in range(800):  # all at once: what was cut off is waited for
        data = damage(rng, rng.choice(samples))
        one = gateway.raw(data)
        one.shutdown(socket.SHUT_WR)
        sent.append((one, data))
    for one, data in sent:
        try:
            said = one.recv(65536)
        except ConnectionError:
            said = b""
        one.close()
        # 502 of a workflow that was stored damaged, 503 of a queue that a damaged path drains: those who asked did that
        assert not said or re.match(rb"HTTP/1\.[01] ([1-4]\d\d|50[2-5]) ", said), (data, said)
    assert gateway.get("/healthz").status == 200
