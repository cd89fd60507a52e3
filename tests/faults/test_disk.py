"""A full disk refuses writes, keeps answering reads, and recovers by itself when there is room again."""

import os
import pathlib
import subprocess

import autobots_wire as wire
import flows
import pytest
from service import Service, wait_until

SIZE = 12 << 20
FLOW = flows.script_chat(["x"])


@pytest.fixture
def small_disk(short_folder):
    """A folder on a tmpfs of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = short_folder() / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", folder], check=False,
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this machine does not allow mounts: " + done.stderr.strip())
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Fills the disk; returns the file that does it."""
    path = pathlib.Path(folder) / "filler"
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 64 << 10, 4096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return path


def test_full_disk(small_disk):
    with Service(small_disk / "s", workers=1) as service, service.client("disk") as client:
        accepted, _ = client.run(FLOW, "before")
        filler = fill(small_disk)
        refused = wire.make_id()
        failure = None
        for _ in range(50):  # what is left in the write-ahead log may still take a few
            try:
                client.submit(FLOW, "y" * 100_000, job=refused, timeout=10)
                refused = wire.make_id()
            except wire.Failure as found:
                failure = found
                break
        assert failure and failure.code == "unavailable" and failure.retryable
        assert any(word in failure.text.lower() for word in ("disk", "space", "full")), failure.text
        assert len(client.messages(accepted.session)) == 2, "reads went with the writes"
        assert client.storage.ask("storage_status").get("writable")
        with pytest.raises(wire.Failure) as saving:
            client.storage.ask("save_message", message={"user_id": "disk", "role": "user", "content": "z" * 200_000})
        assert saving.value.code == "unavailable"
        with pytest.raises(wire.Failure) as failure_2:
            client.job(refused)
        assert failure_2.value.code == "not_found", "a refused job was stored"
        filler.unlink()

        def works():
            try:
                return client.run(FLOW, "after", timeout=10)[1][-1]["state"] == "succeeded"
            except wire.Failure as still:
                assert still.code == "unavailable"
                return False

        wait_until(works, 15, "writes after the disk has room again", step=0.2)
        service.assert_alive()


def test_a_job_that_runs_while_the_disk_is_full_goes_on_afterwards(small_disk, model):
    model.behave(delay_ms=700)
    with Service(small_disk / "s", workers=1) as service, service.client("disk") as client:
        job = client.submit(flows.http_chat(model), "running", watch="all").id
        wait_until(model.calls, what="the call is made")
        filler = fill(small_disk)
        wait_until(lambda: model.calls()[0]["outcome"] == "done", what="the model has answered")
        with pytest.raises(wire.NoAnswer):
            client.wait_for(lambda m: m.name == "EVENT" and m.get("end"), 1.0)
        filler.unlink()
        assert client.wait_for(lambda m: m.name == "EVENT" and m.get("end"), 20)["end"] == "succeeded"
        assert len(model.calls()) == 1, "the reply was lost and the call repeated"
