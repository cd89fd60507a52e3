"""What `autobots` says to somebody who is new to it: guesses, what is missing, why nothing happens."""

import json
import subprocess

import cli
import flows
import pytest
from service import program


@pytest.fixture
def bots(shared, user):
    def run(*args, **more):
        more.setdefault("env", {}).setdefault("AUTOBOTS_USER", user)
        return cli.run(*args, home=shared.dir, **more)

    return run


def test_a_mistyped_option_is_guessed_as_it_is_written(bots):
    assert "did you mean --model?" in bots("submit", "--modle", "m", "x").err
    assert "did you mean --workers?" in bots("up", "--wrokers", "2").err


def test_what_is_missing_is_named(bots):
    assert "input needs JOB TEXT|-" in bots("input").err


@pytest.mark.parametrize("args", [["--json", "fly"], ["submit", "--modle", "m", "--json"], ["show", "--json"],
                                  ["up", "--workers", "many", "--json"]], ids=" ".join)
def test_wrong_usage_is_json_too(bots, args):
    result = bots(*args)
    assert result.code == 2 and result.json()["error"]["code"] in ("usage", "invalid"), result


def test_behind_two_dashes_json_is_a_word(bots):
    result = bots("show", "--", "a", "--json")
    assert result.code == 2 and result.out == "", result


def test_a_job_behind_another_of_its_session_says_so(bots, shared, user, tmp_path):
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(flows.script_chat(["x"], user={"human_input_mode": "ALWAYS"})))
    assert bots("submit", "-w", str(path), "-s", "s", "one").code == 4
    argv = [program("autobots"), "--dir", str(shared.dir), "submit", "-w", str(path), "-s", "s", "--user", user,
            "--if-busy", "new-job", "two"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as second:
        try:
            line = second.stdout.readline()
        finally:
            second.kill()
    assert line.startswith("not running yet: session") and "autobots jobs" in line
    for job in bots("jobs", "--state", "open", "--json").lines():
        bots("cancel", job["id"])


def test_doctor_knows_whether_the_running_service_has_the_key(short_folder):
    key = {"OPENAI_API_KEY": "sk-of-the-service"}
    home = short_folder() / "home"

    def models(**more):
        rows = cli.run("doctor", "--json", home=home, **more).lines()
        return [(row["result"], row["text"]) for row in rows if row["check"] == "models"]

    try:
        assert cli.run("up", "-d", home=home, env=key).code == 0
        assert models() == [("ok", "OPENAI_API_KEY is set for the running service")]
        cli.run("down", home=home)
        assert cli.run("up", "-d", home=home).code == 0
        (result, text), = models()
        assert result == "warn" and "no model key" in text
        (result, text), = models(env=key)
        assert result == "warn" and "start it again" in text
    finally:
        cli.run("down", home=home)
