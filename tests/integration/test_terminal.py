"""Lists and help on a terminal of 80 columns: nothing is longer than a line, and what is piped is whole."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios

import cli
import flows
import pytest

LISTS = ["status", "doctor", "jobs", "show last", "sessions", "usage --by session", "queues", "budget", "prices", "tokens", "skills", "workflows"]


def on_terminal(*args, home, env, columns=80):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    argv, environment = cli.command(*args, home=home, env=env)
    process = subprocess.Popen(argv, env={**environment, "NO_COLOR": "1"}, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower)
    os.close(follower)
    text = b""
    try:
        while piece := os.read(leader, 65536):
            text += piece
    except OSError:  # the other side is closed
        pass
    finally:
        os.close(leader)
    assert process.wait(30) == 0, text
    return text.decode().replace("\r\n", "\n").splitlines()


@pytest.fixture
def used(shared, user, tmp_path):
    """A user with something in each list."""
    env = {"AUTOBOTS_USER": user}
    long = "a long text that has no room in a row of eighty columns, " * 3
    flow = tmp_path / "flow.json"
    flow.write_text(json.dumps({"name": "w" * 40, "description": long, **flows.script_chat(["fine"])}))
    skill = tmp_path / "skill.py"
    skill.write_text(f"# {long}\nprint(1)\n")
    price = ["--input", "0.000001", "--output", "600", "--note", long[:80]]
    for args in (["submit", "-w", flow, long], ["workflows", "add", flow], ["skills", "add", skill],
                 ["budget", "set", "tokens=99999999,usd=12.5"], ["tokens", "create", "--name", long[:60], "--expires", "30d"],
                 ["prices", "set", f"model-of-{user}-that-is-long", *price]):
        done = cli.run(*args, home=shared.dir, env=dict(env))
        assert done.code == 0, done
    yield lambda *args, **more: on_terminal(*args, home=shared.dir, env=dict(env), **more)
    cli.run("prices", "rm", f"model-of-{user}-that-is-long", home=shared.dir)


def test_no_row_of_a_list_is_longer_than_the_terminal(used):
    for words in LISTS:
        lines = [line for line in used(*words.split()) if not line.startswith(("message ", "content "))]
        assert lines and max(map(len, lines)) <= 80, (words, lines)


def test_what_is_cut_on_a_terminal_is_whole_in_a_pipe_and_on_a_wider_one(used, shared, user):
    [short] = used("jobs")
    piped = cli.run("jobs", home=shared.dir, env={"AUTOBOTS_USER": user}).out
    assert piped.startswith(short.split()[0]) and len(piped.split()[0]) == 36
    [wide] = used("jobs", columns=200)
    assert wide == piped.rstrip() and cli.run("show", short.split()[0], home=shared.dir, env={"AUTOBOTS_USER": user}).code == 0


def test_a_word_that_is_no_verb_of_a_noun_is_told_with_those_there_are():
    wrong = cli.run("queues", "puse", "default")
    assert wrong.code == 2 and "list, pause, drain, resume; did you mean pause?" in wrong.err


def test_help_as_json_names_every_verb_with_its_options():
    verbs = {row["verb"]: row for row in cli.run("help", "--json").lines()}
    assert {"submit", "sessions list", "queues pause"} <= set(verbs)
    assert {"name": "if-busy", "value": "HOW"}.items() <= [o for o in verbs["submit"]["options"] if o["name"] == "if-busy"][0].items()
    assert cli.run("help", "queues", "pause", "--json").json() == verbs["queues pause"]


def test_help_of_every_verb_fits_80_columns():
    for row in cli.run("help", "--json").lines():
        lines = cli.run(*row["verb"].split(), "--help").out.splitlines()
        assert max(map(len, lines)) <= 80, (row["verb"], lines)
