"""Escapes and abuses: what sandboxed code cannot do. Each attack prints what came of it: the name of the error that it
met, or ESCAPED; so an attack that did not even run fails its test too."""

import os
import pathlib
import platform
import socket

import code
import pytest
import workers
from autobots_wire import id_text
from code import attack
from service import processes, wait_until

SECRET = "sk-the-worker-has-this"
NUMBERS = {"x86_64": {"keyctl": 250, "add_key": 248, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
                      "io_uring_setup": 425, "init_module": 175, "kexec_load": 246, "reboot": 169, "clone3": 435,
                      "open_by_handle_at": 304, "pidfd_getfd": 438, "process_vm_readv": 310, "swapon": 167,
                      "quotactl": 179, "acct": 163, "syslog": 103, "personality": 135, "fsopen": 430, "setns": 308},
           "aarch64": {"keyctl": 219, "add_key": 217, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
                       "io_uring_setup": 425, "init_module": 105, "kexec_load": 104, "reboot": 142, "clone3": 435,
                       "open_by_handle_at": 265, "pidfd_getfd": 438, "process_vm_readv": 270, "swapon": 224,
                       "quotactl": 60, "acct": 89, "syslog": 116, "personality": 92, "fsopen": 430, "setns": 268}}


@pytest.fixture(scope="module", params=workers.kinds("root-without-control-groups", "ordinary-user"))
def service(request, short_folder):
    """One worker, so that every attack has the same neighbour; with something to steal."""
    with workers.started(request.param, short_folder(), env={"OPENAI_API_KEY": SECRET}) as one:
        yield one


@pytest.fixture
def client(service, user):
    with service.client(user) as one:
        yield one
    service.assert_alive()


# --- the network ------------------------------------------------------------------------------------------------------


def test_no_connection_to_this_machine(client):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 5).close()  # it does listen
        said = attack(client, f"attempt('tcp', lambda: socket.create_connection(('127.0.0.1', {port}), 5))")
        assert said["output"] == "tcp ECONNREFUSED\n"  # of its own, empty loopback


def test_no_connection_to_others(client):
    said = attack(client, """
attempt('tcp', lambda: socket.create_connection(('192.0.2.1', 80), 5))
attempt('udp', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53)))
attempt('six', lambda: socket.create_connection(('2001:db8::1', 80), 5))
attempt('meta', lambda: socket.create_connection(('169.254.169.254', 80), 5))
""")
    assert [line.split()[1] for line in said["output"].splitlines()] == ["ENETUNREACH"] * 4


def test_no_odd_sockets(client):
    said = attack(client, """
for family, kind in ((17, 3), (40, 1), (38, 5), (31, 3), (29, 3), (44, 3)):
    attempt(family, lambda: socket.socket(family, kind))
attempt('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
""")
    assert said["output"].split()[1::2] == ["EAFNOSUPPORT"] * 6 + ["EPERM"]


def test_no_abstract_sockets_of_the_machine(client):
    name = f"\0autobots-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        said = attack(client, f"attempt('abstract', lambda: socket.socket(socket.AF_UNIX).connect({name!r}))")
        assert said["output"] == "abstract ECONNREFUSED\n"


# --- what belongs to the worker ---------------------------------------------------------------------------------------


def test_no_sockets_and_files_of_the_service(client, service):
    said = attack(client, f"""
for name in ('worker.sock', 'storage.sock', 'client.sock'):
    attempt(name, lambda: socket.socket(socket.AF_UNIX).connect({str(service.dir)!r} + '/' + name))
for name in ('database.sqlite', 'pool-default.key', '.'):
    attempt(name, lambda: os.stat({str(service.dir)!r} + '/' + name))
""")
    assert said["output"].split()[1::2] == ["ENOENT"] * 6


def test_nothing_of_the_workers_environment(client):
    said = attack(client, f"""
import glob
seen = [open(path, 'rb').read() for path in glob.glob('/proc/[0-9]*/environ')]
print(len(seen) > 0, any(b'{SECRET[3:]}' in one for one in seen), sorted(os.environ) )
""")
    seen, leaked, names = said["output"].split(" ", 2)
    assert (seen, leaked) == ("True", "False")
    assert not [name for name in eval(names) if name.startswith(("AUTOBOTS", "OPENAI", "SSH", "GIT"))]


