"""`autobots workflows …` and -w NAME: a workflow is stored once and run by its name."""

import json

import cli
import flows
import pytest
from service import ROOT

EXAMPLES = ROOT / "client" / "examples"


@pytest.fixture
def bots(shared, user, tmp_path):
    def run(*args, **more):
        more.setdefault("env", {}).setdefault("AUTOBOTS_USER", user)
        return cli.run(*args, home=shared.dir, cwd=tmp_path, **more)

    yield run
    shared.assert_alive()


@pytest.fixture
def flow(tmp_path):
    """Writes a workflow that answers this; returns the file's name."""

    def write(answer="Ahoy.", name="flow.json", **more):
        (tmp_path / name).write_text(json.dumps({**flows.script_chat([answer], name="in the file"), **more}))
        return name

    return write


def test_add_list_show_run_and_rm(bots, flow):
    added = bots("workflows", "add", flow(description="says ahoy"), "--name", "greeter")
    assert added.code == 0 and added.out.startswith("greeter@1  "), added
    again = bots("workflows", "add", "flow.json", "--name", "greeter")
    assert again.code == 0 and "there already" in again.out, again
    newer = bots("workflows", "add", flow("Hullo."), "--name", "greeter", "--json")
    assert newer.json()["version"] == 2 and newer.json()["created"] is True
    listed = bots("workflows", "--json").lines()
    assert [(w["name"], w.get("version"), w.get("builtin")) for w in listed] == [
        ("chat", None, True), ("greeter", 2, None)]
    text = bots("workflows", "list", "greeter")
    assert [line.split()[:2] for line in text.out.splitlines()] == [["greeter", "@2"], ["greeter", "@1"]]
    assert "says ahoy" in text.out.splitlines()[1]

    for word, answer in [("greeter", "Hullo."), ("greeter@1", "Ahoy."), ("greeter@2", "Hullo.")]:
        done = bots("submit", "-w", word, "--json", "hello")
        assert done.code == 0 and done.lines()[-1]["content"] == answer, done
    job = bots("jobs", "--json").lines()[0]
    assert job["hash"] == newer.json()["hash"] and job["workflow"] == "in the file"

    shown = bots("workflows", "show", "greeter@1")
    (again := json.loads(shown.out))["agents"]
    assert again["name"] == "in the file" and "Ahoy." in shown.out
    whole = bots("workflows", "show", "greeter", "--json").json()
    assert whole["version"] == 2 and whole["workflow"]["agents"]

    gone = bots("workflows", "rm", "greeter")
    assert gone.code == 0 and "2 versions" in gone.out
    assert bots("submit", "-w", "greeter", "hello").code == 1
    assert bots("show", job["id"], "--json").json()["state"] == "succeeded"
    assert bots("export", job["id"]).json()["workflow"]["name"] == "in the file"


def test_what_is_shown_can_be_added_again(bots, flow, tmp_path):
    bots("workflows", "add", EXAMPLES / "review.yaml", "--name", "review")
    (tmp_path / "copy.json").write_text(bots("workflows", "show", "review").out)
    copy = bots("workflows", "add", "copy.json", "--name", "copy", "--json").json()
    assert copy["hash"] == bots("workflows", "show", "review", "--json").json()["hash"]


def test_a_file_wins_where_there_is_one(bots, flow, tmp_path):
    bots("workflows", "add", flow("from the store"), "--name", "greeter")
    assert bots("submit", "-w", "greeter", "--json", "x").lines()[-1]["content"] == "from the store"
    flow("from the file", name="greeter")
    assert bots("submit", "-w", "greeter", "--json", "x").lines()[-1]["content"] == "from the file"
    for word in ("./nothing", "nothing.yaml"):  # clearly a file, whatever is stored
        missing = bots("submit", "-w", word, "x")
        assert missing.code == 2 and "No such file" in missing.err, missing


def test_a_word_that_is_neither_is_told_as_both(bots):
    missing = bots("submit", "-w", "nothing", "x")
    assert missing.code == 1 and "no such file" in missing.err and "autobots workflows" in missing.err
    assert bots("submit", "-w", "nothing@zwei", "x").code == 2
    assert "no version 3" in bots("submit", "-w", "chat@3", "x").err


def test_chat_fork_and_sessions_take_a_name_too(bots, flow):
    bots("workflows", "add", flow("Hullo again."), "--name", "greeter")
    talk = bots("chat", "-w", "greeter", input="hello\n")
    assert talk.code == 0 and "Hullo again." in talk.out, talk
    again = bots("fork", "last", "-w", "greeter", "--json")
    assert again.code == 0 and again.lines()[-1]["content"] == "Hullo again.", again
    session = bots("sessions", "create", "-w", "greeter").out.strip()
    assert "Hullo again." in bots("sessions", "show", session).out


def test_the_built_in_one_is_run_and_shown_by_its_name(bots):
    shown = bots("workflows", "show", "chat", "--model", "some-model")
    assert shown.code == 0 and '"some-model"' in shown.out, shown
    assert bots("workflows", "show", "chat").code == 2, "a model has to be named"
    assert bots("workflows", "rm", "chat").code == 1


def test_a_key_stays_here(bots, shared, tmp_path):
    (tmp_path / "keyed.yaml").write_text(
        "name: keyed\nmodel: {model: m, api_key: '${SECRET_KEY}'}\nagents: [{name: a}, {name: b}]\n")
    added = bots("workflows", "add", "keyed.yaml", env={"SECRET_KEY": "sk-library-key-1234567"})
    assert added.code == 0 and "1 api_key is not stored" in added.err, added
    shown = bots("workflows", "show", "keyed")
    assert "api_key" not in shown.out and "$secret" not in shown.out
    assert not shared.files_holding("sk-library-key-1234567")


def test_a_faulty_file_is_told_with_every_line_and_not_stored(bots, tmp_path):
    (tmp_path / "bad.yaml").write_text("name: bad\nagents:\n  - {name: a, tepmerature: 1}\n  - {name: b, max_replies: -1}\n")
    bad = bots("workflows", "add", "bad.yaml")
    assert bad.code == 1 and "bad.yaml:3" in bad.err and "bad.yaml:4" in bad.err, bad
    assert [w["name"] for w in bots("workflows", "--json").lines()] == ["chat"]


def test_the_help_says_what_w_takes(bots):
    text = " ".join(bots("submit", "--help").out.split())
    assert "WORKFLOW is a file if it has a slash" in text and "workflows add" in text
