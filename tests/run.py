"""Runs test suites and sums them up: the last line is `N passed, N failed[, N skipped]`.

    run.py --build build --mode debug tests/unit/test_x.c … tests/integration …

A suite is a cmocka program (named by its source) or a folder of pytest files; a folder that does not exist is
left out. Two run at a time; name the longest folder first. Each suite writes BUILD/MODE/logs/<suite>.log; the files of a failed suite stay and are named. The
exit code is 0 only if every suite ran to its end and nothing failed. What a suite did not get to counts as a
failure: a crash, a time-out, a run without a single test, a test program that was not built.

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
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"
UNIT_SECONDS_MAX = {"debug": 120, "asan": 300, "tsan": 600}
FOLDER_SECONDS_MAX = {"debug": 900, "asan": 1500, "tsan": 1800}
SUITES_AT_ONCE = 2
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
        self.log = None
        self.files = None

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
    suite.log = options.logs / f"{name.replace('/', '.')}.log"
    if not program.exists():
        suite.log.write_text(f"{program} was not built\n")
        suite.failed.append(f"{name} (not built)")
        return suite
    environment = dict(options.environment, CMOCKA_MESSAGE_OUTPUT="STDOUT")
    began = time.monotonic()
    code, ended = run_process([str(program)], environment, suite.log, UNIT_SECONDS_MAX[options.mode])
    suite.seconds = time.monotonic() - began
    promised = count_cmocka(suite, suite.log.read_text(errors="replace"))
    ran = suite.passed + len(suite.failed) + len(suite.skipped)
    if ended or (code and not suite.failed):
        suite.failed.append(f"{name} ({ended or f'exit code {code}'})")
    elif ran < max(promised, 1):
        suite.failed.append(f"{name} (ran {ran} of {promised} tests)")
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


def run_pytest(folder, options):
    suite = Suite(folder)
    name = folder.replace("/", ".")
    suite.log = options.logs / f"{name}.log"
    report = options.logs / f"{name}.xml"
    report.unlink(missing_ok=True)
    # A short name under TMPDIR: the path of a unix socket has room for 107 bytes only.
    suite.files = pathlib.Path(tempfile.mkdtemp(prefix="autobots-test-"))
    command = [PYTHON, "-m", "pytest", folder, "-p", "no:cacheprovider", "-q", "--tb=short", "-ra", "--color=no",
               f"--basetemp={suite.files / 't'}", f"--junitxml={report}", "-o", "junit_family=xunit1",
               "-o", "junit_logging=no", f"--rootdir={ROOT}"]
    environment = dict(options.environment, PYTHONDONTWRITEBYTECODE="1")
    began = time.monotonic()
    code, ended = run_process(command, environment, suite.log, FOLDER_SECONDS_MAX[options.mode])
    suite.seconds = time.monotonic() - began
    if report.exists():
        count_junit(suite, report)
    ran = suite.passed + len(suite.failed) + len(suite.skipped)
    # pytest: 0 all passed, 1 some failed; anything else is a run that did not happen or did not end.
    if ended or code not in (0, 1) or not ran or (code == 1 and not suite.failed):
        suite.failed.append(f"{folder} ({ended or f'pytest exit code {code}'})")
    if not suite.failed:
        shutil.rmtree(suite.files, ignore_errors=True)
    return suite


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
    text = suite.log.read_text(errors="replace")
    # pytest tells its failures apart and bounds what it shows of each; of cmocka's output the end is enough.
    told = text.find("= FAILURES =") if suite.files else -1
    for line in text[told:].splitlines() if told >= 0 else text.splitlines()[-TAIL_LINES:]:
        print(f"    {line}")
    print(f"    log: {suite.log}" + (f"  files: {suite.files}" if suite.files else ""), flush=True)


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
        judge_skips(suite, allowed)
        report_suite(suite)
        suites.append(suite)

    folders = [folder for folder in folders if any((ROOT / folder).rglob("test_*.py"))]
    for run, names in ((run_cmocka, programs), (run_pytest, folders)):
        with concurrent.futures.ThreadPoolExecutor(SUITES_AT_ONCE) as pool:
            try:
                for suite in concurrent.futures.as_completed([pool.submit(run, name, options) for name in names]):
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