def test_no_descriptors_of_the_worker(client):
    said = attack(client, "print(sorted(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') "
                          "if os.path.islink(f'/proc/self/fd/{n}') and int(n) != 3), os.listdir('/proc/self/fd'))")
    assert said["output"].count("pipe:") == 2 and said["output"].count("/dev/null") == 1, said["output"]
    assert "socket:" not in said["output"] and "memfd" not in said["output"]


def test_no_signals_to_the_worker(client, service):
    worker = service["worker1"].pid
    said = attack(client, f"""
for pid in ({worker}, {os.getpid()}, os.getppid() + 100000):
    attempt(pid, lambda: os.kill(pid, 9))
""")
    assert said["output"].split()[1::2] == ["ESRCH"] * 3


def test_killing_everything_kills_itself_only(client, service):
    result = code.one(client, "kill -9 -1; echo still here", "sh")
    assert result["exit_code"] in (0, 137)
    service.assert_alive()


def test_no_processes_but_its_own(client, service):
    said = attack(client, "print(sorted(open(f'/proc/{n}/comm').read().strip() for n in os.listdir('/proc') "
                          "if n.isdigit()))")
    assert set(eval(said["output"])) <= {"bwrap", "python3"}


# --- files ------------------------------------------------------------------------------------------------------------


def test_nothing_of_the_machine_but_the_system(client, tmp_path):
    (tmp_path / "private").write_text("x")
    said = attack(client, f"""
for path in ('/etc/shadow', '/etc/passwd', '/root', '/home', '/var', '/run', '/sys', '/boot', {str(tmp_path)!r}):
    attempt(path, lambda: os.stat(path))
print(os.listdir('/tmp'))
""")
    assert said["output"].split()[1::2] == ["ENOENT"] * 9 and said["output"].endswith("[]\n")


def test_the_system_is_read_only(client):
    said = attack(client, """
for path in ('/x', '/usr/x', '/usr/bin/x', '/dev/x', '/lib/x', '/proc/x'):
    attempt(path, lambda: open(path, 'w'))
attempt('chmod', lambda: os.chmod('/usr', 0o777))
attempt('unlink', lambda: os.unlink('/usr/bin/env'))
""")
    assert set(said["output"].split()[1::2]) <= {"EROFS", "ENOENT"}


def test_no_directory_of_another_job(client, service):
    marker = f"98{os.getpid()}1"
    job = client.submit(code.flow(code.block(f"echo secret > mine; sleep {marker}", "sh")), "go", watch="all").id
    try:
        [other] = wait_until(lambda: processes("sleep", marker), what="the other job's code")
        [place] = (service.dir / "work").glob(f"w-*/{id_text(job)}*")
        said = attack(client, f"""
for path in ({str(place)!r}, '/proc/{other}/fd/1', '/proc/{other}/cwd/mine'):
    attempt(path, lambda: os.stat(path))
print(os.listdir('/workspace'))
""")
        assert said["output"].split()[1:6:2] == ["ENOENT"] * 3 and "mine'" not in said["output"].splitlines()[-1]
    finally:
        client.cancel(job)
        client.events_to_end(job)


def test_links_are_not_followed_out_and_not_kept(client, service):
    target = service.folder / "target.py"
    target.write_text("untouched")
    results, end = code.run(
        client,
        code.block(f"ln -s {target} plot.py; ln -s / root; ln -s ../.. up; mkfifo pipe; echo ok > kept; ls", "sh"),
        code.block("print('second')", name="plot.py"))
    assert "plot.py" in results[0]["output"] and results[1]["output"] == "second\n"
    assert target.read_text() == "untouched"
    assert [one["path"] for one in end["result"]["files"]] == ["kept", "plot.py"]


def test_a_link_in_the_way_of_a_folder_is_not_followed(client, service):
    outside = service.folder / "outside"
    outside.mkdir(exist_ok=True)
    code.run(client, code.block(f"ln -s {outside} d", "sh") + "\n" + code.block("print(1)", name="d/x.py"))
    assert not list(outside.iterdir())


def test_no_links_to_files_of_the_system(client):
    said = attack(client, """
for path in ('/usr/bin/env', '/proc/self/exe', '/proc/1/exe', '/dev/null'):
    attempt(path, lambda: os.link(path, 'stolen', follow_symlinks=True))
""")
    assert set(said["output"].split()[1::2]) <= {"EXDEV", "EACCES", "EPERM", "ENOENT"}


