"""Code in containers: the Docker Engine API, against a fake that records and against a real podman."""

import os
import socket
import subprocess
import time

import code
import containers
import pytest
from service import processes, program, wait_until

SECRET = "sk-the-worker-has-this"
DOCKER = {"use_docker": True, "timeout": 20}


def check(path, image="python:3-slim"):
    """What --check says of this container service."""
    done = subprocess.run([program("autobots-worker"), "--check", "--docker-socket", str(path), "--docker-image", image],
                          capture_output=True, text=True, timeout=60)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("docker ")]
    return line


@pytest.fixture
def socket_path(short_folder):
    return short_folder() / "docker.sock"


# --- the fake ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api, least, spoken", [("1.41", "1.12", "v1.41"), ("1.41", "1.41", "v1.41"), ("1.44", "1.44", "v1.44"), ("1.52", "1.44", "v1.47"),
                                                ("1.25", "1.12", "v1.25"), ("1.47", "1.47", "v1.47")])
def test_the_newest_version_that_both_know_is_spoken(socket_path, api, least, spoken):
    with containers.Fake(socket_path, api=api, least=least) as fake:
        assert check(socket_path).startswith("docker ok container of python:3-slim")
        assert {version for _, path, version, _ in fake.requests if path != "/version"} == {spoken}


@pytest.mark.parametrize("api, least", [("1.60", "1.50"), ("1.24", "1.12"), ("9.9", "9.1")])
def test_a_service_without_a_version_in_common_is_refused(socket_path, api, least):
    with containers.Fake(socket_path, api=api, least=least):
        assert check(socket_path).startswith("docker fail code cannot be run")


def test_what_is_asked_for_a_container(socket_path):
    with containers.Fake(socket_path) as fake:
        check(socket_path)
        [asked] = fake.asked("POST", "/containers/create")
    host = asked["HostConfig"]
    assert asked["NetworkDisabled"] is True and host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True and host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges"]
    assert host["PidsLimit"] == 64 and host["Memory"] == host["MemorySwap"] == 1 << 30
    assert not asked["User"].startswith("0:") and "Privileged" not in host
    assert {one["Name"] for one in host["Ulimits"]} == {"nofile", "nproc", "core", "fsize"}


@pytest.mark.parametrize("line, lacks", [("NoNewPrivs:\t1", "seccomp"), ("CapEff:\t0000000000000000", "capabilities"),
                                         ("ns net:[1]", "no net")])
def test_a_container_that_does_not_protect_is_refused(socket_path, line, lacks):
    with containers.Fake(socket_path, seen=containers.GOOD.replace(line, "")):
        said = check(socket_path)
    assert said.startswith("docker fail") and lacks in said


def test_a_missing_image_is_told_with_what_to_do(socket_path):
    with containers.Fake(socket_path, images=()):
        said = check(socket_path)
    assert said.startswith("docker fail") and "docker pull python:3-slim" in said


def test_containers_of_dead_workers_are_removed(socket_path):
    def one(name, pid, host):
        return {"Id": name, "Labels": {"autobots.pid": str(pid), "autobots.host": host}}
    here, dead = socket.gethostname(), 2 ** 22 - 7
    listed = [one("dead", dead, here), one("living", os.getpid(), here), one("elsewhere", dead, "another-host")]
    with containers.Fake(socket_path, listed=listed) as fake:
        assert check(socket_path).startswith("docker ok")
        gone = {path.split("/")[2] for method, path, _, _ in fake.requests if method == "DELETE"}
    assert "dead" in gone and not gone & {"living", "elsewhere"}


def test_a_job_in_a_container(make_service, socket_path):
    with containers.Fake(socket_path) as fake:
        service = make_service(config={"docker_socket": str(socket_path)})
        with service.client() as client:
            results, end = code.run(client, "\n".join([code.block("echo one > file; printf 'a\\303\\244'", "sh"),
                                                       code.block("cat file; exit 3", "sh")]), code=DOCKER)
        assert [(one["exit_code"], one["output"]) for one in results] == [(0, "aä"), (3, "one\n")]
        assert results[0]["isolation"].startswith("container of python:3-slim")
        assert [one["path"] for one in end["result"]["files"]] == ["file"]
        wait_until(lambda: not fake.containers, what="all containers removed")


def test_cancelling_removes_the_container(make_service, socket_path):
    marker = f"99{os.getpid()}1"
    with containers.Fake(socket_path) as fake:
        service = make_service(config={"docker_socket": str(socket_path)})
        with service.client() as client:
            job = client.submit(code.flow(code.block(f"sleep {marker}", "sh"), code=DOCKER), "go", watch="all").id
            wait_until(lambda: processes("sleep", marker), what="the code runs")
            client.cancel(job)
            assert client.events_to_end(job)[-1]["state"] == "cancelled"
        wait_until(lambda: not fake.containers and not processes("sleep", marker), what="the container is gone")


