"""Agents that run code: workflows, and what came of their blocks."""

import flows

PYTHON = '''\
import ctypes, errno, os, platform, resource, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what, call):
    try:
        call()
    except OSError as failure:
        print(what, errno.errorcode.get(failure.errno, failure.errno))
    else:
        print(what, "ESCAPED")
def must(value):
    if value < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return value
'''


def block(text, language="python", name=None):
    first = f"# filename: {name}\n" if name else ""
    return f"```{language}\n{first}{text.rstrip()}\n```"


def flow(*messages, code="local", **more):
    """A user who runs the code that a scripted assistant sends; a last message ends the chat."""
    return flows.chat(flows.script([*messages, "TERMINATE"]), replies=len(messages) + 1,
                      user={"code_execution_config": code}, **more)


def results(events):
    return [event for event in events if event["kind"] == "code_result"]


def run(client, *messages, code="local", timeout=60, **more):
    """The code_results and the end of a job whose assistant sends these messages."""
    job = client.submit(flow(*messages, code=code, **more), "go", watch="all").id
    events = client.events_to_end(job, timeout=timeout)
    return results(events), events[-1]


def one(client, text, language="python", **more):
    """The result of a single block."""
    [result], end = run(client, block(text, language), **more)
    assert end["state"] == "succeeded", end
    return result


def attack(client, text, **more):
    """The result of a Python block that begins with the helpers, none of whose attempts came through."""
    result = one(client, PYTHON + text, **more)
    assert "ESCAPED" not in result["output"], result["output"]
    return result


def said(end):
    """What the user replied with, in order, without the opening message."""
    return [m["content"] for m in end["result"]["messages"] if m["agent"] == "user"][1:]
