"""The real processes in a private folder: started, watched, killed, started again.

    service = Service(folder, workers=2)        # storage, broker, 2 workers; ready when the constructor returns
    service.kill("broker"); service.start("broker")
    service.stop()                              # SIGTERM; a process that did not end with 0 is an AssertionError

Programs come from $AUTOBOTS_BIN, else $AUTOBOTS_BUILD/bin (what tests/run.py sets), else build/debug/bin. Nothing of
the caller's OPENAI_*, AUTOBOTS_* or proxies reaches them. Logs are files in FOLDER/log; `tails()` shows their ends.
"""

import os
import pathlib
import re
import signal
import subprocess
import time

import autobots_wire as wire

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
START_SECONDS = 20.0
STOP_SECONDS = 15.0
TAIL_LINES = 40
# What no log may ever hold: a sanitizer's report, an assertion.
CRASHES = re.compile(r"ERROR: (Address|Leak|Thread)Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed")


def mode():
    return os.environ.get("AUTOBOTS_MODE", "debug")


def slow():
    """How much longer things may take under a sanitizer."""
    return 1 if mode() in ("debug", "release") else 4


def binaries():
    if "AUTOBOTS_BIN" in os.environ:
        return pathlib.Path(os.environ["AUTOBOTS_BIN"])
    return pathlib.Path(os.environ.get("AUTOBOTS_BUILD", ROOT / "build" / "debug")) / "bin"


def release_binaries():
    return pathlib.Path(os.environ.get("AUTOBOTS_RELEASE", ROOT / "build" / "release")) / "bin"


def program(name):
    path = binaries() / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not built; run: make debug")
    return str(path)


def clean_environment(more=None):
    keep = {name: value for name, value in os.environ.items()
            if not name.startswith(("OPENAI_", "AUTOBOTS_")) and name != "MODEL" and not name.lower().endswith("_proxy")}
    keep["AUTOBOTS_HTTP"] = "off"  # `up` of one test must not take the port of another's
    keep.update(more or {})
    return {name: value for name, value in keep.items() if value is not None}


def processes(*texts):
    """The ids of processes whose command line holds all of these."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if all(str(text) in line for text in texts):
            found.append(int(path.parent.name))
    return found


def wait_until(condition, timeout=20.0, what="the condition", step=0.01):
    """Polls until condition() is true; returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {timeout} s; last value: {value!r}")
        time.sleep(step)