def test_no_container_service_is_told_with_what_to_do(make_service, socket_path):
    service = make_service(config={"docker_socket": str(socket_path)})
    with service.client() as client:
        results, end = code.run(client, code.block("echo ran", "sh"), code=DOCKER)
    assert not results and end["state"] == "failed" and "docker_socket" in end["text"]


def test_a_skill_is_mounted_read_only(make_service, socket_path):
    with containers.Fake(socket_path) as fake:
        service = make_service(config={"docker_socket": str(socket_path)})
        with service.client() as client:
            client.storage.ask("save_skill", content="def f(): pass\n", name="mine", language="python")
            flow = code.flow(code.block("true", "sh"), code=DOCKER)
            flow["agents"][1]["agent"]["tools"] = [{"skill": "mine"}]
            client.events_to_end(client.submit(flow, "go", watch="all").id)
        asked = [one for one in fake.asked("POST", "/containers/create") if "Binds" in one["HostConfig"]]
    assert [bind.split(":")[1:] for bind in asked[0]["HostConfig"]["Binds"]] == [["/workspace", "rw"], ["/skills", "ro"]]
    assert "PYTHONPATH=/skills" in asked[0]["Env"]


# --- podman -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def podman(short_folder):
    if not containers.Podman.there():
        pytest.skip("no podman here, or not root")
    with containers.Podman(short_folder()) as one:
        yield one


@pytest.fixture(scope="module")
def service(podman, short_folder):
    from service import Service
    one = Service(short_folder(), env={"OPENAI_API_KEY": SECRET}, config={"docker_socket": podman.path, "docker_image": podman.IMAGE,
                                          "code_memory_bytes_max": "128MiB"})
    yield one
    one.stop()


def test_podman_runs_code_and_keeps_its_files(service, podman):
    with service.client() as client:
        results, end = code.run(client, "\n".join([
            code.block("id -u; echo made > file; ls /; touch /x; touch /usr/x; exit 0", "sh", name="first.sh"),
            code.block("cat file", "sh")]), code=DOCKER)
    assert [one["exit_code"] for one in results] == [0, 0] and results[1]["output"] == "made\n"
    assert results[0]["output"].startswith("65534\n") and "Read-only file system" in results[0]["output"]
    assert [one["path"] for one in end["result"]["files"]] == ["file", "first.sh"]
    assert not podman.containers()


def test_podman_calls_skills_and_lets_code_use_them(service, podman):
    with service.client() as client:
        client.storage.ask("save_skill", name="echoes", language="sh", content="cat; echo noise >&2; echo made > made; echo x >> /skills/echoes.sh")
        flow = code.flow("unused", code=DOCKER)
        assistant = flow["agents"][1]["agent"]
        assistant["tools"] = [{"skill": "echoes"}]
        assistant["config"]["code_execution_config"] = DOCKER
        assistant["config"]["llm_config"]["config_list"][0]["script"] = {"replies": [
            {"tool_calls": [{"name": "echoes", "arguments": {}}]},
            {"text": code.block("cat made; sh /skills/echoes.sh < /dev/null; echo", "sh")}, {"text": "TERMINATE"}]}
        events = client.events_to_end(client.submit(flow, "go", watch="all").id)
    [called] = [one for one in events if one["kind"] == "tool_result"]
    assert called["failed"] and called["content"].startswith("exit code ") and "{}noise\n" in called["content"], called
    assert "Read-only file system" in called["content"]
    assert code.results(events)[0]["output"].startswith("made\n"), code.results(events)
    assert not podman.containers()


def test_podman_ends_code_at_its_time_limit(service, podman):
    start = time.monotonic()
    with service.client() as client:
        [result], _ = code.run(client, code.block("echo before; sleep 100 & sleep 100", "sh"),
                               code={"use_docker": True, "timeout": 1})
    assert result["exit_code"] == 124 and result["output"] == "before\n" and time.monotonic() - start < 20
    assert not podman.containers()


def test_podman_has_no_network_and_bounded_output(service):
    with service.client() as client:
        [net], _ = code.run(client, code.block("cat /proc/net/dev", "sh"), code=DOCKER)
        [flood], _ = code.run(client, code.block("yes", "sh"), code=DOCKER)
    assert [line.split(":")[0].strip() for line in net["output"].splitlines()[2:]] == ["lo"]
    assert flood["exit_code"] == 137 and "output" in flood["stopped"]


