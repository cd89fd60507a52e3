"""One autobots-storage in a folder of its own, and the rows that tests put into it."""

import pathlib
import sqlite3
import subprocess

import autobots_wire as wire
import flows
import service

FLOW = flows.script_chat(["fine"])
TEXT = wire.workflow_text(FLOW)
HASH = wire.workflow_hash(TEXT)


class Store:
    """`with Store(folder) as s:` starts it; .broker and .client() are connections."""

    def __init__(self, folder, env=None, prefix=(), start=True, flags=()):
        self.folder = pathlib.Path(folder)
        self.dir = self.folder / "d"
        self.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.endpoint = f"ipc://{self.dir}/storage.sock"
        self.env, self.prefix, self.flags = dict(env or {}), list(prefix), list(flags)
        self.process = self._broker = None
        self.peers = []
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for peer in self.peers:
            peer.close()
        if kind is None and self.process and not self.process.killed:
            code = self.process.terminate()
            assert code == 0, f"exit {code}: {self.process.log()[-2000:]}"
        elif self.process:
            self.process.kill()
        if self.process:
            found = service.CRASHES.search(self.process.log())
            assert not found, self.process.log()[-4000:]

    def argv(self, *more):
        return [service.program("autobots-storage"), "--dir", str(self.dir), *self.flags, *more]

    def start(self, env=None):
        environment = service.clean_environment({**self.env, **(env or {})})
        self.process = service.Process("storage", self.prefix + self.argv(), environment, self.folder / "storage.log")
        self._broker = None

    def kill(self):
        self.process.kill()
        self.drop_peers()

    def drop_peers(self):
        for peer in self.peers:
            peer.close()
        self.peers.clear()
        self._broker = None

    def wait_dead(self, timeout=20):
        self.process.killed = True
        code = self.process.process.wait(timeout * service.slow())
        self.drop_peers()
        return code

    def peer(self, peer):
        self.peers.append(peer)
        return peer

    @property
    def broker(self):
        if self._broker is None:
            self._broker = self.peer(wire.StorageAsBroker(self.endpoint))
        return self._broker

    def client(self, user="ann"):
        return self.peer(wire.Storage(self.endpoint, user))

    def check(self):
        """The output of --check; its exit code must be 0."""
        done = subprocess.run(self.argv("--check"), env=service.clean_environment(self.env), text=True,
                              capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rows(self, query, *values):
        """Straight from the file (committed rows only)."""
        with sqlite3.connect(f"file:{self.dir}/database.sqlite?mode=ro", uri=True) as db:
            return db.execute(query, values).fetchall()

    # -- jobs -----------------------------------------------------------------------------------------------------

    def submit(self, user="ann", content="hello", **more):
        """Returns (job id, answer)."""
        request = submit_request(user=user, content=content, **more)
        return request["job"], self.broker.one("submit", **request)

    def begin(self, n, token=None):
        token = token or self.broker.token()
        self.broker.one("append", **append_request(n, 1, token, [started(1)]))
        return token

    def finish(self, n, answer="fine", state="succeeded", **end):
        """started, a reply and the end; returns the token."""
        token = self.begin(n)
        events = [reply(answer), ended(state, content=answer, **end)]
        self.broker.one("append", **append_request(n, 2, token, events, end=state))
        return token

    def chat(self, user="ann", content="hello", answer="fine", **more):
        """A whole job; returns (job id, n, session)."""
        job, accepted = self.submit(user, content, **more)
        self.finish(accepted["n"], answer)
        return job, accepted["n"], accepted.get("session")


def submit_request(user="ann", content="hello", job=None, input=None, **more):
    request = {"job": job or wire.make_id(), "user": user, "hash": HASH, "workflow": TEXT,
               "input": {"content": content, **(input or {})}, **more}
    return {key: value for key, value in request.items() if value is not None}


def append_request(n, seq, token, events, **more):
    return {"n": n, "seq": seq, "token": token, "count": len(events), "events": events, **more}


def started(attempt, worker="w:1"):
    return {"kind": "started", "attempt": attempt, "worker": worker, "at_ms": 1}


def turn(content, step="root:0", agent="user"):
    return {"kind": "turn", "step": step, "agent": agent, "content": content, "at_ms": 1}


def reply(content, step="root:1"):
    return {"kind": "model_reply", "step": step, "agent": "assistant", "provider": "script", "model": "script",
            "content": content, "finish_reason": "stop", "at_ms": 2}


def waiting():
    return {"kind": "waiting", "reason": "person", "ask": "a1", "prompt": "which?", "at_ms": 3}


def attempt_failed(attempt):
    return {"kind": "attempt_failed", "attempt": attempt, "code": "model", "text": "500", "at_ms": 3}


def ended(state="succeeded", **more):
    return {"kind": "end", "state": state, "stop_reason": "done", "at_ms": 4, **more}
