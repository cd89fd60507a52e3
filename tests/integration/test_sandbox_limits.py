"""Abuses: too much of everything that sandboxed code may have, and what is left afterwards. With control groups and without."""

import os
import pathlib
import subprocess

import code
import pytest
import workers
from code import attack
from service import processes, program, wait_until


@pytest.fixture(scope="module", params=workers.kinds())
def service(request, short_folder):
    with workers.started(request.param, short_folder()) as one:
        yield one


@pytest.fixture
def client(service, user):
    with service.client(user) as one:
        yield one
    service.assert_alive()


def test_limits_cannot_be_raised(client):
    said = attack(client, """
for which in ('NPROC', 'NOFILE', 'FSIZE', 'CORE', 'MEMLOCK', 'MSGQUEUE'):
    number = getattr(resource, 'RLIMIT_' + which)
    soft, hard = resource.getrlimit(number)
    try:
        resource.setrlimit(number, (hard + 1, hard + 1))
    except (ValueError, OSError):
        print(which, hard)
    else:
        print(which, 'ESCAPED')
""")
    assert dict(line.split() for line in said["output"].splitlines()) == {
        "NPROC": "64", "NOFILE": "256", "FSIZE": str(32 << 20), "CORE": "0", "MEMLOCK": str(64 << 10), "MSGQUEUE": "0"}


def test_a_fork_bomb_runs_into_its_limit(client):
    said = attack(client, """
made = 0
try:
    while True:
        if not os.fork():
            time.sleep(60)
            os._exit(0)
        made += 1
except OSError as failure:
    print(errno.errorcode[failure.errno], 10 < made < 80)
""")
    assert said["output"] == "EAGAIN True\n"


def test_a_fork_bomb_leaves_other_code_its_processes(client):
    """Two at the same time: each has its own limit."""
    bomb = code.PYTHON + """
made = 0
try:
    while True:
        if not os.fork():
            time.sleep(60)
            os._exit(0)
        made += 1
except OSError:
    print(made > 40, flush=True)
    time.sleep(0.3)
"""
    jobs = [client.submit(code.flow(code.block(bomb)), "go", watch="all").id for _ in range(3)]
    for job in jobs:
        assert code.results(client.events_to_end(job))[0]["output"] == "True\n"


def test_memory_is_bounded(client, service):
    result = code.one(client, code.PYTHON + "x = bytearray(400 << 20)\nx[::4096] = b'1' * len(x[::4096])\nprint('ESCAPED')")
    assert result["exit_code"] != 0 and "ESCAPED" not in result["output"]
    assert "memory" in result.get("stopped", "") or "MemoryError" in result["output"]
    service.assert_alive()


def test_memory_of_many_processes_is_bounded_together(client, service):
    result = code.one(client, code.PYTHON + """
for i in range(8):
    if not os.fork():
        x = bytearray(100 << 20)
        x[::4096] = b'1' * len(x[::4096])
        time.sleep(60)
        os._exit(0)
print(os.wait()[1])
""", code={"timeout": 2, "use_docker": False})
    if "cgroup memory" in result["isolation"]:
        assert "memory" in result["stopped"], result
    service.assert_alive()


def test_what_protects_is_what_is_there(client, service):
    """Control groups where there are some, and as root a user of its own for each run, seen from outside."""
    markers = [f"98{os.getpid()}{i}" for i in (2, 3)]
    jobs = [client.submit(code.flow(code.block(f"sleep {marker}", "sh")), "go", watch="all").id for marker in markers]
    running = [wait_until(lambda: processes("sleep", marker), what="the code runs")[0] for marker in markers]
    users = [os.stat(f"/proc/{pid}").st_uid for pid in running]
    for pid, job in zip(running, jobs):
        os.kill(pid, 9)
        said = code.results(client.events_to_end(job))[0]
    there = workers.has_control_groups() if service.kind == "root" else False
    assert there is None or ("cgroup memory pids" in said["isolation"]) == there
    if service.kind.startswith("root"):
        assert "user id of its own" in said["isolation"] and min(users) > 60000 and users[0] != users[1]
    else:
        worker = os.stat(f"/proc/{service['worker1'].pid}/task").st_uid
        assert "user id" not in said["isolation"] and users == [workers.USER if workers.with_root() else worker] * 2


