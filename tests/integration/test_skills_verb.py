"""`autobots skills …`: files become skills, with their faults at their lines."""

import json

import cli
import pytest

MEAN = '''"""title: Mean of numbers
parameters:
  type: object
  properties:
    numbers: {type: array, items: {type: number}}
  required: [numbers]
"""
import json, sys
print(sum(json.load(sys.stdin)["numbers"]))
'''


@pytest.fixture
def bots(shared, user, tmp_path):
    def run(*args, **more):
        more.setdefault("env", {}).setdefault("AUTOBOTS_USER", user)
        return cli.run(*args, home=shared.dir, cwd=tmp_path, **more)

    yield run
    shared.assert_alive()


@pytest.fixture
def file(tmp_path):
    def write(text, name="mean-of.py"):
        (tmp_path / name).write_text(text)
        return name

    return write


def test_add_list_show_and_rm(bots, file):
    added = bots("skills", "add", file(MEAN))
    assert added.code == 0 and added.out == "mean_of@1  Mean of numbers\n", added
    assert "there already" in bots("skills", "add", "mean-of.py").out
    newer = bots("skills", "add", file(MEAN + "# more\n"), "--json").json()
    assert (newer["name"], newer["version"], newer["created"], newer["file_name"]) == ("mean_of", 2, True, "mean-of.py")
    file("echo hi\n", "hi.sh")
    file("type: object\nproperties:\n  who: {type: string}\n", "p.yaml")
    other = bots("skills", "add", "hi.sh", "--name", "greet", "--title", "Greets", "--description", "Says hi to WHO", "--parameters", "p.yaml",
                 "--json").json()
    assert (other["name"], other["title"], other["description"], other["language"]) == ("greet", "Greets", "Says hi to WHO", "sh")
    assert other["parameters"]["properties"] == {"who": {"type": "string"}}

    assert [(s["name"], s["version"]) for s in bots("skills", "--json").lines()] == [("greet", 1), ("mean_of", 2)]
    assert [line.split()[:3] for line in bots("skills", "list", "mean_of").out.splitlines()] == [["mean_of", "@2", "python"], ["mean_of", "@1", "python"]]
    assert [s["name"] for s in bots("skills", "search", "hi", "GREETS", "--json").lines()] == ["greet"]
    assert bots("skills", "search", "nothing").code == 0

    shown = bots("skills", "show", "mean_of@1")
    assert shown.code == 0 and shown.out.startswith("skill        mean_of@1\n") and shown.out.endswith("\n\n" + MEAN), shown
    assert bots("skills", "show", "mean_of", "--json").json()["content"] == MEAN + "# more\n"
    assert bots("skills", "rm", "mean_of").out == "deleted, 2 versions\n"
    assert "already" in bots("skills", "rm", "mean_of").out
    for args in (("show", "mean_of"), ("rm", "never"), ("list", "mean_of")):
        gone = bots("skills", *args)
        assert gone.code == 1 and "no skill" in gone.err, gone


def test_faults_are_told_with_their_lines_and_without_a_service(file, tmp_path):
    def run(*args):
        return cli.run("skills", "add", *args, home=tmp_path / "no service", cwd=tmp_path)

    name = file('"""\ntitle: 7\ntimeout_s: 9999\nparameters:\n  type: object\n  properties:\n    a: {type: text}\n"""\n', "bad.py")
    bad = run(name)
    assert bad.code == 1, bad
    assert [line.split(": ")[0] for line in bad.err.splitlines()] == ["bad.py:2:1", "bad.py:7:9", "bad.py:3:1"], bad
    assert [f["line"] for f in cli.run("skills", "add", name, "--json", cwd=tmp_path).json()["error"]["faults"]] == [2, 7, 3]
    assert "is none" in run(file("x", "readme")).err or "not known" in run("readme").err
    assert run("nowhere.py").code == 2
    assert run(file("# title: [\n", "y.sh")).code == 1
    assert run(file("echo\n", "json.py")).err.startswith("json.py: $.name")
    file("[", "p.json")
    assert "p.json" in run(file("echo\n", "ok.sh"), "--parameters", "p.json").err
    assert run("ok.sh").code == 3, "what is right is sent"


def test_a_name_that_is_none_is_told(bots):
    for word in ("a-b", "a@", "a@x", "@1"):
        assert bots("skills", "show", word).code == 2


def test_a_file_is_tested_in_the_sandbox_without_a_service(file, tmp_path):
    def run(*args):
        return cli.run("skills", "test", *args, home=tmp_path / "no service", cwd=tmp_path)

    file(MEAN + 'import os\nopen("made.txt", "w").write("x")\nprint(os.getuid(), file=sys.stderr)\n')
    good = run("mean-of.py", "--arguments", '{"numbers": [1, 2]}')
    assert (good.code, good.out) == (0, "3\n") and good.err == "made made.txt, 1 bytes\n", good
    assert not (tmp_path / "made.txt").exists()
    whole = run("mean-of.py", "--arguments", '{"numbers": [1, 2]}', "--json").json()
    assert whole["output"] == "3\n" and "net" in whole["isolation"] and whole["files"] == [{"path": "made.txt", "bytes": 1}]
    wrong = run("mean-of.py", "--arguments", '{"numbers": "x"}')
    assert wrong.code == 1 and "$.numbers" in wrong.err and not wrong.out
    assert run("mean-of.py").code == 1 and run("mean-of.py", "--arguments", "{").code == 2
    bad = run(file("#!/bin/sh\ncat\necho why >&2\nexit 4\n", "bad.sh"), "--arguments", '{"a": 1}')
    assert bad.code == 1 and bad.out == '{"a":1}why\n' and "exit code 4" in bad.err
    late = run(file("# title: t\n# timeout_s: 1\nsleep 60\n", "late.sh"))
    assert late.code == 1 and "longer than 1 s" in late.err


def test_a_stored_one_is_tested_by_its_name(bots, file):
    bots("skills", "add", file("echo one\n", "stored_one.sh"))
    bots("skills", "add", file("echo two\n", "stored_one.sh"))
    assert bots("skills", "test", "stored_one").out == "two\n" and bots("skills", "test", "stored_one@1").out == "one\n"
    assert bots("skills", "test", "nosuch").code == 1 and bots("skills", "test", "no such").code == 2
