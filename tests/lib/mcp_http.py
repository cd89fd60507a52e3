"""MCP servers over HTTP that misbehave, in the test's own process: the path says how. What was asked is in `seen`."""

import http.server
import json
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", kind="application/json", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def events(self, *texts):
        """A stream that ends with its connection; it begins, as that of some servers, with an event without data."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"id: 0\ndata: \n\n: a comment\n\n")
        for text in texts:
            self.wfile.write(b"event: message\ndata: " + json.dumps(text).encode() + b"\n\n")
            self.wfile.flush()
        self.close_connection = True

    def do_DELETE(self):
        self.server.seen.append((self.path, "DELETE", dict(self.headers)))
        self.answer(204)

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, message, dict(self.headers)))
        try:
            self.reply(self.path.strip("/"), message, message.get("id"), message.get("method"))
        except OSError:
            pass  # the client has had enough

    def reply(self, kind, message, id, method):
        if kind == "guarded" and self.headers.get("Authorization") != "Bearer open sesame, please":
            return self.answer(401, {"error": "who are you?"})
        if kind == "pings" and "result" in message:
            time.sleep(5)
        if kind == "tells":  # what it was sent, so that only the key's beginning is in the part that is shown
            return self.answer(401, b"x" * 150 + self.headers["Authorization"][len("Bearer "):].encode(), "text/plain")
        if kind == "silent":
            return time.sleep(30)
        if method == "server/discover":
            if kind == "future":
                return self.answer(400, {"jsonrpc": "2.0", "id": id, "error": {
                    "code": -32022, "message": "Unsupported protocol version", "data": {"supported": ["2031-01-01"]}}})
            return self.answer(400, {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "Bad Request"}})
        if method == "initialize":
            self.server.sessions += 1
            return self.answer(200, {"jsonrpc": "2.0", "id": id, "result": {
                "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "h", "version": "1"}}},
                Mcp_Session_Id=f"session-{self.server.sessions}")
        if id is None:
            return self.answer(202)
        if method == "tools/list":
            return self.answer(200, {"jsonrpc": "2.0", "id": id, "result": {"tools": [
                {"name": "say", "inputSchema": {"type": "object"}}]}})
        return self.called(kind, message, id)

    def called(self, kind, message, id):
        result = {"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "said over HTTP"}]}}
        if kind == "lost" and self.headers["Mcp-Session-Id"] == "session-1":
            self.answer(404, {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "Session not found"}})
        elif kind == "stream":
            self.events({"jsonrpc": "2.0", "id": "q", "method": "ping"}, {"jsonrpc": "2.0", "method": "notifications/progress",
                        "params": {"progressToken": id, "progress": 1}}, result)
        elif kind == "pings":  # many, whose answers it keeps waiting
            answers = lambda: sum("result" in seen for path, seen, _ in self.server.seen if path == self.path and seen != "DELETE")
            self.events(*({"jsonrpc": "2.0", "id": f"q{i}", "method": "ping"} for i in range(300)))
            until = time.monotonic() + 1
            while answers() <= 64 and time.monotonic() < until:
                time.sleep(0.01)
            self.wfile.write(b"data: " + json.dumps(result).encode() + b"\n\n")
        elif kind == "open":  # the stream does not end behind the answer
            self.events(result)
            try:
                while True:
                    time.sleep(0.05)
                    self.wfile.write(b": still here\n\n")
            finally:
                self.server.closed.append(self.path)
        elif kind == "cut":
            self.events({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}})
        elif kind == "garbage":
            self.answer(200, b"<html>welcome</html>")
        elif kind == "fails":
            self.answer(503, b"try later", "text/plain")
        elif kind == "huge":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b"data: ")
            for _ in range(100):
                self.wfile.write(b"x" * (1 << 20))
        else:
            self.answer(200, result)


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512


class Servers:
    def __enter__(self):
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.seen, self.server.closed, self.server.sessions = [], [], 0
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()

    def url(self, kind):
        return f"http://127.0.0.1:{self.server.server_port}/{kind}"

    def seen(self, kind):
        """(message, headers) of each request."""
        return [(message, headers) for path, message, headers in self.server.seen if path == f"/{kind}"]