def test_only_plain_files_are_kept_and_without_special_rights(client, service):
    """Pipes, sockets, links, names that are no text and set-user-id bits are of no use to anybody afterwards."""
    results, end = code.run(client, code.block(code.PYTHON + """
os.mkfifo('pipe')
socket.socket(socket.AF_UNIX).bind('socket')
os.symlink('/etc/passwd', 'link')
open(b'bad\\xff', 'w').close()
open('two\\nlines', 'w').close()
open('tool', 'w').close()
os.chmod('tool', 0o6755)
os.makedirs('empty/folder')
attempt('device', lambda: os.mknod('null', 0o20666, os.makedev(1, 3)))
"""), code.block("ls -lAR; stat -c '%a %n' tool", "sh"))
    assert results[0]["output"] == "device EPERM\n"
    assert "755 tool" in results[1]["output"] and "folder" in results[1]["output"]
    assert not [word for word in ("pipe", "socket", "link", "bad", "lines") if word in results[1]["output"]]
    assert [(one["path"], one["executable"]) for one in end["result"]["files"]] == [("tool", True)]


def test_what_code_closes_to_itself_is_collected(client):
    _, end = code.run(client, code.block("mkdir -p a/b; echo 1 > a/b/deep; echo 2 > top; "
                                         "chmod 0 a/b/deep top a/b a .", "sh"))
    assert [one["path"] for one in end["result"]["files"]] == ["a/b/deep", "top"]


def test_nothing_of_running_code_lies_on_the_disk(client, service):
    marker = f"98{os.getpid()}4"
    job = client.submit(code.flow(code.block(f"touch made; mkfifo pipe; sleep {marker}", "sh")), "go", watch="all").id
    [pid] = wait_until(lambda: processes("sleep", marker), what="the code runs")
    try:
        [place] = (service.dir / "work").glob(f"w-*/{id_text(job)}*")
        assert [path.suffix for path in place.iterdir()] == [".sh"]  # the script
    finally:
        os.kill(pid, 9)
        client.events_to_end(job)


def test_writing_through_a_mapping_is_seen(client):
    results, _ = code.run(client, code.block("open('data','w').write('a' * 5000)"), code.block("""import mmap
with open('data', 'r+b') as file:
    mmap.mmap(file.fileno(), 0)[0:1] = b'b'
"""), code.block("head -c 3 data", "sh"))
    assert results[2]["output"] == "baa"


# --- the kernel -------------------------------------------------------------------------------------------------------


def test_no_system_calls_into_the_kernel(client):
    numbers = NUMBERS.get(platform.machine())
    assert numbers, f"add the numbers of {platform.machine()}"
    said = attack(client, f"""
for name, number in {numbers!r}.items():
    attempt(name, lambda: must(libc.syscall(number, 0, 0, 0, 0, 0, 0)))
""")
    assert dict(line.split() for line in said["output"].splitlines()) == {
        name: "ENOSYS" if name == "clone3" else "EPERM" for name in numbers}


def test_no_namespaces(client):
    said = attack(client, """
for flag in (0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x08000000, 0x04000000, 0x02000000):
    attempt(hex(flag), lambda: must(libc.unshare(flag)))
number = {'x86_64': 56, 'aarch64': 220}[platform.machine()]
attempt('clone', lambda: must(libc.syscall(number, 0x10000000 | 17, 0, 0, 0, 0)))
""")
    assert said["output"].split()[1::2] == ["EPERM"] * 8


def test_no_mounts(client):
    said = attack(client, """
os.mkdir('m')
attempt('tmpfs', lambda: must(libc.mount(b'none', b'm', b'tmpfs', 0, None)))
attempt('bind', lambda: must(libc.mount(b'/', b'm', None, 4096, None)))
attempt('rw', lambda: must(libc.mount(None, b'/usr', None, 32 | 4096, None)))
attempt('umount', lambda: must(libc.umount2(b'/usr', 2)))
attempt('chroot', lambda: os.chroot('m'))
""")
    assert said["output"].split()[1::2] == ["EPERM"] * 5