def test_private_memory_file_systems_are_bounded(client):
    said = attack(client, """
for path in ('/tmp/x', '/dev/shm/x'):
    def fill():
        for i in range(4):
            with open(path + str(i), 'wb') as out:
                for _ in range(31):
                    out.write(bytes(1 << 20))
    attempt(path, fill)
""")
    assert said["output"].split()[1::2] == ["ENOSPC"] * 2


def test_a_large_file_is_cut(client):
    result = code.one(client, code.PYTHON + """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def fill():
    with open('x', 'wb') as out:
        for _ in range(64):
            out.write(bytes(1 << 20))
attempt('file', fill)
os.unlink('x')
""")
    assert result["output"] == "file EFBIG\n"


def test_a_full_directory_is_stopped(client):
    result = code.one(client, """i=0
while [ $i -lt 40 ]; do dd if=/dev/zero of=f$i bs=1M count=20 2>/dev/null; i=$((i+1)); done; sleep 30""", "sh")
    assert result["exit_code"] == 137 and "64 MiB" in result["stopped"]


def wrote(said):
    """The last number it printed before it was stopped."""
    return int(said["output"].split()[-1])


def test_the_disk_is_bounded_however_fast_code_writes(client):
    """In large files and small ones: no more than 64 MiB and the slack of 8, by the kernel."""
    for size in (4 << 20, 64 << 10):
        said = code.one(client, f"""
size, done = {size}, 0
try:
    for i in range(10 ** 6):
        with open(f'f{{i}}', 'wb', buffering=0) as out:
            done += out.write(bytes(size))
        print(done, flush=True)
except OSError:
    print(done, flush=True)
    import time
    time.sleep(30)
""")
        assert said["exit_code"] == 137 and "64 MiB" in said["stopped"], said
        assert wrote(said) <= 72 << 20


def test_sparse_files_count_as_what_they_seem(client):
    said = code.one(client, "for i in 1 2 3 4 5; do truncate -s 32M f$i; done; echo all", "sh")
    assert said["output"] == "all\n" and said["exit_code"] == 137 and "64 MiB" in said["stopped"]


@pytest.mark.parametrize("place", ["/workspace", "/tmp", "/dev/shm"])
def test_files_without_number_are_stopped(client, place):
    said = code.one(client, f"""import os
os.chdir('{place}')
done = 0
while True:
    os.mkdir(f'd{{done}}') if done % 2 else os.symlink('x', f'l{{done}}')
    done += 1
    if done % 500 == 0:
        print(done, flush=True)
""")
    assert said["exit_code"] == 137 and "more files" in said["stopped"], said
    assert wrote(said) < (60_000 if place != "/workspace" else 50_000)


def test_a_directory_of_4096_levels_is_refused(client):
    said = code.one(client, """import os
for i in range(4096):
    os.mkdir('d')
    os.chdir('d')
""")
    assert said["exit_code"] == 137 and ("deep" in said["stopped"] or "folders" in said["stopped"])


def test_too_many_files_are_stopped(client):
    result = code.one(client, "for i in range(5000): open(f'f{i}', 'w').close()")
    assert result["exit_code"] == 137 and "more files" in result["stopped"]


def test_a_directory_too_deep_is_refused_and_removed(client, service):
    result = code.one(client, """import os
for i in range(3000):
    os.mkdir('d' * 100)
    os.chdir('d' * 100)
""")
    assert result["exit_code"] == 137 and ("deep" in result["stopped"] or "folders" in result["stopped"])
    wait_until(lambda: not [job for worker in (service.dir / "work").iterdir() for job in worker.iterdir()], 20,
               "the directory is gone")


