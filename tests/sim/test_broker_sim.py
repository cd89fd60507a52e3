"""The broker's simulation with seeds nobody has tried yet; a seed that fails is printed and can be run alone."""

import os
import pathlib
import subprocess

RUNS = {"debug": 300, "asan": 60, "tsan": 30}


def test_fresh_seeds():
    build = pathlib.Path(os.environ["AUTOBOTS_BUILD"])
    runs = RUNS.get(os.environ.get("AUTOBOTS_MODE", "debug"), 30)
    done = subprocess.run([build / "tests" / "unit" / "test_broker_sim"], capture_output=True, text=True, timeout=600,
                          env={**os.environ, "AUTOBOTS_SIM_RUNS": str(runs)}, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.count("seed ") >= runs
