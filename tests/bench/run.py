#!/usr/bin/python3
"""The benchmarks: our service and its peers do the same work on the same disk in one run, in interleaved rounds.

Prints every line as measured, then medians and the ratios. A machine under other load changes the figures, much less
the ratios. Nothing here asserts a time.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 3
NOOP = {(1, "closed"): 1500, (100, "closed"): 40000, (1000, "closed"): 60000, (1000, "open"): 60000}  # window: jobs
CHAT = {(1, "closed"): 500, (100, "closed"): 10000, (1000, "closed"): 10000}


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"bench: {what} did not come up")
        time.sleep(0.02)


def ready(status, workers):
    broker = json.loads(status.stdout)["broker"] if status.returncode == 0 else {}
    return broker.get("storage") and len(broker["workers"]) == workers


def stop(processes):
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        process.wait(20)


class Service:
    """Storage, broker and (for chats) workers in a private folder."""

    def __init__(self, build, folder, workers):
        self.dir = folder
        self.processes = []
        os.makedirs(folder, mode=0o700)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "AUTOBOTS_"))}
        log = open(os.path.join(folder, "log"), "w")
        for name in ["storage", "broker"] + ["worker"] * workers:
            command = [f"{build}/bin/autobots-{name}", "--dir", folder, "--log-level", "warn"]
            self.processes.append(subprocess.Popen(command, env=env, stderr=log))
        status = [f"{build}/bin/autobots", "status", "--json", "--dir", folder]
        wait_for(lambda: ready(subprocess.run(status, env=env, capture_output=True, text=True), workers), "the service")

    def pids(self):
        return " ".join(str(p.pid) for p in self.processes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.processes)


class Redis:
    def __init__(self, folder):
        os.makedirs(folder, mode=0o700)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", folder, "--appendonly", "yes",
             "--appendfsync", "always", "--save", "", "--loglevel", "warning"], stdout=subprocess.DEVNULL)
        wait_for(self.answers, "redis-server")

    def answers(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop([self.process])


def measure(results, command):
    os.sync()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"bench: {' '.join(command[:4])} failed")
    line = done.stdout.strip()
    print(line, flush=True)
    name = line.split(" jobs=")[0]
    for key, value in re.findall(r"(\S+)=([\d.]+)", line.split(name, 1)[1]):
        results.setdefault(name, {}).setdefault(key, []).append(float(value))


def round_of(results, build, folder):
    def load(kind, plan, arguments):
        for (window, how), jobs in plan.items():
            measure(results, [f"{build}/bench/{kind}", *arguments(str(jobs), str(window), how)])

    with Service(build, f"{folder}/a", 0) as service:
        load("bench_load", NOOP, lambda *what: [service.dir, "noop", *what, service.pids()])
    with Redis(f"{folder}/r") as redis:
        load("bench_redis", NOOP, lambda *what: [str(redis.port), *what, str(redis.process.pid)])
    with Service(build, f"{folder}/c", 2) as service:
        load("bench_load", CHAT, lambda *what: [service.dir, "chat", *what, service.pids()])


def http(build, folder):
    """HTTP over ZeroMQ, and idle event streams, through a gateway."""
    with Service(build, folder, 1) as service:
        log = open(os.path.join(folder, "gateway.log"), "w")
        gateway = subprocess.Popen([f"{build}/bin/autobots-gateway", "--dir", folder, "--http", "127.0.0.1:0"], stderr=log)
        service.processes.append(gateway)
        path = pathlib.Path(folder, "gateway.log")
        wait_for(lambda: "gateway.ready" in path.read_text(), "the gateway")
        port = re.search(r"url=http://127\.0\.0\.1:(\d+)", path.read_text())[1]
        done = subprocess.run([f"{build}/bench/bench_http", folder, port, str(gateway.pid)], stdout=subprocess.PIPE, text=True,
                              timeout=300)
        print(done.stdout, flush=True)
        if done.returncode:
            sys.exit("bench: bench_http failed")


def sandbox(build):
    """A script that does nothing, in the sandbox and without one."""
    done = subprocess.run([f"{build}/bench/bench_exec"], stdout=subprocess.PIPE, text=True, timeout=300)
    print(done.stdout, flush=True)


def engine(build):
    """Without any I/O: processor time per step of runs of 10 to 10,000 events."""
    rows = {}
    for line in subprocess.run([f"{build}/bench/bench_engine"], stdout=subprocess.PIPE, text=True, timeout=300,
                               check=True).stdout.splitlines():
        print(line, flush=True)
        kind, figures = line.split()[1], dict(re.findall(r"(\w+)=(\d+)", line))
        rows.setdefault(kind, []).append({key: int(value) for key, value in figures.items()})
    print("\n| engine, one core | live steps/s | 10,000 events : 10 | folded steps/s | 10,000 events : 10 |")
    print("|---|---|---|---|---|")
    for kind, row in rows.items():
        first, last = row[0], row[-1]
        print(f"| {kind} | {1e9 / last['live_ns']:,.0f} | {last['live_ns'] / first['live_ns']:.2f} × "
              f"| {1e9 / last['fold_ns']:,.0f} | {last['fold_ns'] / first['fold_ns']:.2f} × |")
    print()


def summary(results):
    medians = {name: {key: statistics.median(v) for key, v in row.items()} for name, row in results.items()}
    print("\n| load | jobs/s | server µs/job | ack p50 µs | ack p99 µs | cycle p50 µs | cycle p99 µs |")
    print("|---|---|---|---|---|---|---|")
    for name, m in sorted(medians.items()):
        print(f"| {name} | {m['jobs/s']:,.0f} | {m['server_us/job']:.1f} | {m['ack_p50_us']:.0f} | {m['ack_p99_us']:.0f} "
              f"| {m['cycle_p50_us']:.0f} | {m['cycle_p99_us']:.0f} |")
    print()
    for window, how in NOOP:
        load = f"noop {how} window={window}"
        ours, theirs = medians[f"autobots {load}"], medians[f"redis {load}"]
        print(f"ratio {load}: autobots / redis = {ours['jobs/s'] / theirs['jobs/s']:.2f} × jobs/s, "
              f"{ours['ack_p50_us'] / theirs['ack_p50_us']:.2f} × ack p50")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--dir", help="where the databases lie (default: a temporary folder)")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    results = {}
    engine(build)
    sandbox(build)
    with tempfile.TemporaryDirectory(prefix="ab-bench-", dir=options.dir) as folder:
        http(build, f"{folder}/h")
    for number in range(options.rounds):
        folder = tempfile.mkdtemp(prefix="ab-bench-", dir=options.dir)
        print(f"round {number + 1} of {options.rounds}", flush=True)
        try:
            round_of(results, build, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    summary(results)


main()
