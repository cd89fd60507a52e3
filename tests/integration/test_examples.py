"""Each example runs, and its README has a row for it."""

import os
import subprocess

import cli
import pytest
from service import ROOT

EXAMPLES = ROOT / "client" / "examples"
FILES = sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".yaml", ".yml", ".json"))
SCRIPTS = sorted(EXAMPLES.glob("*.sh"))
NEEDS_A_MODEL = {"openai.yaml"}
ASKS = {"approval.yaml"}
NEEDS_A_SERVER = {"mcp.yaml"}  # test_mcp_servers.py
SKILLS = {"skills.yaml": "word_count.py"}


@pytest.mark.parametrize("path", [p for p in FILES if p.name not in NEEDS_A_MODEL | ASKS | NEEDS_A_SERVER], ids=lambda path: path.name)
def test_runs_offline(shared, user, path):
    if path.name in SKILLS:
        assert cli.run("skills", "add", EXAMPLES / SKILLS[path.name], home=shared.dir, env={"AUTOBOTS_USER": user}).code == 0
    result = cli.run("submit", "-w", path, "--json", "Please help.", home=shared.dir, env={"AUTOBOTS_USER": user})
    assert result.code == 0, result
    end = result.lines()[-1]
    assert end["state"] == "succeeded" and end["content"] and end["result"]["offline"] is True
    agents = {e["agent"] for e in result.lines() if e["kind"] == "model_reply"}
    assert len(agents) >= (2 if path.name == "review.yaml" else 1)


def test_goes_on_without_an_answer(shared, user):
    env = {"AUTOBOTS_USER": user}
    asked = cli.run("submit", "-w", EXAMPLES / "approval.yaml", home=shared.dir, env=env)
    assert asked.code == 4 and "owner asks" in asked.out
    done = cli.run("watch", "last", "--json", home=shared.dir, env=env)
    while done.code == 4:  # it still waits
        done = cli.run("watch", "last", "--json", home=shared.dir, env=env)
    assert done.code == 0 and done.lines()[-1]["content"] == "Noted."
    assert [e["text"] for e in done.lines() if e["kind"] == "input"] == ["Nobody is here. Wait until tomorrow."]


def play(script, shared, user):
    """What it prints, with the program on its path."""
    argv, environment = cli.command(home=shared.dir, env={"AUTOBOTS_USER": user})
    environment["PATH"] = f"{os.path.dirname(argv[0])}:{os.environ['PATH']}"
    done = subprocess.run([script], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return done.stdout


def test_a_service_is_looked_after(shared, user):
    shown = play(EXAMPLES / "operation.sh", shared, user)
    first, halted, waiting, queues, resumed, used, said = shown.split("\n--- ")
    assert "Hello! I come from a script" in first and "succeeded" in first
    assert "paused for this user: new prices from noon on" in waiting and "Is anybody there?" in waiting
    assert [line.split()[:3] for line in queues.splitlines() if user in line.split()[:2]] == [["default", user, "paused"]]
    assert "Hello! I come from a script" in resumed and "succeeded" in resumed
    total, greeter = [line.split()[:3] for line in used.splitlines() if line.startswith(("total", "greeter"))]
    assert total == ["total", "2", "2"] and greeter[2] == "2"
    assert "Good morning, everybody." in said and "Is anybody there?" not in said
    left = cli.run("queues", "--json", home=shared.dir, env={"AUTOBOTS_USER": user}).lines()
    assert left and not [row for row in left if row["state"] != "running"]


@pytest.fixture(scope="module")
def with_key(short_folder, model_server):
    """A worker whose own key and endpoint are the model server's."""
    from service import Service
    service = Service(short_folder(), env={"OPENAI_API_KEY": "sk-example-key", "OPENAI_BASE_URL": model_server.url})
    yield service
    service.stop()


@pytest.mark.parametrize("name", sorted(NEEDS_A_MODEL))
def test_runs_on_an_endpoint(with_key, model, name):
    model.behave(texts=["Names: a, b, c."])
    model.server.control(models={model.name: {"texts": ["Names: a, b, c.", "TERMINATE"]}})
    result = cli.run("submit", "-w", EXAMPLES / name, "--json", home=with_key.dir, env={"MODEL": model.name})
    assert result.code == 0, result
    assert model.calls() and all(call["authorization"] for call in model.calls())


def test_every_example_has_a_row_in_the_readme():
    text = (EXAMPLES / "README.md").read_text()
    assert FILES and all(f"[{path.name}]({path.name})" in text for path in FILES + SCRIPTS)