class Process:
    """One program with its log."""

    def __init__(self, name, argv, environment, log):
        self.name, self.argv, self.log_path = name, argv, log
        self.killed = False  # by us: its exit code says nothing
        self.log_from = log.stat().st_size if log.exists() else 0  # before it: an earlier process of that name
        with open(log, "ab") as out:
            self.process = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def own_log(self):
        return self.log_path.read_bytes()[self.log_from:].decode(errors="replace")

    def kill(self, signo=signal.SIGKILL):
        self.killed = True
        if self.running():
            self.process.send_signal(signo)
        self.process.wait(STOP_SECONDS)

    def terminate(self):
        """SIGTERM; returns the exit code."""
        if self.running():
            self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS * slow())
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end within {STOP_SECONDS} s of SIGTERM") from None

    def memory(self, field="VmRSS"):
        """Bytes."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field} of {self.name}")


ALL = []  # every Service of this test run, so that a failing test can show the logs


class Service:
    def __init__(self, folder, workers=1, config=None, env=None, start=True, prefix=()):
        """config: dict for the configuration file; env: for all processes; prefix: of the storage's command line
        (strace …)."""
        self.folder = pathlib.Path(folder)
        self.dir = self.folder / "d"
        self.dir.mkdir(mode=0o700, parents=True)
        (self.folder / "log").mkdir()
        self.env, self.workers = dict(env or {}), workers
        self.flags = []
        if config is not None:
            path = self.folder / "autobots.yaml"
            path.write_text(wire.json.dumps(config))  # JSON is YAML
            self.flags = ["--config", str(path)]
        self.prefix = {"storage": list(prefix)}
        self.processes, self.ended = {}, []
        ALL.append(self)
        if start:
            self.start_all()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.kill_all()

    # -- endpoints ------------------------------------------------------------------------------------------------

    def endpoint(self, which="client"):
        return f"ipc://{self.dir}/{which}.sock"

    def client(self, user="tester", **more):
        return wire.Client(self.endpoint("client"), user, **more)

    def storage(self, user="tester", **more):
        return wire.Storage(self.endpoint("storage"), user, **more)

    def worker(self, **more):
        return wire.Worker(self.endpoint("worker"), **more)

    # -- processes ------------------------------------------------------------------------------------------------

    def start_all(self):
        for name, socket in (("storage", "storage.sock"), ("broker", "worker.sock")):
            self.start(name)
            wait_until(lambda s=socket: self.died() or (self.dir / s).exists(), START_SECONDS * slow(), socket)
        for i in range(self.workers):
            self.start(f"worker{i + 1}")
        self.wait_ready()

    def start(self, name, env=None, flags=(), failpoint=None):
        """name: storage, broker, worker1, worker2 …, gateway1 …"""
        kind = name.rstrip("0123456789")
        environment = clean_environment({**self.env, **(env or {})})
        if failpoint:
            environment["AUTOBOTS_FAILPOINT"] = failpoint
        argv = [*self.prefix.get(kind, ()), program(f"autobots-{kind}"), "--dir", str(self.dir), *self.flags, *flags]
        old = self.processes.get(name)
        if old is not None:
            assert not old.running(), f"{name} is still running"
            self.ended.append(old)
        self.processes[name] = Process(name, argv, environment, self.folder / "log" / f"{name}.log")
        return self.processes[name]

    def __getitem__(self, name):
        return self.processes[name]

    def wait_ready(self, workers=None, timeout=START_SECONDS):
        """Until the broker takes jobs and knows its workers."""
        workers = self.workers if workers is None else workers
        timeout *= slow()
        wait_until(lambda: self.died() or (self.dir / "client.sock").exists(), timeout, "client.sock")
        self.assert_alive()
        with wire.Client(self.endpoint("client"), greet=False) as client:
            client.greet_again(timeout)
            status = {}

            def ready():
                self.assert_alive()
                nonlocal status
                try:
                    status = client.query("status", timeout=1)
                except wire.Failure as failure:
                    if not failure.retryable:
                        raise
                    return False
                except wire.NoAnswer:
                    client.greet_again(timeout)
                    return False
                return status.get("storage") and len(status.get("workers") or []) >= workers

            wait_until(ready, timeout, f"ready with {workers} workers")
        return status

    def died(self):
        return [p for p in self.processes.values() if not p.running() and not p.killed]

    def assert_alive(self):
        for process in self.died():
            raise AssertionError(f"{process.name} ended by itself with {process.process.returncode}:\n{self.tails()}")

    def kill(self, name, signo=signal.SIGKILL):
        self.processes[name].kill(signo)

    def wait_dead(self, name, timeout=20.0):
        """For a process that is expected to die (a fail point)."""
        process = self.processes[name]
        process.killed = True
        wait_until(lambda: not process.running(), timeout, f"the end of {name}")
        return process.process.returncode

    def kill_all(self):
        for process in self.processes.values():
            process.kill()

    def stop(self):
        """Gateways, workers, broker, storage in this order; all of them must end with 0 and without a sanitizer's report."""
        order = sorted(self.processes, key=lambda name: ("gateway", "worker", "broker", "storage").index(name.rstrip("0123456789")))
        wrong = []
        for name in order:
            process = self.processes[name]
            if process.killed:
                process.kill()
                continue
            code = process.terminate()
            if code:
                wrong.append(f"{name} ended with {code}")
        for name in order:
            if CRASHES.search(self.processes[name].log()):
                wrong.append(f"{name}'s log has a crash")
        assert not wrong, "; ".join(wrong) + "\n" + self.tails()

    # -- files and logs -------------------------------------------------------------------------------------------

    def logs(self):
        return {path.name: path.read_text(errors="replace") for path in sorted((self.folder / "log").iterdir())}

    def tails(self, lines=TAIL_LINES):
        return "\n".join(f"--- {name} ({self.folder}/log)\n" + "\n".join(text.splitlines()[-lines:])
                         for name, text in self.logs().items())

    def files_holding(self, secret):
        """Paths below the folder whose bytes hold the secret."""
        secret = secret.encode() if isinstance(secret, str) else secret
        return [str(path) for path in self.folder.rglob("*") if path.is_file() and secret in path.read_bytes()]

    def sqlite(self):
        """The database, read-only, for a test that looks below the protocol."""
        import sqlite3
        return sqlite3.connect(f"file:{self.dir}/database.sqlite?mode=ro", uri=True, timeout=10)