LOOKS = {  # commands, and whether what they say is right
    "the system": ("touch /x /etc/x /bin/x", lambda said: said.count("Read-only file system") == 3),
    "the environment of the worker": ("env; cat /proc/*/environ", lambda said: SECRET not in said),
    "its processes": ("ls -d /proc/[0-9]*", lambda said: len(said.split()) <= 3),
    "signals": (f"kill -9 {os.getpid()} || echo refused", lambda said: "refused" in said),
    "other jobs": ("ls / /workspace /var /home /root", lambda said: "w-" not in said and "database" not in said),
    "capabilities": ("while read -r line; do case $line in Cap*|NoNewPrivs*|Seccomp:*) echo $line;; esac; done </proc/self/status",
                     lambda said: said.count("0000000000000000") >= 4 and "NoNewPrivs: 1" in said and "Seccomp: 2" in said),
    "devices": ("ls /dev/mem /dev/kmsg /dev/vda /dev/sda /dev/kvm", lambda said: said.count("No such file") == 5),
    "kernel settings": ("echo x >/proc/sys/kernel/core_pattern || echo b >/proc/sysrq-trigger",
                        lambda said: said.count("cannot create") == 2),
    "the network": ("cat /proc/net/dev | head -n 4", lambda said: "lo:" in said and "eth" not in said),
    "its /tmp": ("dd if=/dev/zero of=/tmp/x bs=1048576 count=30 && dd if=/dev/zero of=/tmp/y bs=1048576 count=30 && "
                 "dd if=/dev/zero of=/tmp/z bs=1048576 count=30",
                 lambda said: "No space left" in said),
}


def test_podman_shows_nothing_and_lets_nothing_be_changed(service):
    script = "\n".join(f"echo '== {what}'; ({command}) 2>&1" for what, (command, _) in LOOKS.items())
    with service.client() as client:
        [result], _ = code.run(client, code.block(script + "\nexit 0", "sh"), code=DOCKER)
    parts = dict(part.split("\n", 1) for part in result["output"].split("== ")[1:])
    assert not [what for what, (_, right) in LOOKS.items() if not right(parts[what])], result["output"]


ABUSES = {
    "processes": ("i=0; while [ $i -lt 200 ]; do sleep 30 & i=$((i+1)); done; echo ESCAPED",
                  lambda said: "ESCAPED" not in said["output"] or "fork" in said["output"]),
    "memory": ("dd if=/dev/zero of=/dev/null bs=400000000 count=1; echo $?",
               lambda said: "137" in said["output"] or "memory" in said["output"] + said.get("stopped", "")),
    "files": ("i=0; while [ $i -lt 3000 ]; do : >f$i; i=$((i+1)); done; sleep 30",
              lambda said: said["exit_code"] == 137 and "more files" in said["stopped"]),
    "disk": ("i=0; while [ $i -lt 60 ]; do dd if=/dev/zero of=f$i bs=1048576 count=4 2>/dev/null; i=$((i+1)); done; sleep 30",
             lambda said: said["exit_code"] == 137 and "64 MiB" in said["stopped"]),
}


@pytest.mark.parametrize("what", ABUSES)
def test_podman_bounds(service, podman, what):
    text, bounded = ABUSES[what]
    with service.client() as client:
        [said], _ = code.run(client, code.block(text, "sh"), code=DOCKER)
    assert bounded(said), said
    service.assert_alive()


def test_podman_keeps_links_and_pipes_of_nobody(service):
    with service.client() as client:
        results, end = code.run(client, "\n".join([
            code.block("ln -s /etc/passwd link; ln -s / root; mkfifo pipe; echo 1 > kept; chmod 0 kept", "sh"),
            code.block("ls", "sh")]), code=DOCKER)
    assert [one["path"] for one in end["result"]["files"]] == ["kept"] and "pipe" not in results[1]["output"]


def test_podman_keeps_no_container_of_a_worker_that_was_killed(service, podman):
    with service.client() as client:
        job = client.submit(code.flow(code.block("touch running; sleep 100", "sh"), code=DOCKER), "go", watch="all").id
        wait_until(lambda: list((service.dir / "work").glob("w-*/*/running")), what="the code runs")
        service.kill("worker1")
    assert podman.containers()
    service.start("worker1")
    with service.client() as client:
        client.cancel(job)
        client.watch_to_end(job)
        [result], _ = code.run(client, code.block("echo after", "sh"), code=DOCKER)
    assert result["output"] == "after\n"
    wait_until(lambda: not podman.containers(), 20, "no container is left")
