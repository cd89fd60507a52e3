"""Runs test suites and sums them up: the last line is `N passed, N failed[, N skipped]`.

    run.py --build build --mode debug tests/unit/test_x.c … tests/integration …

A suite is a cmocka program (named by its source) or a folder of pytest files; a folder that does not exist is
left out. PROCESSES_AT_ONCE run at a time. A folder is run by that many: each takes the next file that none of them has
taken (tests/conftest.py), and the next folder begins when there is none; name the shortest folders last. A program writes
BUILD/MODE/logs/<suite>.log, a folder <suite>-1.log, <suite>-2.log … with the seeds, and .xml beside them; the files of a
failed suite stay and are named. The exit code is 0 only if every suite ran to its end and nothing failed. What a suite
did not get to counts as a failure: a crash, a time-out, a run without a single test, a test program that was not built.

With CI=true a skip is a failure unless its id stands in tests/allowed_skips.txt (`id  # reason`).

Suites see: AUTOBOTS_BUILD (absolute, BUILD/MODE, with bin/), AUTOBOTS_RELEASE (the same of release) and
AUTOBOTS_MODE (debug, asan, tsan).
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"
UNIT_SECONDS_MAX = {"debug": 120, "asan": 300, "tsan": 600}
FOLDER_SECONDS_MAX = {"debug": 900, "asan": 1500, "tsan": 1800}
# Tests wait more than they compute, except under a sanitizer.
PROCESSES_AT_ONCE = {"debug": 3, "asan": 2, "tsan": 2}
running = set()  # leaders of the sessions under way, for a person who interrupts
TAIL_LINES = 60


class Suite:
    """What one suite did: ids of tests, by outcome."""

    def __init__(self, name):
        self.name = name
        self.passed = 0
        self.failed = []
        self.skipped = []
        self.seconds = 0.0
        self.logs = []  # of a folder: where something failed
        self.files = None

    @property
    def ran(self):
        return self.passed + len(self.failed) + len(self.skipped)

    def line(self):
        skips = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"{self.name}: {self.passed} passed, {len(self.failed)} failed{skips} ({self.seconds:.1f} s)"


def run_process(command, environment, log, seconds_max):
    """Runs a command in a session of its own; its output goes to the log. Returns (exit code, "" or why it was ended)."""
    with open(log, "wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        running.add(process.pid)
        ended = ""
        try:
            process.wait(seconds_max)
        except subprocess.TimeoutExpired:
            ended = f"still running after {seconds_max} s"
        finally:
            # Whatever a suite leaves behind in its session must not outlive it.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            code = process.wait()
            running.discard(process.pid)
    if not ended and code < 0:
        ended = f"killed by {signal.Signals(-code).name}"
    return code, ended


def run_cmocka(source, options):
    name = f"unit/{pathlib.Path(source).stem}"
    suite = Suite(name)
    program = options.build / "tests" / "unit" / pathlib.Path(source).stem
    log = options.logs / f"{name.replace('/', '.')}.log"
    suite.logs.append(log)
    if not program.exists():
        log.write_text(f"{program} was not built\n")
        suite.failed.append(f"{name} (not built)")
        return suite
    environment = dict(options.environment, CMOCKA_MESSAGE_OUTPUT="STDOUT")
    began = time.monotonic()
    code, ended = run_process([str(program)], environment, log, UNIT_SECONDS_MAX[options.mode])
    suite.seconds = time.monotonic() - began
    promised = count_cmocka(suite, log.read_text(errors="replace"))
    if ended or (code and not suite.failed):
        suite.failed.append(f"{name} ({ended or f'exit code {code}'})")
    elif suite.ran < max(promised, 1):
        suite.failed.append(f"{name} (ran {suite.ran} of {promised} tests)")
    return suite


def count_cmocka(suite, text):
    """Reads cmocka's standard output: one line per test between `Running N test(s)` and `N test(s) run`."""
    promised, inside = 0, False
    for line in text.splitlines():
        if match := re.match(r"\[==========\] (?:.*: )?Running (\d+) test", line):
            promised += int(match[1])
            inside = True
        elif re.match(r"\[==========\] .*test\(s\) run", line):
            inside = False
        elif inside and (match := re.match(r"\[ *(OK|FAILED|SKIPPED) *\] (.+)", line)):
            if match[1] == "OK":
                suite.passed += 1
            else:
                (suite.skipped if match[1] == "SKIPPED" else suite.failed).append(f"{suite.name}::{match[2]}")
    return promised


class Folder:
    """A folder of pytest files, run by several processes that share its files out among them."""

    def __init__(self, folder, options):
        self.suite, self.options = Suite(folder), options
        # A short name under TMPDIR: the path of a unix socket has room for 107 bytes only.
        self.suite.files = pathlib.Path(tempfile.mkdtemp(prefix="autobots-test-"))
        self.claims = self.suite.files / "claims"
        self.claims.mkdir()
        self.left, self.lock, self.began = PROCESSES_AT_ONCE[options.mode], threading.Lock(), None

    def run(self, part):
        """Returns the suite when the last part has ended, None before."""
        self.began = self.began or time.monotonic()
        stem, suite = f"{self.suite.name.replace('/', '.')}-{part}", self.suite
        log, report = self.options.logs / f"{stem}.log", self.options.logs / f"{stem}.xml"
        report.unlink(missing_ok=True)
        command = [PYTHON, "-m", "pytest", suite.name, "-p", "no:cacheprovider", "-q", "--tb=short", "-ra", "--color=no",
                   f"--basetemp={suite.files / f't{part}'}", f"--junitxml={report}", "-o", "junit_family=xunit1",
                   "-o", "junit_logging=no", f"--rootdir={ROOT}"]
        environment = dict(self.options.environment, PYTHONDONTWRITEBYTECODE="1", AUTOBOTS_CLAIMS=str(self.claims))
        code, ended = run_process(command, environment, log, FOLDER_SECONDS_MAX[self.options.mode])
        with self.lock:
            failed = len(suite.failed)
            if report.exists():
                count_junit(suite, report)
            # pytest: 0 all passed, 1 some failed; anything else is a run that did not happen or did not end.
            if ended or code not in (0, 1) or (code == 1 and len(suite.failed) == failed):
                suite.failed.append(f"{suite.name} ({ended or f'pytest exit code {code}'})")
            if code:
                suite.logs.append(log)
            self.left -= 1
            return None if self.left else self.finish()

    def finish(self):
        self.suite.seconds = time.monotonic() - self.began
        self.suite.failed = list(dict.fromkeys(self.suite.failed))  # a file that is no Python fails in each process
        if not self.suite.failed:
            shutil.rmtree(self.suite.files, ignore_errors=True)
        return self.suite


