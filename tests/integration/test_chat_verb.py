"""`autobots chat`, and questions that `submit` asks inline, through a pseudo-terminal as a person uses them."""

import fcntl
import json
import os
import pty
import re
import select
import subprocess
import termios
import time

import cli
import flows
import pytest
from service import slow, wait_until


class Terminal:
    """A program on a pseudo-terminal of its own, which is its controlling one: Ctrl-C is a signal there."""

    def __init__(self, argv, environment):
        self.leader, follower = pty.openpty()
        self.text = self.seen = ""
        self.process = subprocess.Popen(argv, env={**environment, "TERM": "dumb"}, stdin=follower, stdout=follower,
                                        stderr=follower, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(follower)

    def type(self, text):
        os.write(self.leader, text.encode())

    def _read(self, timeout):
        if not select.select([self.leader], [], [], timeout)[0]:
            return False
        try:
            piece = os.read(self.leader, 65536)
        except OSError:  # the other side is closed
            return None
        self.text += piece.decode(errors="replace").replace("\r\n", "\n")
        return bool(piece) or None

    def expect(self, pattern, timeout=20):
        """Waits for the pattern in what was not yet expected; returns the match."""
        end = time.monotonic() + timeout * slow()
        while True:
            found = re.search(pattern, self.text)
            if found:
                self.seen += self.text[:found.end()]
                self.text = self.text[found.end():]
                return found
            assert time.monotonic() < end and self._read(0.1) is not None, (
                f"no {pattern!r} in {self.text!r}; before: {self.seen!r}")

    def end(self):
        """The exit code, once it ends."""
        while self._read(20) is not None:
            pass
        os.close(self.leader)
        self.seen += self.text
        return self.process.wait(20)


@pytest.fixture
def on_terminal(shared, user):
    made = []

    def start(*args):
        argv, environment = cli.command(*args, home=shared.dir, env={"AUTOBOTS_USER": user})
        made.append(Terminal(argv, environment))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
    shared.assert_alive()


@pytest.fixture
def bots(shared, user):
    def run(*args, **more):
        more.setdefault("env", {}).setdefault("AUTOBOTS_USER", user)
        return cli.run(*args, home=shared.dir, **more)

    return run


@pytest.fixture
def flow_file(tmp_path):
    def write(workflow):
        path = tmp_path / "flow.json"
        path.write_text(json.dumps(workflow))
        return path

    return write


def asking(model, texts):
    """A chat that asks after each reply."""
    model.behave(texts=texts)
    return flows.http_chat(model, replies=9, user={"human_input_mode": "ALWAYS"})


def test_messages_of_one_session_one_after_the_other(on_terminal, bots, flow_file):
    chat = on_terminal("chat", "-w", flow_file(flows.script_chat()), "-s", "talk")
    chat.expect("/help lists the commands")
    for text in ("first words", "second words"):
        chat.expect("> $")
        chat.type(text + "\n")
        chat.expect("assistant")
        chat.expect("succeeded")
    chat.expect("> $")
    chat.type("\n   \n/session\n")
    chat.expect("session: talk\n")
    chat.type("//shrug\n")
    chat.expect("succeeded")
    chat.type("\x04")
    chat.expect("to go on: autobots chat -s talk")
    assert chat.end() == 0
    messages = bots("messages", "talk", "--json").lines()
    assert [m["content"] for m in messages if m["role"] == "user"] == ["first words", "second words", "/shrug"]
    assert len(messages) == 6


def test_without_a_session_the_first_message_makes_one_that_goes_on(on_terminal, bots, flow_file):
    chat = on_terminal("chat", "-w", flow_file(flows.script_chat(["hm"])))
    for text in ("one", "two"):
        chat.expect("> $")
        chat.type(text + "\n")
        chat.expect("succeeded")
    chat.expect("> $")
    chat.type("/quit\n")
    assert chat.end() == 0
    [session] = bots("sessions", "--json").lines()
    assert [m["content"] for m in bots("messages", session["session_id"], "--json").lines()] == ["one", "hm"] + [
        "two", "hm"]


def test_a_question_is_asked_and_answered_inline(on_terminal, bots, flow_file, model):
    chat = on_terminal("chat", "-w", flow_file(asking(model, ["Which one?", "The red one it is."])), "-s", "ask")
    chat.expect("> $")
    chat.type("pick\n")
    chat.expect("Which one\\?")
    chat.expect("user asks: .*")
    chat.expect("answer> $")
    chat.type("/nonsense\n")
    chat.expect("there is no command /nonsense")
    chat.expect("answer> $")
    chat.type("the red one\n")
    chat.expect("The red one it is\\.")
    chat.expect("answer> $")
    chat.type("exit\n")
    chat.expect("succeeded")
    chat.expect("> $")
    chat.type("\x04")
    assert chat.end() == 0
    assert "Which one?" in chat.seen and "attempt 2" not in chat.seen
    assert chat.seen.count("The red one it is.") <= 2  # the turn, and the answer at the end
    assert model.calls()[1]["body"]["messages"][-1]["content"] == "the red one"


def test_ctrl_c_leaves_the_job_and_comes_back(on_terminal, bots, flow_file, model):
    model.behave(stall="headers")
    chat = on_terminal("chat", "-w", flow_file(flows.http_chat(model)), "-s", "busy")
    chat.expect("> $")
    chat.type("slow\n")
    wait_until(model.calls, what="the call is made")
    chat.type("\x03")
    job = chat.expect("autobots watch ([0-9a-f-]{36})")[1]
    chat.expect(f"autobots cancel {job}")
    chat.expect("> $")
    assert bots("show", job, "--json").json()["state"] == "running"
    chat.type("/cancel enough\n")
    chat.expect(f"{job}: cancelling")
    assert bots("watch", job).code == 1
    assert bots("show", job, "--json").json()["state"] == "cancelled"
    chat.expect("> $")
    chat.type("\x03")
    chat.expect("Ctrl-D or /quit ends the chat")
    chat.expect("> $")
    chat.type("\x04")
    assert chat.end() == 0


def test_a_question_can_be_left_and_the_job_cancelled(on_terminal, bots, flow_file, model):
    flow = flow_file(asking(model, ["Which one?", "And now?"]))
    chat = on_terminal("chat", "-w", flow)
    chat.expect("> $")
    chat.type("pick\n")
    chat.expect("answer> $")
    chat.type("\x03")
    job = chat.expect("autobots input ([0-9a-f-]{36}) TEXT")[1]
    chat.expect("> $")
    assert bots("show", job, "--json").json()["state"] == "waiting"
    chat.type("/cancel\n")
    chat.expect("cancelling")
    wait_until(lambda: bots("show", job, "--json").json()["state"] == "cancelled", what="the job's end")
    chat.expect("> $")
    chat.type("pick again\n")
    chat.expect("answer> $")
    chat.type("/cancel\n")
    chat.expect("cancelled")
    chat.expect("> $")
    chat.type("and again\n")
    chat.expect("answer> $")
    chat.type("\x04")
    chat.expect("autobots input")
    assert chat.end() == 0
    assert len(bots("jobs", "--state", "waiting", "--json").lines()) == 1


def test_sigterm_ends_the_chat(on_terminal, flow_file):
    chat = on_terminal("chat", "-w", flow_file(flows.script_chat()))
    chat.expect("> $")
    chat.process.terminate()
    assert chat.end() == 0


def test_submit_on_a_terminal_asks_inline(on_terminal, flow_file, model):
    flow = flow_file(asking(model, ["Which one?", "Thanks."]))
    one = on_terminal("submit", "-w", flow, "pick")
    one.expect("answer> $")
    one.type("/the red one\n")  # no commands here
    one.expect("Thanks\\.")
    one.expect("answer> $")
    one.type("exit\n")
    one.expect("succeeded")
    assert one.end() == 0
    assert model.calls()[1]["body"]["messages"][-1]["content"] == "/the red one"
    other = on_terminal("submit", "-w", flow, "pick")
    other.expect("answer> $")
    other.type("\x04")
    other.expect("autobots input [0-9a-f-]{36} TEXT")
    assert other.end() == 4


def test_chat_reads_lines_of_a_file_too(bots, flow_file, model):
    result = bots("chat", "-w", flow_file(flows.script_chat()), "-s", "piped", input="one\n\ntwo")
    assert result.code == 0 and result.out.count("succeeded") == 2 and "> " not in result.err, result
    assert [m["content"] for m in bots("messages", "piped", "--json").lines() if m["role"] == "user"] == ["one", "two"]
    flow = flow_file(asking(model, ["Which one?", "Thanks."]))
    result = bots("chat", "-w", flow, input="pick\nthe red one\nexit\n")
    assert result.code == 0 and "Thanks." in result.out, result
    result = bots("chat", "-w", flow, input="pick\n")
    assert result.code == 4 and "autobots input" in result.err, result


def test_chat_goes_on_after_a_failure_but_ends_with_it(bots, flow_file, model):
    model.behave(fail={"status": 400, "error": {"message": "refused for the test"}})
    result = bots("chat", "-w", flow_file(flows.http_chat(model)), input="one\ntwo\n")
    assert result.code == 1 and result.out.count("refused for the test") == 2, result
