"""Files of jobs over HTTP: their bytes as they are, ranges of them, and nothing that a browser would run."""

import hashlib
import os
import pathlib

import code
import pytest
from http_client import Gateway
from service import mode, slow

SIZE = 3 * 512 * 1024 + 77
MAKER = f"""
import random
r = random.Random(7)
open("big.bin", "wb").write(r.randbytes({SIZE}))
open("empty.txt", "w").close()
open("16.bin", "wb").write(bytes(range(16)))
open("page.html", "w").write("<script>alert(1)</script>")
open("pic.svg", "w").write("<svg onload='alert(1)'/>")
open("pic.png", "wb").write(b"\\x89PNG...")
open("note.txt", "w").write("für alle\\n")
open("f\\u00fcr \\"alle\\".csv", "w").write("a,b\\n")
"""


@pytest.fixture(scope="module")
def gateway(shared):
    one = Gateway(shared, "gateway31")
    yield one
    shared.processes.pop(one.name).terminate()


@pytest.fixture(scope="module")
def job(gateway):
    done = gateway.post("/api/jobs", {"workflow": code.flow(code.block(MAKER)), "text": "x", "wait_ms": 30000}, user="filer")
    assert done.body["state"] == "succeeded", done
    return done.body["job"]


@pytest.fixture(scope="module")
def big():
    import random
    return random.Random(7).randbytes(SIZE)


def get(gateway, job, path, method="GET", **headers):
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return gateway.request(method, f"/api/jobs/{job}/files/{path}", headers=named, user="filer")


def test_the_bytes_are_those_of_the_file(gateway, job, big):
    whole = get(gateway, job, "big.bin")
    assert whole.status == 200 and whole.bytes == big
    assert whole.headers["Content-Length"] == str(SIZE) and whole.headers["Accept-Ranges"] == "bytes"
    assert whole.headers["ETag"] == '"' + hashlib.blake2b(big, digest_size=32).hexdigest() + '"'
    head = get(gateway, job, "big.bin", "HEAD")
    assert head.status == 200 and head.headers["Content-Length"] == str(SIZE) and head.bytes == b""
    assert get(gateway, job, "16.bin").bytes == bytes(range(16))
    empty = get(gateway, job, "empty.txt")
    assert empty.status == 200 and empty.bytes == b"" and empty.headers["Content-Length"] == "0"
    page = get(gateway, job, "16.bin", Origin="http://localhost:8000")
    shown = {name.strip() for name in page.headers["Access-Control-Expose-Headers"].split(",")}
    assert {"ETag", "Accept-Ranges", "Content-Range", "Content-Disposition"} <= shown, "a page reads them"
    assert get(gateway, job, "none.txt").status == 404


@pytest.mark.parametrize("text, first, last", [
    ("bytes=0-0", 0, 0), ("bytes=10-99", 10, 99), ("bytes=524280-524300", 524280, 524300),
    ("bytes=524288-1048575", 524288, 1048575), (f"bytes={SIZE - 5}-", SIZE - 5, SIZE - 1), ("bytes=-7", SIZE - 7, SIZE - 1),
    ("bytes=1048570-99999999", 1048570, SIZE - 1), ("bytes=-99999999", 0, SIZE - 1)])
def test_a_range_of_it(gateway, job, big, text, first, last):
    part = get(gateway, job, "big.bin", Range=text)
    assert part.status == 206 and part.bytes == big[first:last + 1]
    assert part.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"


def test_pieces_pass_through_without_keeping_others_waiting(gateway, job):
    """In one process with everybody else's requests, a piece may take no time: it was once made JSON and read again."""
    def cpu_s():
        fields = pathlib.Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    began = cpu_s()
    for _ in range(20):
        assert get(gateway, job, "big.bin", Range="bytes=0-0").status == 206
    assert cpu_s() - began < 20 * 0.01 * slow()


def test_what_is_no_range_of_it(gateway, job, big):
    for text in (f"bytes={SIZE}-", "bytes=-0"):
        beyond = get(gateway, job, "big.bin", Range=text)
        assert beyond.status == 416 and beyond.headers["Content-Range"] == f"bytes */{SIZE}"
    for text in ("bytes=5-1", "bytes=0-1,5-6", "lines=1-2", "bytes=x", "bytes="):
        assert get(gateway, job, "16.bin", Range=text).bytes == bytes(range(16)), text