def count_junit(suite, report):
    """A test may have several entries (its call and its teardown); the worst one counts."""
    rank, outcome = {"passed": 0, "skipped": 1, "failed": 2}, {}
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        where = case.get("file") or (case.get("classname") or "").replace(".", "/")
        test = f"{where}::{case.get('name')}"
        found = "passed"
        if case.find("failure") is not None or case.find("error") is not None:
            found = "failed"
        elif case.find("skipped") is not None:
            found = "skipped"
        outcome[test] = max(outcome.get(test, "passed"), found, key=rank.get)
    for test, found in outcome.items():
        if found == "passed":
            suite.passed += 1
        else:
            (suite.failed if found == "failed" else suite.skipped).append(test)


def allowed_skips():
    path, allowed = ROOT / "tests" / "allowed_skips.txt", set()
    if not path.exists():
        return allowed
    for number, line in enumerate(path.read_text().splitlines(), 1):
        test, _, reason = (part.strip() for part in line.partition("#"))
        if test and not reason:
            sys.exit(f"tests/allowed_skips.txt:{number}: a skip needs its reason: `id  # reason`")
        allowed.add(test)
    return allowed


def judge_skips(suite, allowed):
    """In CI a skip that nobody wrote down is a failure."""
    if os.environ.get("CI") != "true":
        return
    wrong = [test for test in suite.skipped if test not in allowed]
    suite.skipped = [test for test in suite.skipped if test in allowed]
    suite.failed += [f"{test} (skipped; not in tests/allowed_skips.txt)" for test in wrong]


def report_suite(suite):
    print(suite.line(), flush=True)
    if not suite.failed:
        return
    for log in suite.logs:
        text = log.read_text(errors="replace")
        # pytest tells its failures apart and bounds what it shows of each; of cmocka's output the end is enough.
        told = text.find("= FAILURES =") if suite.files else -1
        for line in text[told:].splitlines() if told >= 0 else text.splitlines()[-TAIL_LINES:]:
            print(f"    {line}")
        print(f"    log: {log}" + (f"  files: {suite.files}" if suite.files else ""), flush=True)


def environment_of(options):
    environment = dict(os.environ)
    # Tests must not meet a real service or a real key of the person who runs them.
    for name in list(environment):
        if name.startswith(("AUTOBOTS_", "OPENAI_")) or name in ("MODEL", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
            del environment[name]
    environment.update(
        AUTOBOTS_BUILD=str(options.build), AUTOBOTS_RELEASE=str(options.root / "release"), AUTOBOTS_MODE=options.mode,
        ASAN_OPTIONS="detect_leaks=1:abort_on_error=1:disable_coredump=1",
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:abort_on_error=1",
        TSAN_OPTIONS="halt_on_error=1:ignore_noninstrumented_modules=1")
    return environment


def parse_options():
    parser = argparse.ArgumentParser(description="run test suites and sum them up")
    parser.add_argument("--build", default="build", help="the build folder, above the modes")
    parser.add_argument("--mode", default="debug", choices=sorted(UNIT_SECONDS_MAX))
    parser.add_argument("suites", nargs="+", help="tests/unit/test_*.c or a folder of pytest files")
    options = parser.parse_args()
    options.root = pathlib.Path(options.build).resolve()
    options.build = options.root / options.mode
    options.logs = options.build / "logs"
    options.logs.mkdir(parents=True, exist_ok=True)
    options.environment = environment_of(options)
    return options


def main():
    os.chdir(ROOT)
    options = parse_options()
    allowed = allowed_skips()
    programs = [suite for suite in options.suites if suite.endswith(".c")]
    folders = [suite.rstrip("/") for suite in options.suites if not suite.endswith(".c")]
    suites = []

    def done(suite):
        if not suite:
            return
        judge_skips(suite, allowed)
        report_suite(suite)
        suites.append(suite)

    folders = [Folder(folder, options) for folder in folders if any((ROOT / folder).rglob("test_*.py"))]
    at_once = PROCESSES_AT_ONCE[options.mode]
    work = [(run_cmocka, program, options) for program in programs]
    work += [(folder.run, part) for folder in folders for part in range(1, at_once + 1)]
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        try:
            for suite in concurrent.futures.as_completed([pool.submit(*one) for one in work]):
                done(suite.result())
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for leader in list(running):
                os.killpg(leader, signal.SIGTERM)
            raise

    for word, tests in (("skipped", [t for s in suites for t in s.skipped]), ("failed", [t for s in suites for t in s.failed])):
        for test in tests:
            print(f"{word}: {test}")
    passed, failed, skipped = (sum(n) for n in zip(*((s.passed, len(s.failed), len(s.skipped)) for s in suites))) \
        if suites else (0, 1, 0)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
