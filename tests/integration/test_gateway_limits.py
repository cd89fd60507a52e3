"""What slow, greedy and half-open clients cost: their own connections, nobody else's time."""

import socket
import time

import flows
import pytest
from http_client import Gateway
from service import wait_until


@pytest.fixture(scope="module")
def tight(shared):
    one = Gateway(shared, "gateway7", flags=["--http-slow-ms", "400", "--http-idle-ms", "600", "--http-connections-max", "60",
                                             "--http-rate", "50"])
    yield one
    shared.processes.pop(one.name).terminate()


def closed(one):
    """The server has hung up, whatever it said before."""
    one.settimeout(10)
    try:
        while one.recv(65536):
            pass
        return True
    except ConnectionError:
        return True


@pytest.mark.parametrize("start", [b"", b"GET /healthz HTTP/1.1\r\nHost: loc",
                                   b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"],
                         ids=["nothing", "headers", "body"])
def test_what_does_not_come_in_is_not_waited_for(tight, start):
    began = time.monotonic()
    with tight.raw(start) as one:
        assert closed(one)
    assert 0.3 < time.monotonic() - began < 5


def test_a_drop_at_a_time_does_not_help(tight):
    with tight.raw(b"GET /healthz HTTP/1.1\r\n") as one:
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 10:
                one.sendall(b"X: 1\r\n")
                one.settimeout(0.1)
                try:
                    if not one.recv(100):
                        raise ConnectionResetError
                except TimeoutError:
                    pass
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("headers", [b"Content-Length: 2\r\nContent-Length: 3", b"Content-Length: 2\r\nTransfer-Encoding: chunked",
                                     b"Transfer-Encoding: xchunked", b"Content-Length : 2"],
                         ids=["two lengths", "length and chunked", "another coding", "a blank in a name"])
def test_where_a_request_ends_is_not_guessed(tight, headers):
    hidden = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with tight.raw(b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n\r\n{}" + hidden) as one:
        answer = b"".join(iter(lambda: one.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1, answer


def test_an_idle_connection_ends_and_a_working_one_does_not(tight, user):
    connection = tight.connection()
    assert tight.request("GET", "/healthz", connection=connection).status == 200
    assert closed(connection.sock)
    body = {"workflow": flows.script_chat(["slow"], delay_ms=1500), "text": "x", "wait_ms": 20000}
    assert tight.post("/api/jobs", body, user=user).body["state"] == "succeeded", "a handler that works is not idle"


def test_full_of_idle_connections_there_is_room_for_who_asks(tight):
    idle = [tight.raw() for _ in range(70)]
    wait_until(lambda: tight.get("/healthz", timeout=10).status == 200, 20)
    for one in idle:
        one.close()


def test_too_many_requests_are_told_to_wait_and_health_is_not(tight):
    connection = tight.connection()
    statuses = [tight.request("GET", "/api/version", connection=connection).status for _ in range(5)]
    answers = [tight.request("GET", "/api/jobs", connection=connection) for _ in range(120)]
    refused = [answer for answer in answers if answer.status == 429]
    assert statuses == [200] * 5 and 20 < len(refused) < 120
    assert refused[0].body["error"]["code"] == "busy" and refused[0].headers["Retry-After"]
    assert tight.request("GET", "/healthz", connection=connection).status == 200
    wait_until(lambda: tight.get("/api/jobs").status == 200, 5)