def test_what_one_has_is_not_sent_again(gateway, job, big):
    tag = get(gateway, job, "16.bin").headers["ETag"]
    same = get(gateway, job, "16.bin", If_None_Match=tag)
    assert same.status == 304 and same.bytes == b"" and same.headers["ETag"] == tag
    assert get(gateway, job, "16.bin", If_None_Match='"other"').status == 200
    assert get(gateway, job, "16.bin", Range="bytes=0-3", If_Range=tag).status == 206
    for other in ('"other"', "W/" + tag, "*"):
        assert get(gateway, job, "16.bin", Range="bytes=0-3", If_Range=other).status == 200
    same = get(gateway, job, "16.bin", If_None_Match=tag, Range="bytes=0-3")
    assert same.status == 304 and "Content-Range" not in same.headers


@pytest.mark.parametrize("path, type, shown", [
    ("page.html", "application/octet-stream", False), ("pic.svg", "application/octet-stream", False), ("pic.png", "image/png", True),
    ("note.txt", "text/plain; charset=utf-8", True), ("f%C3%BCr%20%22alle%22.csv", "text/csv; charset=utf-8", False)])
def test_browsers_run_none_of_it(gateway, job, path, type, shown):
    answer = get(gateway, job, path)
    assert answer.status == 200 and answer.headers["Content-Type"] == type
    assert answer.headers["Content-Disposition"].startswith("inline" if shown else "attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and "sandbox" in answer.headers["Content-Security-Policy"]
    assert f"filename*=UTF-8''{path}" in answer.headers["Content-Disposition"]


def test_a_client_that_goes_away_or_reads_slowly_holds_one_piece(gateway, job):
    path = f"/api/jobs/{job}/files/big.bin?user=filer"
    before = gateway.process.memory()
    open_ones = [gateway.raw(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()) for _ in range(30)]
    for one in open_ones:
        assert one.recv(100).startswith(b"HTTP/1.1 200")
    assert get(gateway, job, "note.txt").status == 200
    assert "asan" in mode() or gateway.process.memory() - before < 30 << 20, "of 30 downloads of 1.5 MiB each"
    for one in open_ones:
        one.close()
    assert get(gateway, job, "note.txt").status == 200


def test_files_of_a_message_are_in_the_jobs_directory_whatever_api_brings_them(gateway, shared):
    import base64
    encoded = base64.b64encode(b"a,b\n").decode()
    look = code.flow(code.block("cat table.csv; wc -c < image-3 | tr -d ' '", "sh"), name="look")
    ours = [{"type": "text", "text": "see"}, {"type": "file", "name": "table.csv", "data": encoded},
            {"type": "image", "data": base64.b64encode(b"\x89PNG").decode(), "media_type": "image/png"}]
    theirs = [{"type": "input_text", "text": "see"}, {"type": "input_file", "filename": "table.csv", "file_data": f"data:text/csv;base64,{encoded}"},
              {"type": "input_image", "image_url": "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()}]
    chat = [{"type": "text", "text": "see"}, {"type": "file", "file": {"filename": "table.csv", "file_data": encoded}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()}}]
    assert gateway.request("PUT", "/api/workflows/look", {"workflow": look}, user="uploader").status == 200
    answers = [
        gateway.post("/api/jobs", {"workflow": "look", "content": ours, "wait_ms": 30000}, user="uploader"),
        gateway.post("/api/messages", {"message": {"user_id": "uploader", "role": "user", "content": ours}, "flow_config": look}),
        gateway.post("/v1/responses", {"model": "look", "input": [{"role": "user", "content": theirs}]}, user="uploader"),
        gateway.post("/v1/chat/completions", {"model": "look", "messages": [{"role": "user", "content": chat}]}, user="uploader")]
    assert [one.status for one in answers] == [200] * 4, answers
    jobs = gateway.get("/api/jobs", user="uploader").body["jobs"]
    assert len(jobs) == 4
    for one in jobs:
        events = gateway.get(f"/api/jobs/{one['id']}/journal", user="uploader").body["events"]
        [result] = code.results(events)
        assert result["output"] == "a,b\n4\n", result
        assert get_file(gateway, one["id"], "table.csv") == b"a,b\n"


def get_file(gateway, job, path):
    return gateway.get(f"/api/jobs/{job}/files/{path}", user="uploader").bytes
