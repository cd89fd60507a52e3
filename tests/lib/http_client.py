"""HTTP as a program would speak it to the gateway: requests, and server-sent events read from the socket.

    gateway = Gateway(service)                    # started on a free port of 127.0.0.1
    status, body = gateway.post("/api/jobs", {"workflow": …, "text": …}, user="ada")
    with gateway.stream(f"/api/jobs/{job}/events", user="ada") as stream:
        for event in stream: …                    # Event(id, name, data)
"""

import collections
import copy
import http.client
import json
import re
import socket
import time
import urllib.parse

from service import slow, wait_until

Event = collections.namedtuple("Event", "id name data")
Answer = collections.namedtuple("Answer", "status body headers text bytes", defaults=[b""])


class Gateway:
    def __init__(self, service, name="gateway1", flags=(), **more):
        self.service, self.name, self.headers = service, name, {}
        self.process = service.start(name, flags=["--http", "127.0.0.1:0", *flags], **more)
        self.find_port()

    def bearing(self, token):
        """The same gateway, asked with this token."""
        one = copy.copy(self)
        one.headers = {"Authorization": f"Bearer {token}"}
        return one

    def find_port(self):
        log = wait_until(lambda: re.findall(r"gateway\.ready url=http://[\d.]+:(\d+)", self.process.own_log())
                         or self.service.died(), 20 * slow(), "the gateway's address")
        self.service.assert_alive()
        self.port = int(log[-1])

    def restart(self, signo=None):
        """Kills it and starts it again at the same port."""
        self.service.kill(self.name, *([signo] if signo else []))
        self.process = self.service.start(self.name, flags=["--http", f"127.0.0.1:{self.port}"])
        wait_until(lambda: self.accepts() or self.service.died(), 20 * slow(), "the gateway's return")
        self.service.assert_alive()

    def accepts(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    @staticmethod
    def path(path, user=None, **query):
        if user is not None:
            query["user"] = user
        query = {key: json.dumps(v) if isinstance(v, (bool, list, dict)) else v for key, v in query.items() if v is not None}
        return path + (("&" if "?" in path else "?") + urllib.parse.urlencode(query) if query else "")

    def connection(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * slow())

    def request(self, method, path, body=None, headers=None, timeout=30, connection=None, **query):
        """body: bytes as they are, anything else as JSON."""
        headers = {**self.headers, **(headers or {})}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        own = connection or self.connection(timeout)
        try:
            own.request(method, self.path(path, **query), body, headers)
            response = own.getresponse()
            data = response.read()
            text = data.decode(errors="replace")
        finally:
            if not connection:
                own.close()
        is_json = (response.headers.get("Content-Type") or "").startswith("application/json")
        return Answer(response.status, json.loads(text) if is_json and text else None, response.headers, text, data)

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.request("POST", path, {} if body is None else body, **more)

    def raw(self, data=b"", timeout=10):
        """A bare connection with `data` sent."""
        one = socket.create_connection(("127.0.0.1", self.port), timeout * slow())
        if data:
            one.sendall(data)
        return one

    def stream(self, path, last=None, headers=None, timeout=30, **query):
        return Stream(self, self.path(path, **query), last, headers or {}, timeout)


class Stream:
    """One request for text/event-stream; iterate it for events. `comments` counts the lines that keep it alive."""

    def __init__(self, gateway, path, last, headers, timeout):
        headers = {**gateway.headers, **headers, "Accept": "text/event-stream"}
        if last is not None:
            headers["Last-Event-ID"] = last
        self.comments, self.last = 0, last
        self.connection = gateway.connection(timeout)
        self.connection.request("GET", path, headers=headers)
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    def __iter__(self):
        fields = {}
        while True:
            try:
                line = self.response.readline()
            except (http.client.IncompleteRead, ConnectionError):
                return
            if not line:
                return
            line = line.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                event = Event(fields.get("id"), fields.get("event", "message"), json.loads(fields["data"]))
                self.last = event.id or self.last
                fields = {}
                yield event

    def journal(self):
        """The rest of the stream without deltas, as the events' own objects."""
        return [event.data for event in self if event.name == "message"]