def test_no_tracing(client):
    said = attack(client, """
attempt('traceme', lambda: must(libc.ptrace(0, 0, 0, 0)))
attempt('attach', lambda: must(libc.ptrace(16, os.getppid(), 0, 0)))
attempt('seize', lambda: must(libc.ptrace(0x4206, 1, 0, 0)))
attempt('mem', lambda: open('/proc/1/mem', 'rb').read(1))
""")
    assert set(said["output"].split()[1::2]) <= {"EPERM", "EACCES", "EIO", "EROFS"}


def test_no_kernel_settings(client):
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    said = attack(client, """
for path in ('/proc/sys/kernel/core_pattern', '/proc/sys/vm/panic_on_oom', '/proc/sysrq-trigger', '/proc/sys/kernel/hostname',
             '/proc/self/uid_map', '/proc/irq/default_smp_affinity'):
    attempt(path, lambda: open(path, 'w').write('1'))
""")
    assert set(said["output"].split()[1::2]) <= {"EROFS", "EACCES", "ENOENT", "EPERM"}
    assert pathlib.Path("/proc/sys/kernel/core_pattern").read_text() == pattern


def test_no_clock_and_no_names(client):
    name = socket.gethostname()
    said = attack(client, """
attempt('clock', lambda: time.clock_settime(time.CLOCK_REALTIME, 0))
attempt('hostname', lambda: socket.sethostname('mine'))
print(socket.gethostname())
""")
    assert said["output"] == "clock EPERM\nhostname EPERM\nsandbox\n" and socket.gethostname() == name


def test_no_devices(client):
    said = attack(client, """
for path in ('/dev/mem', '/dev/kmsg', '/dev/vda', '/dev/sda', '/dev/kvm', '/dev/fuse', '/dev/net/tun'):
    attempt(path, lambda: os.stat(path))
attempt('mknod', lambda: os.mknod('disk', 0o60666, os.makedev(8, 0)))
print(sorted(os.listdir('/dev')))
""")
    assert said["output"].split()[1:14:2] == ["ENOENT"] * 7 and "mknod EPERM" in said["output"]
    listed = eval(said["output"].splitlines()[-1])
    assert set(listed) <= {"core", "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
                           "tty", "urandom", "zero", "console"}


def test_no_terminal(client):
    said = attack(client, """
import fcntl, pty, termios
attempt('tty', lambda: open('/dev/tty'))
master, slave = pty.openpty()
attempt('sti', lambda: fcntl.ioctl(slave, termios.TIOCSTI, b'x'))
attempt('linux', lambda: fcntl.ioctl(slave, 0x541c, b'\\2'))
""")
    assert said["output"] == "tty ENXIO\nsti EPERM\nlinux EPERM\n"


def test_no_rights_by_setuid_programs(client):
    said = attack(client, """
import shutil, subprocess
shutil.copy('/usr/bin/id', 'id')
try:
    os.chmod('id', 0o6755)
except OSError:
    pass
print(subprocess.run(['./id', '-u'], capture_output=True, text=True).stdout.strip())
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
print(*(status[key].strip() for key in ('NoNewPrivs', 'Seccomp', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')))
attempt('setuid', lambda: os.setuid(0))
""")
    assert said["output"] == "65534\n1 2 " + " ".join(["0" * 16] * 4) + "\nsetuid EINVAL\n"


def test_no_core_dumps(client):
    said = attack(client, """
if not os.fork():
    os.abort()
print(os.wait()[1] & 0x7f == signal.SIGABRT, os.listdir())
""")
    assert said["output"].startswith("True ") and "core" not in said["output"]


def test_no_writing_into_processes(client):
    said = attack(client, """
for path in ('/proc/self/mem', '/proc/1/mem', '/proc/self/oom_score_adj', '/proc/self/coredump_filter', '/proc/self/setgroups'):
    attempt(path, lambda: open(path, 'r+b', buffering=0).write(b'0'))
""")
    assert set(said["output"].split()[1::2]) <= {"EROFS", "EACCES", "ENOENT", "EPERM"}


