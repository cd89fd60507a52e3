#!/usr/bin/python3
"""An OpenAI-compatible model server for tests: real HTTP/1.1, no model.

    /usr/bin/python3 tests/model_server.py [--port 0] [--host 127.0.0.1] [--behaviour JSON] [--tls DIR]
    prints `listening PORT` once it accepts connections. --tls speaks HTTPS with a self-signed certificate for the
    host, made there as DIR/cert.pem and DIR/key.pem.

From pytest: `with ModelServer() as server: server.control(...); server.calls()`.

Routes
  POST /v1/chat/completions   (also below any other prefix) answers as the behaviour says
  GET  /v1/models
  POST /control   {"default": {…}, "models": {"name": {…}}, "record_bodies": bool}; merges by top-level key
  GET  /calls     {"calls": […], "now": s, "open": n, "open_max": n}; ?from=N skips the first N calls
  POST /reset     forgets calls, counters and behaviours

The behaviour of a call is the union, later ones winning, of: the default, that of the model's name, and a
directive in the last user message: `[[{"delay_ms": 100}]]`. Keys:

  text            what to answer; default: "echo: " + the last user message (without the directive)
  texts           a list: the answer number k answers a request with k assistant messages (the last one repeats);
                  an item may be {"text", "tool_calls"}
  pieces          the stream's pieces, verbatim, instead of splitting the text
  piece_chars     size of the pieces (default 8)
  reasoning       reasoning text, streamed first; reasoning_field: its name (default reasoning_content)
  tool_calls      list in OpenAI's shape (<asked> in arguments: the last user message); tool_style: fragments (default), whole, no_index, no_id
  usage           object, or false for none; default: made up from the text
  finish_reason   default stop (tool_calls if there are some); null = the stream ends without one
  delay_ms        before the first byte; chunk_ms: between chunks
  fail            {"status", "times" (default: always), "headers": {}, "error": {} | "html": "…", "gemini": bool}
  insufficient_quota, context_length    true: the status and error of OpenAI for these
  cut_after       number of chunks, then the connection is closed; cut_times: for so many attempts only
  error_at        number of chunks, then an error event; error: its object; gemini: true = in Gemini's shape
  malformed_at    number of chunks, then an event that is not JSON; malformed_times
  stall           "headers" (nothing is sent, ever) or "body" (after two chunks)
  stall_times     for so many attempts only
  meet            [name, number]: a stream goes no further than two chunks before so many calls with this name were
                  there at the same time
  newline         "\\n" (default), "\\r\\n", "\\r"
  byte_at_a_time  true: every byte is a write of its own
  comments        true: comments and empty events between chunks
  no_done         true: no [DONE]
  huge            number of bytes of text to answer
  raw             the body, verbatim, with content_type (default text/event-stream)
  redirect        Location of a 307
  leak_key        true: a 401 whose text quotes the Authorization header
  headers         extra headers of the answer

`times`, `cut_times` … count per conversation (model and messages), so that a retry of the same call finds the
counter where the attempt before left it.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import os
import re
import resource
import ssl
import subprocess
import sys
import time
import urllib.parse

BODY_BYTES_MAX = 256 * 1024 * 1024
CALLS_MAX = 200_000
DIRECTIVE = re.compile(r"\[\[(\{.*\})\]\]", re.S)
REASONS = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
           408: "Request Timeout", 409: "Conflict", 429: "Too Many Requests", 500: "Internal Server Error",
           502: "Bad Gateway", 503: "Service Unavailable"}


class Gone(Exception):
    """The client closed its connection."""


class Cut(Exception):
    """The behaviour wants the connection closed here."""


class Connection(asyncio.StreamReaderProtocol):
    """A stream protocol that says at once when the peer is gone, also while nobody reads."""

    def __init__(self, server, loop):
        self.gone = asyncio.Event()
        self.gone_at = None
        reader = asyncio.StreamReader(limit=1 << 20, loop=loop)
        super().__init__(reader, lambda r, w: server.serve(self, r, w), loop=loop)

    def eof_received(self):
        self.mark_gone()
        super().eof_received()
        return False

    def connection_lost(self, exc):
        self.mark_gone()
        super().connection_lost(exc)

    def mark_gone(self):
        if self.gone_at is None:
            self.gone_at = time.time()
        self.gone.set()

    async def pause(self, ms):
        """Waits; ends early with Gone when the peer leaves. ms None = for ever."""
        if self.gone.is_set():
            raise Gone
        if ms == 0:
            await asyncio.sleep(0)
            return
        try:
            await asyncio.wait_for(self.gone.wait(), None if ms is None else ms / 1000)
        except asyncio.TimeoutError:
            return
        raise Gone


def text_of(content):
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content or ""


def last_user_text(messages):
    for message in reversed(messages):
        if message.get("role") == "user":
            return text_of(message.get("content"))
    return ""


def split(text, size):
    return [text[i:i + size] for i in range(0, len(text), size)] or [""]


def tool_chunks(calls, style):
    """The deltas that carry tool calls, in one of the ways seen in the wild."""
    for index, call in enumerate(calls):
        arguments = call["function"]["arguments"]
        head = {**call, "type": "function", "function": {**call["function"], "arguments": arguments}}
        if style == "no_id":
            head.pop("id", None)
        if style != "no_index":
            head["index"] = index
        if style in ("whole", "no_index", "no_id"):
            yield {"tool_calls": [head]}
            continue
        head["function"] = {**head["function"], "arguments": ""}
        yield {"tool_calls": [head]}
        for piece in split(arguments, 3):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


class Plan:
    """What one call will answer: text, usage, chunks."""

    def __init__(self, request, behaviour):
        messages = request.get("messages") or []
        asked = DIRECTIVE.sub("", last_user_text(messages)).strip()
        turn = sum(1 for m in messages if m.get("role") == "assistant")
        texts = behaviour.get("texts")
        self.text = texts[min(turn, len(texts) - 1)] if texts else behaviour.get("text", "echo: " + asked)
        self.calls = behaviour.get("tool_calls")
        if isinstance(self.text, dict):
            self.calls, self.text = self.text.get("tool_calls"), self.text.get("text", "")
        if self.calls and "<asked>" in json.dumps(self.calls):
            self.calls = json.loads(json.dumps(self.calls).replace("<asked>", json.dumps(json.dumps(asked)[1:-1])[1:-1]))
        if behaviour.get("huge"):
            self.text = "0123456789abcdef" * (behaviour["huge"] // 16 + 1)
            self.text = self.text[:behaviour["huge"]]
        self.reasoning = behaviour.get("reasoning")
        self.reasoning_field = behaviour.get("reasoning_field", "reasoning_content")
        self.finish = behaviour.get("finish_reason", "tool_calls" if self.calls else "stop")
        self.usage = behaviour.get("usage")
        if self.usage is None:
            prompt = sum(len(text_of(m.get("content")).split()) for m in messages)
            done = len(self.text.split())
            self.usage = {"prompt_tokens": prompt, "completion_tokens": done, "total_tokens": prompt + done}
        self.behaviour = behaviour
        self.request = request
        self.id = "chatcmpl-" + hashlib.sha256(json.dumps(request).encode()).hexdigest()[:12]

    def envelope(self, kind, **more):
        return {"id": self.id, "object": kind, "created": int(time.time()), "model": self.request.get("model"), **more}

    def whole(self):
        message = {"role": "assistant", "content": self.text}
        if self.calls:
            message.update(content=None, tool_calls=self.calls)
        if self.reasoning:
            message[self.reasoning_field] = self.reasoning
        answer = self.envelope("chat.completion", choices=[
            {"index": 0, "message": message, "finish_reason": self.finish, "logprobs": None}])
        if self.usage:
            answer["usage"] = self.usage
        return answer

    def deltas(self):
        yield {"role": "assistant", "content": ""}
        if self.reasoning:
            for piece in split(self.reasoning, self.behaviour.get("piece_chars", 8)):
                yield {self.reasoning_field: piece}
        if self.calls:
            yield from tool_chunks(self.calls, self.behaviour.get("tool_style", "fragments"))
            return
        size = self.behaviour.get("piece_chars", 65536 if self.behaviour.get("huge") else 8)
        for piece in self.behaviour.get("pieces") or split(self.text, size):
            yield {"content": piece}

    def chunks(self):
        kind = "chat.completion.chunk"
        for delta in self.deltas():
            yield self.envelope(kind, choices=[{"index": 0, "delta": delta, "finish_reason": None}])
        if self.finish:
            yield self.envelope(kind, choices=[{"index": 0, "delta": {}, "finish_reason": self.finish}])
        wants = (self.request.get("stream_options") or {}).get("include_usage")
        if self.usage and wants:
            yield self.envelope(kind, choices=[], usage=self.usage)


class Server:
    def __init__(self, behaviour=None):
        self.first_default = behaviour or {}
        self.reset()

    def reset(self):
        self.default, self.models = dict(self.first_default), {}
        self.recorded, self.counters, self.meetings = [], {}, {}
        self.open, self.open_max, self.record_bodies = 0, 0, True

    def behaviour(self, request):
        found = {**self.default, **self.models.get(request.get("model"), {})}
        directive = DIRECTIVE.search(last_user_text(request.get("messages") or []))
        if directive:
            found.update(json.loads(directive.group(1)))
        return found

    def still(self, key, name, times):
        """True for the first `times` calls with this key; always if times is None."""
        if times is None:
            return True
        counter = (key, name)
        self.counters[counter] = self.counters.get(counter, 0) + 1
        return self.counters[counter] <= times

    # -- HTTP ---------------------------------------------------------------------------------------------

    async def serve(self, connection, reader, writer):
        try:
            while await self.one_request(connection, reader, writer):
                pass
        except (Gone, ConnectionError, asyncio.IncompleteReadError):
            pass
        except Cut:
            writer.transport.abort()
        finally:
            writer.close()

    async def one_request(self, connection, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return False
        line, *rows = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ", 2)
        headers = {k.strip().lower(): v.strip() for k, _, v in (row.partition(":") for row in rows if row)}
        bytes_ = int(headers.get("content-length", 0))
        if bytes_ > BODY_BYTES_MAX:
            return False
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(bytes_)
        url = urllib.parse.urlsplit(target)
        if url.path.endswith("/chat/completions") and method == "POST":
            await self.completion(connection, writer, target, headers, body)
        else:
            await self.other(writer, method, url, body)
        return headers.get("connection", "").lower() != "close"

    async def other(self, writer, method, url, body):
        status, answer = 200, {}
        if url.path == "/control" and method == "POST":
            wish = json.loads(body)
            self.default = wish.get("default", self.default)
            self.models.update(wish.get("models", {}))
            self.record_bodies = wish.get("record_bodies", self.record_bodies)
        elif url.path == "/calls":
            start = int(urllib.parse.parse_qs(url.query).get("from", ["0"])[0])
            answer = {"calls": self.recorded[start:], "now": time.time(), "open": self.open,
                      "open_max": self.open_max}
        elif url.path == "/reset" and method == "POST":
            self.reset()
        elif url.path.endswith("/models"):
            answer = {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "tests"}
                                                 for name in sorted(self.models)]}
        else:
            status, answer = 404, {"error": {"message": "no such route: " + url.path, "type": "invalid_request_error"}}
        await self.send(writer, status, json.dumps(answer).encode())

    async def send(self, writer, status, body, headers=None, kind="application/json"):
        rows = {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
        text = f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\n"
        text += "".join(f"{k}: {v}\r\n" for k, v in rows.items()) + "\r\n"
        writer.write(text.encode("latin-1") + body)
        await writer.drain()

    # -- completions --------------------------------------------------------------------------------------

    async def completion(self, connection, writer, target, headers, body):
        key = headers.get("authorization", "").partition(" ")[2] or headers.get("api-key", "")
        record = {"n": len(self.recorded), "start": time.time(), "first": None, "end": None, "target": target,
                  "headers": {k: v for k, v in headers.items() if k not in ("authorization", "api-key")},
                  "authorization": "authorization" in headers, "api_key": "api-key" in headers,
                  "key_sha256": hashlib.sha256(key.encode()).hexdigest() if key else None,
                  "status": None, "outcome": "running", "disconnected": None, "chunks": 0}
        if len(self.recorded) < CALLS_MAX:
            self.recorded.append(record)
        self.open += 1
        self.open_max = max(self.open_max, self.open)
        record["open"] = self.open
        try:
            request = json.loads(body)
            record["model"] = request.get("model")
            if self.record_bodies:
                record["body"] = request
            await self.answer(connection, writer, headers, request, record)
            record["outcome"] = "done"
        except (Gone, ConnectionError):
            record["outcome"], record["disconnected"] = "disconnected", connection.gone_at or time.time()
            raise Gone from None
        except Cut:
            record["outcome"] = "cut"
            raise
        finally:
            record["end"] = time.time()
            self.open -= 1

    async def answer(self, connection, writer, headers, request, record):
        behaviour = self.behaviour(request)
        key = hashlib.sha256(json.dumps([request.get("model"), request.get("messages")]).encode()).hexdigest()
        if behaviour.get("stall") == "headers" and self.still(key, "stall", behaviour.get("stall_times")):
            await connection.pause(None)
        if behaviour.get("delay_ms"):
            await connection.pause(behaviour["delay_ms"])
        refusal = self.refusal(behaviour, headers, key, request)
        record["first"] = time.time()
        if refusal:
            record["status"] = refusal[0]
            await self.send(writer, *refusal)
            return
        record["status"] = 200
        plan, extra = Plan(request, behaviour), behaviour.get("headers") or {}
        if "raw" in behaviour:
            kind = behaviour.get("content_type", "text/event-stream")
            await self.stream(connection, writer, record, behaviour, [behaviour["raw"].encode()], extra, kind)
        elif request.get("stream"):
            await self.stream(connection, writer, record, behaviour, self.events(plan, behaviour, key), extra)
        else:
            await self.send(writer, 200, json.dumps(plan.whole()).encode(), {"x-request-id": plan.id, **extra})

    def refusal(self, behaviour, headers, key, request):
        """(status, body, headers, content type) if this call is to be refused."""
        def error(status, message, code, kind="invalid_request_error"):
            return status, json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()

        if behaviour.get("redirect"):
            return 307, b"{}", {"Location": behaviour["redirect"]}
        if behaviour.get("leak_key"):
            return error(401, "Incorrect API key provided: " + headers.get("authorization", "none"), "invalid_api_key")
        if behaviour.get("insufficient_quota"):
            return error(429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota")
        said = sum(len(json.dumps(m.get("content"))) for m in request.get("messages") or [])
        if behaviour.get("context_length") or said > behaviour.get("context_chars", said):
            return error(400, "This model's maximum context length is 4096 tokens.", "context_length_exceeded")
        fail = behaviour.get("fail")
        if not fail or not self.still(key, "fail", fail.get("times")):
            return None
        status, more = fail.get("status", 500), fail.get("headers") or {}
        if "html" in fail:
            return status, fail["html"].encode(), more, "text/html"
        if fail.get("gemini"):
            wrong = [{"error": {"code": status, "message": "refused by the test", "status": "UNAVAILABLE"}}]
            return status, json.dumps(wrong).encode(), more
        wrong = fail.get("error") or {"message": "refused by the test", "type": "server_error", "code": None}
        return status, json.dumps({"error": wrong}).encode(), more

    async def meet(self, connection, name, number):
        here, all_here = self.meetings.setdefault(name, (set(), asyncio.Event()))
        here.add(connection)
        if len(here) >= number:
            all_here.set()
        waits = [asyncio.ensure_future(event.wait()) for event in (all_here, connection.gone)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            here.discard(connection)
            for wait in waits:
                wait.cancel()
        if not all_here.is_set():
            raise Gone

    def events(self, plan, behaviour, key):
        """The stream's events as bytes; an exception class among them is raised in its place."""
        newline = behaviour.get("newline", "\n")

        def event(text):
            return (f"data: {text}" + newline * 2).encode()

        cut = self.marked(behaviour, "cut_after", key, "cut_times")
        bad = self.marked(behaviour, "malformed_at", key, "malformed_times")
        stall = behaviour.get("stall") == "body" and self.still(key, "stall", behaviour.get("stall_times"))
        for n, chunk in enumerate(plan.chunks()):
            if n == cut:
                yield Cut
            if n == bad:
                yield event('{"choices": [{"delta": {"content": ')
            if n == behaviour.get("error_at"):
                wrong = behaviour.get("error", {"message": "the test broke it", "type": "server_error", "code": 500})
                yield event(json.dumps([{"error": wrong}] if behaviour.get("gemini") else {"error": wrong}))
                return
            if n == 2 and stall:
                yield Gone
            if behaviour.get("comments"):
                yield (f": keepalive{newline}{newline}data:{newline}{newline}event: ping{newline}{newline}").encode()
            yield event(json.dumps(chunk))
        if not behaviour.get("no_done"):
            yield event("[DONE]")

    def marked(self, behaviour, name, key, times):
        place = behaviour.get(name)
        return place if place is not None and self.still(key, name, behaviour.get(times)) else None

    async def stream(self, connection, writer, record, behaviour, events, extra, kind="text/event-stream"):
        rows = {"Content-Type": kind, "Transfer-Encoding": "chunked", "Cache-Control": "no-cache",
                "x-request-id": f"req-{record['n']}", **extra}
        writer.write(("HTTP/1.1 200 OK\r\n" + "".join(f"{k}: {v}\r\n" for k, v in rows.items()) + "\r\n").encode())
        for event in events:
            if event is Cut:
                await writer.drain()
                raise Cut
            if event is Gone:
                await connection.pause(None)
            pieces = [event[i:i + 1] for i in range(len(event))] if behaviour.get("byte_at_a_time") else [event]
            for piece in pieces:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
                if len(pieces) > 1:
                    await asyncio.sleep(0)
            record["chunks"] += 1
            if record["chunks"] == 2 and behaviour.get("meet"):
                await self.meet(connection, *behaviour["meet"])
            if behaviour.get("chunk_ms"):
                await connection.pause(behaviour["chunk_ms"])
            elif connection.gone.is_set():
                raise Gone
        writer.write(b"0\r\n\r\n")
        await writer.drain()


