"""Workers of other kinds than the test's own: as if the machine had no control groups, and as an ordinary user."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from service import Service, binaries

USER = 24_680  # nobody's
PROGRAMS = ("autobots-storage", "autobots-broker", "autobots-worker")


def with_root():
    return os.geteuid() == 0


def plain(folder, **more):
    return Service(folder, **more)


def without_control_groups(folder, **more):
    """Its worker sees an empty folder where they are mounted elsewhere, as where there is no /sys."""
    service = Service(folder, start=False, **more)
    hide = 'for p in /sys /sys/fs/cgroup; do [ ! -d $p ] || mount -t tmpfs none $p || exit 1; done; exec "$@"'
    service.prefix["worker"] = ["unshare", "--mount", "sh", "-c", hide, "sh"]
    service.start_all()
    return service


def of_an_ordinary_user(_, **more):
    """All of it, with copies of the programs where that user can read them."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ab", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "bin").mkdir(mode=0o755)
    for name in PROGRAMS:
        shutil.copy(binaries() / name, folder / "bin")
    service = Service(folder / "s", start=False, **more)
    (folder / "s").chmod(0o755)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", service.dir], check=True)
    run = f'p={folder}/bin/$(basename "$1"); shift; exec "$p" "$@"'
    for kind in ("storage", "broker", "worker"):
        service.prefix[kind] = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "sh", "-c", run, "sh"]
    service.start_all()
    return service


KINDS = {"root": plain, "root-without-control-groups": without_control_groups, "ordinary-user": of_an_ordinary_user}


def has_control_groups():
    """None: that cannot be told from here (version 2)."""
    probe = pathlib.Path("/sys/fs/cgroup/pids") / f"autobots-test-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return None if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else False
    return True


def kinds(*names):
    """Those of these that there can be here; none: all."""
    return list(names or KINDS) if with_root() else ["ordinary-user"]


@contextlib.contextmanager
def started(kind, folder, **more):
    """A service with one worker of this kind, and `kind`."""
    make = KINDS[kind] if with_root() else plain
    service = make(folder, workers=1, config={"code_memory_bytes_max": "256MiB"}, **more)
    service.kind = kind
    yield service
    service.stop()
    if make is of_an_ordinary_user:
        shutil.rmtree(service.folder.parent)