def test_no_keys_of_the_worker(client):
    """What a key ring would tell, also through /proc."""
    said = attack(client, """
for name, call in {'add': 248, 'request': 249, 'keyctl': 250}.items() if platform.machine() == 'x86_64' else \
        {'add': 217, 'request': 218, 'keyctl': 219}.items():
    attempt(name, lambda: must(libc.syscall(call, b'user', b'x', b'y', 1, -3)))
print(len([line for line in open('/proc/keys')]) if os.path.exists('/proc/keys') else 0)
""")
    assert said["output"] == "add EPERM\nrequest EPERM\nkeyctl EPERM\n0\n", said


def test_no_handles_of_files(client):
    """name_to_handle_at with real arguments: a handle would reach past what is mounted."""
    said = attack(client, """
number = {'x86_64': 303, 'aarch64': 264}[platform.machine()]
handle = ctypes.create_string_buffer(b'\\x80\\0\\0\\0' + bytes(200))
attempt('handle', lambda: must(libc.syscall(number, -100, b'/usr', handle, ctypes.byref(ctypes.c_int()), 0)))
""")
    assert said["output"] == "handle EPERM\n"


def test_no_settings_of_its_network(client):
    """Netlink is there, as programs ask it for addresses; it changes nothing and tells of nothing outside."""
    said = attack(client, """
import struct
def link_up():
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    one.send(struct.pack('=IHHIIBxHiII', 32, 16, 5, 1, 0, 0, 0, 1, 1, 1))  # RTM_NEWLINK of lo, with acknowledgement
    code = -struct.unpack_from('=i', one.recv(4096), 16)[0]
    if code:
        raise OSError(code, 'refused')
attempt('link', link_up)
attempt('audit', lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9).bind((0, 1)))
print(sorted(line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:]))
""")
    assert "link EPERM" in said["output"] and said["output"].endswith("['lo']\n")


def test_no_priority_over_others(client):
    said = attack(client, """
attempt('nice', lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
attempt('fifo', lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
""")
    assert set(said["output"].split()[1::2]) <= {"EPERM", "EACCES"}


# --- where there is no sandbox ----------------------------------------------------------------------------------------

WITHOUT = {"no bubblewrap": (["--ro-bind", "/dev/null", "/usr/bin/bwrap"], "install it"),
           "no user namespaces": (["--unshare-user", "--disable-userns"], "user namespaces")}


@pytest.mark.parametrize("what", WITHOUT)
def test_a_missing_sandbox_is_told_with_what_to_do(what):
    import subprocess
    from service import program
    flags, told = WITHOUT[what]
    done = subprocess.run(["bwrap", "--dev-bind", "/", "/", *flags, program("autobots-worker"), "--check"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and done.stdout.startswith("local fail code cannot be run"), done
    assert told in done.stdout, done.stdout


def test_without_a_sandbox_no_code_runs_and_the_job_says_why(make_service):
    service = make_service(workers=0)
    service.prefix["worker"] = ["bwrap", "--dev-bind", "/", "/", "--die-with-parent", *WITHOUT["no bubblewrap"][0]]
    service.start("worker1")
    service.wait_ready(1)
    with service.client() as client:
        results, end = code.run(client, code.block("print('it ran')"))
    assert not results and end["state"] == "failed" and end["code"] == "system", end
    assert "bubblewrap" in end["text"] and "install" in end["text"]
    service["worker1"].kill()


def test_demo_and_doctor_tell_of_a_missing_sandbox(shared, tmp_path):
    import subprocess
    from service import clean_environment, program
    hidden = ["bwrap", "--dev-bind", "/", "/", "--die-with-parent", *WITHOUT["no bubblewrap"][0], program("autobots")]
    environment = clean_environment({"TMPDIR": str(tmp_path)})
    demo = subprocess.run([*hidden, "demo"], capture_output=True, text=True, timeout=60, env=environment)
    assert demo.returncode == 0 and "skipped" in demo.stdout and "no bubblewrap" in demo.stdout, demo
    doctor = subprocess.run([*hidden, "doctor", "--dir", str(shared.dir)], capture_output=True, text=True, timeout=60,
                            env=environment)
    [line] = [line for line in doctor.stdout.splitlines() if " code " in line]
    assert line.startswith("warn") and "no bubblewrap" in line


def test_doctor_shows_the_sandbox(shared):
    import cli
    doctor = cli.run("doctor", "--dir", str(shared.dir))
    [line] = [line for line in doctor.out.splitlines() if " code " in line]
    assert line.startswith("ok") and "seccomp" in line