# -- from a test ----------------------------------------------------------------------------------------------


class ModelServer:
    """The server as a child process of a test."""

    def __init__(self, behaviour=None, host="127.0.0.1", port=0):
        self.argv = [sys.executable, os.path.abspath(__file__), "--host", host, "--port", str(port)]
        if behaviour:
            self.argv += ["--behaviour", json.dumps(behaviour)]
        self.host, self.port, self.process = host, port, None

    def start(self):
        self.process = subprocess.Popen(self.argv, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().split()
        if len(line) != 2 or line[0] != "listening":
            raise RuntimeError(f"the model server did not start: {line}")
        self.port = int(line[1])
        return self

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process.stdout.close()
            self.process = None

    __enter__ = start

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        """What goes into base_url."""
        return f"http://{self.host}:{self.port}/v1"

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def control(self, default=None, models=None, **more):
        wish = dict(more)
        if default is not None:
            wish["default"] = default
        if models is not None:
            wish["models"] = models
        return self.ask("POST", "/control", wish)

    def state(self, start=0):
        return self.ask("GET", f"/calls?from={start}")

    def calls(self, start=0):
        return self.state(start)["calls"]

    def reset(self):
        return self.ask("POST", "/reset")


def raise_descriptor_limit():
    """A thousand calls at once need more than the usual 1024 descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65536, hard))


def tls_context(directory, host):
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=model server of a test", "-addext", f"subjectAltName=IP:{host}",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


async def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--behaviour", type=json.loads, default={}, help="the default behaviour, JSON")
    options.add_argument("--tls", metavar="DIR", help="HTTPS; the certificate is made in DIR")
    wish = options.parse_args()
    raise_descriptor_limit()
    server, loop = Server(wish.behaviour), asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server, loop), wish.host, wish.port, backlog=4096,
                                         ssl=tls_context(wish.tls, wish.host) if wish.tls else None)
    print("listening", listener.sockets[0].getsockname()[1], flush=True)
    async with listener:
        await listener.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
