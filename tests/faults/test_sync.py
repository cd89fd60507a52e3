"""Acknowledged means on disk: strace sees in which order the storage syncs and the broker answers."""

import re
import shutil
import time

import autobots_wire as wire
import flows
import pytest
import service as service_module

pytestmark = pytest.mark.skipif(service_module.mode() != "debug", reason="strace and sanitizers do not go together")
LINE = re.compile(r"^(\d+) +(\d+\.\d+) (\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+) +(\d+\.\d+) <\.\.\. \w+ resumed>")


def traced(log):
    """storage or broker under strace; -D leaves the program itself as our child."""
    assert shutil.which("strace"), "strace is not installed: deploy/deps.sh test"
    return ["strace", "-D", "-f", "-qq", "-ttt", "-T", "-xx", "-s", "100000", "-o", str(log), "-e",
            "trace=pwrite64,pwritev,pwritev2,write,fdatasync,fsync,sendto,sendmsg"]


def calls(path):
    """(start, end, name, fd, data) of each system call; those that strace shows in two pieces are put together."""
    begun, found = {}, []
    for line in path.read_text().splitlines():
        if match := RESUMED.match(line):
            start, name, rest = begun.pop(match[1])
            found.append((start, float(match[2]), name, *arguments(rest)))
        elif match := LINE.match(line):
            thread, start, name, rest = match[1], float(match[2]), match[3], match[4]
            if "<unfinished" in rest:
                begun[thread] = (start, name, rest)
            else:
                took = re.search(r"<(\d+\.\d+)>$", rest)
                found.append((start, start + (float(took[1]) if took else 0), name, *arguments(rest)))
    return sorted(found)


def arguments(rest):
    fd = int(re.match(r"(\d+)", rest)[1])
    data = b"".join(bytes.fromhex(text.replace("\\x", "")) for text in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', rest))
    return fd, data


def streams(found, names):
    """Per descriptor: all bytes sent and, for each piece, (offset of its end, start time)."""
    out = {}
    for start, _, name, fd, data in found:
        if name in names:
            whole, marks = out.setdefault(fd, (bytearray(), []))
            whole += data
            marks.append((len(whole), start))
    return out


def accepted_times(found):
    """job id → when its ACCEPTED left the broker."""
    times = {}
    for whole, marks in streams(found, ("sendto", "sendmsg", "write")).values():
        for match in re.finditer(rb"AB\x01\x0b", bytes(whole)):
            place = whole.find(b"\xc4\x10", match.end())
            if 0 <= place < match.end() + 64:
                at = next(time for end, time in marks if end >= place + 18)
                times.setdefault(bytes(whole[place + 2:place + 18]), at)
    return times


@pytest.fixture
def traced_service(make_service):
    service = make_service(workers=0, start=False)
    logs = {name: service.folder / f"{name}.strace" for name in ("storage", "broker")}
    service.prefix = {name: traced(log) for name, log in logs.items()}
    service.start("storage")
    service.start("broker")
    service.wait_ready(timeout=60)
    service.strace_logs = logs
    return service


def test_no_accepted_leaves_before_its_sync(traced_service):
    flow, ids = flows.script_chat(["x"]), []
    with traced_service.client("sync") as client:
        for window in (1, 1, 1, 10, 10, 30):
            sent = [client.submit_later(flow, "x") for _ in range(window)]
            ids += [client.answer(rid, 60)["job"] for rid, _ in sent]
    traced_service.stop()
    writes = calls(traced_service.strace_logs["storage"])
    accepted = accepted_times(calls(traced_service.strace_logs["broker"]))
    syncs = [one for one in writes if one[2] in ("fdatasync", "fsync")]
    assert syncs
    for job in ids:
        assert job in accepted, "ACCEPTED was not seen in the broker's writes"
        written = min((end for _, end, name, _, data in writes if "pwrite" in name and job in data), default=None)
        assert written, "the job was not seen in the storage's writes"
        synced = min((end for start, end, *_ in syncs if start >= written), default=None)
        assert synced and synced <= accepted[job], "ACCEPTED left before the sync of its job had ended"


def test_a_window_of_a_hundred_shares_syncs(traced_service):
    jobs, window = 1000, 100
    flow = flows.script_chat(["x"])
    with traced_service.client("many") as client, traced_service.worker(slots=window) as worker:
        client.submit(flow, "first", no_session=True)
        worker.finish(worker.take())
        before = time.time()
        open_rids, sent, answered = set(), 0, 0
        ended = 0
        while ended < jobs:
            while sent < jobs and sent - ended < window:
                open_rids.add(client.submit_later(flow, "x", no_session=True)[0])
                sent += 1
            while message := client.take_any():
                answered += message.name == "ACCEPTED"
            if message := worker.take_any(0.005):
                if message.name == "JOB":
                    worker.finish(wire.Lease(message), wait_commit=False)
                elif message.name == "COMMITTED":
                    ended += 1
        after = time.time()
        wire_deadline = time.monotonic() + 10
        while answered < jobs and time.monotonic() < wire_deadline:
            message = client.receive(1)
            answered += message is not None and message.name == "ACCEPTED"
        assert answered == jobs
    traced_service.stop()
    syncs = [one for one in calls(traced_service.strace_logs["storage"])
             if one[2] in ("fdatasync", "fsync") and before <= one[0] <= after]
    print(f"{len(syncs)} syncs for {jobs} whole jobs")
    assert len(syncs) < jobs / 10, f"{len(syncs)} syncs for {jobs} jobs"
