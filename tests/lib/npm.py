"""Packages of npm that tests are about: installed once for all builds beside them (BUILD/npm), by the first run."""

import fcntl
import subprocess

from service import ROOT, binaries


def install(name, *packages):
    """The node_modules folder that has these packages, NAME@VERSION each."""
    folder = binaries().resolve().parent.parent / "npm" / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / "complete"
        if not complete.exists() or complete.read_text() != " ".join(packages):
            deps = subprocess.run([ROOT / "deploy" / "deps.sh", "page"], capture_output=True, text=True)
            assert deps.returncode == 0, deps.stderr
            npm = subprocess.run(["npm", "install", "--prefix", str(folder), "--no-save", "--no-audit", "--no-fund", *packages],
                                 capture_output=True, text=True)
            assert npm.returncode == 0, f"npm cannot install {packages}, which these tests are about:\n{npm.stderr}"
            complete.write_text(" ".join(packages))
    return folder / "node_modules"
