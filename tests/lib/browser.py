"""A real browser: headless Chromium, driven through the pipe of its DevTools protocol, and the pages it is shown.

    with Pages() as pages, Browser(folder, hosts={"evil.test": "127.0.0.1"}) as browser:
        page = browser.page(f"http://localhost:{pages.port}/")
        page.run("return await (await fetch('/x')).text()")     # the body of an async function; what it returns is JSON
"""

import http.server
import json
import os
import select
import shutil
import subprocess
import threading
import time

from service import slow

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class Pages(http.server.ThreadingHTTPServer):
    """A web server of somebody else, on a free port of 127.0.0.1: the same empty page at every path, under every name."""

    daemon_threads = True

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = b"<!doctype html><title>page</title><body></body>"
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Browser:
    """One process and its pipe. It ends when the pipe does, also if the test's own process dies."""

    def __init__(self, folder, hosts=None):
        program = next((found for found in map(shutil.which, PROGRAMS) if found), None)
        assert program, f"there is none of {PROGRAMS}; run: deploy/deps.sh browser"
        rules = ", ".join(f"MAP {name} {address}" for name, address in (hosts or {}).items())
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--no-proxy-server", "--remote-debugging-pipe",
                   f"--user-data-dir={folder}/profile", f"--host-resolver-rules={rules}", "about:blank"]
        down, self.down = os.pipe()
        self.up, up = os.pipe()

        def at_3_and_4():  # where the browser expects them
            low, high = os.dup(down), os.dup(up)
            os.dup2(low, 3)
            os.dup2(high, 4)

        self.log = open(f"{folder}/browser.log", "wb")
        environment = {**os.environ, "HOME": str(folder)}
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        close_fds=False, preexec_fn=at_3_and_4)
        os.close(down)
        os.close(up)
        self.number, self.buffer, self.answers = 0, b"", {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close", timeout=5)
            self.process.wait(10)
        finally:
            os.close(self.down)
            os.close(self.up)
            self.process.kill()
            self.process.wait()
            self.log.close()

    def receive(self, until):
        while b"\0" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.up], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self.up, 1 << 20)
            if not piece:
                raise ConnectionError("the browser has ended")
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(line)
        if "id" in message:
            self.answers[message["id"]] = message

    def call(self, method, session=None, timeout=30, **params):
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self.down, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + timeout * slow()
        while number not in self.answers:
            self.receive(until)
        answer = self.answers.pop(number)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def page(self, url):
        return Page(self, url)


class Page:
    """A tab of its own at this address."""

    def __init__(self, browser, url):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.go(url)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def go(self, url):
        self.call("Page.navigate", url=url)
        until = time.monotonic() + 30 * slow()
        while self.run("return [location.href, document.readyState]")[1] != "complete" or self.href() != url:
            assert time.monotonic() < until, f"{self.href()} is shown, not {url}"

    def href(self):
        return self.run("return location.href")

    def run(self, body, *arguments, timeout=30):
        """`arguments` are there as args[0] …"""
        source = f"(async () => {{ const args = {json.dumps(arguments)}; {body} }})()"
        result = self.call("Runtime.evaluate", expression=source, awaitPromise=True, returnByValue=True, userGesture=True,
                           timeout=timeout)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")