def test_after_a_limit_the_next_block_has_the_files_of_before(client):
    results, end = code.run(client, code.block("open('kept','w').write('1')"),
                            code.block("open('kept','w').write('2')\nfor i in range(5000): open(f'f{i}','w').close()"),
                            code.block("import os\nprint(open('kept').read(), len(os.listdir()))"))
    assert results[1]["exit_code"] == 137 and results[2]["output"] == "1 2\n"
    assert [one["path"] for one in end["result"]["files"]] == ["kept"]


def test_a_flood_of_output_is_stopped(client):
    result = code.one(client, "yes", "sh")
    assert result["exit_code"] == 137 and "output" in result["stopped"] and len(result["output"]) <= 64 << 10


def test_much_output_is_cut(client):
    [result], end = code.run(client, code.block("print('x' * 100_000)"))
    assert result["exit_code"] == 0 and len(result["output"]) == 64 << 10 and result["output_bytes"] == 100_001
    assert "only the first are shown" in code.said(end)[0]


def test_output_that_is_no_text_becomes_text(client):
    result = code.one(client, "import os; os.write(1, b'a\\0\\xff\\xc3\\xa4\\xe2\\x82z\\xf0')")
    assert result["output"] == "a\ufffd\ufffdä\ufffd\ufffdz\ufffd"


def test_a_busy_loop_is_stopped(client):
    result = code.one(client, "while True: pass", code={"timeout": 1, "use_docker": False})
    assert result["exit_code"] == 124


def test_others_are_served_while_code_runs(client, service, user):
    """Many runs at the same time, more than may run at once, and each comes to its end."""
    jobs = [client.submit(code.flow(code.block(f"print({i})")), "go", watch="all").id for i in range(24)]
    for i, job in enumerate(jobs):
        assert code.results(client.events_to_end(job))[0]["output"] == f"{i}\n"


def test_nothing_is_left(client, service):
    """After all of the above: no process, no directory, no control group."""
    wait_until(lambda: not processes(str(service.dir / "work")), 10, "no process of the sandbox")
    wait_until(lambda: not [job for worker in (service.dir / "work").iterdir() for job in worker.iterdir()], 10,
               "no directory")
    worker = service["worker1"].pid
    groups = lambda: [path for path in pathlib.Path("/sys/fs/cgroup").rglob(f"autobots-{worker}-*")]
    wait_until(lambda: not groups(), 10, "no control group")


# --- whose code it is, as root ----------------------------------------------------------------------------------------


def check(*words, prefix=()):
    done = subprocess.run([*prefix, program("autobots-worker"), "--check", *words], capture_output=True, text=True, timeout=30)
    return done.stdout.splitlines()[0]


@pytest.mark.skipif(not workers.with_root(), reason="only root's code has other ids")
@pytest.mark.parametrize("ids", ["5", "0-31", "100-120", "abc", "100-200x", "4294967290-4294967295"])
def test_ids_that_cannot_be_used_are_told(ids):
    said = check("--code-uids", ids)
    assert said.startswith("local fail") and "no range of ids" in said


@pytest.mark.skipif(not workers.with_root(), reason="only root's code has other ids")
def test_ids_may_be_named_and_administration_is_not_needed():
    assert "user id of its own" in check("--code-uids", "300000-300999")
    drop = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    assert check(prefix=drop).startswith("local ok") and "user id of its own" in check(prefix=drop)
    said = check(prefix=["setpriv", "--bounding-set=-setuid", "--inh-caps=-setuid"])
    assert said.startswith("local fail") and "CAP_SETUID" in said


def test_the_only_id_of_a_namespace_is_bounded_or_refused():
    """Root in name only, which the kernel may count or not: the probe tries it out."""
    said = check(prefix=["unshare", "--user", "--map-root-user"])
    assert "user id of its own" not in said
    assert said.startswith("local ok") or "limit on processes" in said
