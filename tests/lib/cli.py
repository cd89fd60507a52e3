"""Runs the `autobots` program as a person would."""

import json
import subprocess

import service


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def json(self):
        return json.loads(self.out)

    def lines(self):
        """One JSON value per line."""
        return [json.loads(line) for line in self.out.splitlines() if line.strip()]

    def __repr__(self):
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def command(*args, home=None, env=None):
    """(argv, environment) of a run; `home` becomes AUTOBOTS_DIR."""
    environment = service.clean_environment(env)
    if home:
        environment["AUTOBOTS_DIR"] = str(home)
    return [service.program("autobots"), *map(str, args)], environment


def run(*args, home=None, input=None, timeout=60, env=None, cwd=None):
    argv, environment = command(*args, home=home, env=env)
    done = subprocess.run(argv, input=input, stdin=None if input is not None else subprocess.DEVNULL,
                          capture_output=True, timeout=timeout, env=environment, cwd=cwd,
                          text=not isinstance(input, bytes))
    out, err = done.stdout, done.stderr
    if isinstance(out, bytes):
        out, err = out.decode(errors="replace"), err.decode(errors="replace")
    return Result(done.returncode, out, err)


def start(*args, home=None, env=None, **more):
    argv, environment = command(*args, home=home, env=env)
    more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen(argv, env=environment, **more)
