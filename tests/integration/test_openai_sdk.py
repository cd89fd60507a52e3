"""The gateway's /v1 as the openai package from npm uses it, unmodified, in a process of its own (openai_sdk.cjs); or as that from
PyPI does (openai_sdk.py), if OPENAI_SDK_PYTHON names a python that has it: `make check-python-sdk`."""

import itertools
import json
import os
import pathlib
import subprocess
import time
import urllib.parse

import cli
import flows
import npm
import pytest
from http_client import Gateway
from service import clean_environment, slow, wait_until

SDK = "openai@6.10.0"  # runs on node 18 and later
IDS = itertools.count(1)
SCRIPT = pathlib.Path(__file__).with_name("openai_sdk.cjs")


@pytest.fixture(scope="session")
def sdk():
    """Command and environment of a program that has the package."""
    if os.environ.get("OPENAI_SDK_PYTHON"):
        return [os.environ["OPENAI_SDK_PYTHON"], str(SCRIPT.with_suffix(".py"))], {}
    return ["node", str(SCRIPT)], {"NODE_PATH": str(npm.install(SDK, SDK))}


@pytest.fixture(scope="module")
def gateway(shared):
    one = Gateway(shared, "gateway21")
    yield one
    shared.processes.pop(one.name).terminate()


@pytest.fixture(scope="module")
def node(sdk):
    """One process for all scenarios: it starts slowly."""
    command, environment = sdk
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=clean_environment(environment)) as process:
        yield process
        process.stdin.close()
        assert process.wait(20 * slow()) == 0


class Sdk:
    def __init__(self, node, gateway, user):
        self.node, self.gateway, self.user = node, gateway, user

    def store(self, name, workflow):
        path = "/api/workflows/" + urllib.parse.quote(name)
        answer = self.gateway.request("PUT", path, {"workflow": workflow}, user=self.user)
        assert answer.status in (200, 201), answer
        return name

    def play(self, scenario, model="none", gateway=None, **more):
        """Yields the values that the scenario tells, at last its result."""
        given = {"id": next(IDS), "scenario": scenario, "url": f"http://127.0.0.1:{(gateway or self.gateway).port}/v1",
                 "user": self.user, "model": model, **more}
        self.node.stdin.write(json.dumps(given) + "\n")
        self.node.stdin.flush()
        while True:
            line = json.loads(self.node.stdout.readline() or "null")
            assert line and line["id"] == given["id"], f"node has ended, or mixes scenarios up: {line}"
            assert "crash" not in (line["value"] or {}), line["value"]["crash"]
            yield line["value"]
            if line.get("last"):
                return

    def __call__(self, *args, **more):
        return list(self.play(*args, **more))[-1]

    def error(self, scenario, model="none", **more):
        return self(scenario, model, **more)["error"]

    def jobs(self):
        return self.gateway.get("/api/jobs", user=self.user).body["jobs"]


@pytest.fixture
def openai(node, gateway, user):
    return Sdk(node, gateway, user)


def review(model=None, **more):
    """A writer, whose turns are the answer, and a critic."""
    return {"name": "review", "output": "writer",
            "agents": [{"name": "writer", "script": {"replies": ["A draft.", "Grüße, better."], "chunk_bytes": 4}},
                       {"name": "critic", "script": ["Too short.", "Fine. TERMINATE"]}], **more}


TEXT = "one two three four five six seven eight nine ten eleven twelve"


@pytest.fixture
def slow_model(openai, model):
    """A stored workflow whose model writes TEXT in many pieces, over about a second."""
    model.behave(text=TEXT, piece_chars=4, chunk_ms=40)
    return openai.store("slow", flows.http_chat(model))


# -- models and chat --------------------------------------------------------------------------------------------------


def test_models_are_the_users_workflows(openai):
    openai.store("review", review())
    openai.store("with a space", flows.script_chat(["a"]))
    found = openai("models", "with a space")
    assert [m["id"] for m in found["all"]] == ["chat", "review", "with a space"]
    assert found["one"] == found["all"][2] and found["one"]["created"] > 1.7e9 and found["one"]["owned_by"] == openai.user


def test_a_chat(openai):
    done = openai("chat", openai.store("review", review()))
    choice = done["data"]["choices"][0]
    assert choice["message"]["content"] == "A draft.\n\nGrüße, better." and choice["finish_reason"] == "stop"
    assert choice["message"]["reasoning_content"] == "critic: Too short.\n\ncritic: Fine. TERMINATE"
    usage, job = done["data"]["usage"], openai.jobs()[0]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert done["request_id"] == job["id"] and not job.get("session")


def test_a_chat_streams_as_it_is_written(openai, slow_model):
    seen = openai("chat_stream", slow_model)
    assert seen["content"] == TEXT and seen["pieces"] > 3 and seen["finish"] == ["stop"] and seen["roles"] == ["assistant"]
    assert seen["usage"]["completion_tokens"] > 0


def test_turns_of_other_agents_are_thoughts(openai):
    seen = openai("chat_stream", openai.store("review", review()))
    assert seen["content"] == "A draft.\n\nGrüße, better." and seen["thoughts"].startswith("critic: Too short.")
    both = {"name": "both", "type": "autonomous", "agents": [{"name": "a", "script": ["A."]}, {"name": "b", "script": ["B."]}]}
    seen = openai("chat_stream", openai.store("both", both))
    assert seen["content"] == "A.\n\nB." and sorted(seen["thoughts"].split("\n\n")) == ["a: A.", "b: B."]


def test_the_sdks_helper_reads_the_stream(openai, slow_model):
    assert openai("chat_helper", slow_model)["content"] == TEXT


def test_given_messages_are_the_history(openai, model):
    openai.store("m", flows.http_chat(model))
    said = [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "I am Ada."},
            {"role": "assistant", "content": "Hello."}, {"role": "user", "content": [{"type": "text", "text": "Who am I?"}]}]
    openai("chat", "m", more={"messages": said})
    assert [(m["role"], m["content"]) for m in model.calls()[-1]["body"]["messages"]] == \
        [("system", "Rhyme."), ("user", "I am Ada."), ("assistant", "Hello."), ("user", "Who am I?")]


def test_with_a_session_the_stored_messages_are(openai, model):
    model.behave(text="noted")
    openai.store("m", flows.http_chat(model))
    headers = {"X-OpenWebUI-Chat-Id": f"chat-{openai.user}"}
    openai("chat", "m", text="First.", headers=headers)
    done = openai("chat", "m", headers=headers, more={"messages": [{"role": "user", "content": "told by the client"},
                                                                   {"role": "user", "content": "Second."}]})
    assert done["headers"]["x-session-id"] == headers["X-OpenWebUI-Chat-Id"]
    assert [m["content"] for m in model.calls()[-1]["body"]["messages"]] == ["First.", "noted", "Second."]


def test_a_question_is_answered_by_the_sessions_next_message(openai):
    asking = {"name": "asks", "agents": [{"name": "user", "type": "user", "human": "ALWAYS", "max_replies": 9},
                                         {"name": "helper", "script": ["Which one?", "That one it is."]}]}
    openai.store("asks", asking)
    headers = {"X-Session-Id": f"asks-{openai.user}"}
    first = openai("chat", "asks", headers=headers)["data"]["choices"][0]["message"]["content"]
    second = openai("chat", "asks", headers=headers, text="The red one.")["data"]["choices"][0]["message"]["content"]
    assert "Which one?" in first and "That one it is." in second and len(openai.jobs()) == 1
    refused = openai.error("chat", "asks")
    assert (refused["class"], refused["code"]) == ("BadRequestError", "human_input_required")
    wait_until(lambda: openai.jobs()[0]["state"] == "cancelled", 20 * slow(), "the job nobody can answer ends")


def test_requests_with_keys_answer_a_question_once(gateway, user):
    asking = {"name": "asks", "agents": [{"name": "user", "type": "user", "human": "ALWAYS", "max_replies": 9},
                                         {"name": "helper", "script": ["Which one?", "That one it is."]}]}
    assert gateway.request("PUT", "/api/workflows/asks", {"workflow": asking}, user=user).status == 200
    body = {"model": "asks", "messages": [{"role": "user", "content": "Bring me one."}]}

    def say(key, **more):
        answer = gateway.post("/v1/chat/completions", {**body, **more}, user=user,
                              headers={"X-Session-Id": f"again-{user}", "Idempotency-Key": key})
        assert answer.status == 200, answer
        return answer.body["choices"][0]["message"]["content"]

    first = say("one")
    assert "Which one?" in first and say("one") == first
    red = {"messages": [{"role": "user", "content": "The red one."}]}
    second = say("two", **red)
    assert "That one it is." in second and say("two", **red) == second and say("one") == first
    other = gateway.post("/v1/chat/completions", body, user=user,
                         headers={"X-Session-Id": f"again-{user}", "Idempotency-Key": "two"})
    assert other.status == 409
    assert len(gateway.get("/api/jobs", user=user).body["jobs"]) == 1


def test_with_a_key_too_an_answer_tells_when_it_was_made(gateway, user):
    began = int(time.time())
    stored = gateway.request("PUT", "/api/workflows/echo", {"workflow": flows.script_chat(["a"])}, user=user)
    assert stored.status == 200
    key = {"Idempotency-Key": "when"}
    chat = {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
    assert began <= gateway.post("/v1/chat/completions", chat, user=user, headers=key).body["created"] <= time.time()
    key = {"Idempotency-Key": "when it was queued"}
    made = [gateway.post("/v1/responses", {"model": "echo", "input": "x", "background": True}, user=user, headers=key).body
            for _ in range(2)]
    read = gateway.get(f"/v1/responses/{made[0]['id']}", user=user).body
    assert began <= made[0]["created_at"] == made[1]["created_at"] == read["created_at"] <= time.time()


def test_a_client_that_leaves_ends_its_job(openai, model):
    model.behave(text=TEXT, piece_chars=4, chunk_ms=500)
    assert openai("chat_abort", openai.store("m", flows.http_chat(model))) == "left"
    wait_until(lambda: openai.jobs()[0]["state"] == "cancelled", 20 * slow(), "the job was cancelled")


def calls_tools(approval="always", **more):
    """It says something, calls a tool twice, once in vain, and answers."""
    calls = [{"name": "calculator", "arguments": {"expression": expression}} for expression in ("6*7", "1/0")]
    return {"name": "tools", "agents": [{"name": "helper", "tools": [{"name": "calculator", "approval": approval}], "script": [
        {"text": "I compute.", "tool_calls": calls}, "It is 42."]}], **more}


def about_tools(thoughts):
    """Those of the two calls, in the order of their words: they go on at the same time."""
    return sorted(one[:34] for one in thoughts.split("\n\n") if "calculator" in one)


TOOL_THOUGHTS = ["calculator: 42", "calculator: failed: division by ze", 'helper: calls calculator {"express',
                 'helper: calls calculator {"express']


def test_what_clients_see_of_a_workflow_that_calls_tools(openai):
    """The answer; the calls, and what is said before them by an agent that does not answer, are thoughts."""
    two = calls_tools(type="autonomous")
    two["agents"].append({"name": "other", "script": ["Nothing."]})
    openai.store("tools", two)
    choice = openai("chat", "tools")["data"]["choices"][0]
    assert choice["message"]["content"] == "It is 42.\n\nNothing." and choice["finish_reason"] == "stop"
    thoughts = choice["message"]["reasoning_content"]
    assert about_tools(thoughts) == TOOL_THOUGHTS and thoughts.index("helper: I compute.") < thoughts.index("helper: It is 42.")
    assert not choice["message"].get("tool_calls")
    seen = openai("chat_stream", "tools")
    assert seen["content"] == "It is 42.\n\nNothing." and seen["finish"] == ["stop"]
    assert about_tools(seen["thoughts"]) == TOOL_THOUGHTS


def test_what_the_answering_agent_says_before_its_calls_is_part_of_the_answer(openai):
    openai.store("tools", calls_tools(output="helper"))
    choice = openai("chat", "tools")["data"]["choices"][0]
    assert choice["message"]["content"] == "I compute.\n\nIt is 42."
    assert about_tools(choice["message"]["reasoning_content"]) == TOOL_THOUGHTS
    seen = openai("chat_stream", "tools")
    assert seen["content"] == "I compute.\n\nIt is 42." and about_tools(seen["thoughts"]) == TOOL_THOUGHTS
    done = openai("response", "tools")
    assert done["status"] == "completed" and done["output_text"] == "I compute.It is 42."
    assert [item["type"] for item in done["output"]] == ["message", "message"]


def test_a_call_that_needs_approval_is_a_question_to_the_client(openai):
    openai.store("tools", calls_tools("ask"))
    headers = {"X-Session-Id": f"tools-{openai.user}"}
    answers = [openai("chat", "tools", headers=headers, text=text)["data"]["choices"][0]["message"]["content"]
               for text in ("go", "yes", "better not")]
    assert "May helper call calculator" in answers[0] and "6*7" in answers[0] and "1/0" in answers[1]
    assert answers[2] == "It is 42." and len(openai.jobs()) == 1


# -- responses --------------------------------------------------------------------------------------------------------


ONE_ITEM = ["response.output_item.added", "response.content_part.added", "response.output_text.delta",
            "response.output_text.done", "response.content_part.done", "response.output_item.done"]


def order_of(seen):
    """The types of its events, each piece of a text counted once."""
    return [t for i, t in enumerate(seen["types"]) if i == 0 or t != seen["types"][i - 1]]


BEGIN = ["response.created", "response.in_progress"]


def test_a_response_and_its_events(openai):
    openai.store("review", review())
    done = openai("response", "review", more={"instructions": "Be kind.", "metadata": {"k": "v"}})
    assert done["status"] == "completed" and done["output_text"] == "A draft.Grüße, better."
    assert done["instructions"] == "Be kind." and done["metadata"] == {"k": "v"} and done["usage"]["total_tokens"] > 0
    seen = openai("response_stream", "review")
    assert order_of(seen) == [*BEGIN, *ONE_ITEM, *ONE_ITEM, "response.completed"]
    assert seen["numbers"] == sorted(set(seen["numbers"])) and seen["text"] == "A draft.Grüße, better."
    assert openai("response_helper", "review") == {"status": "completed", "text": "A draft.Grüße, better."}


def texts_of(response):
    return [item["content"][0]["text"] for item in response["output"]]


@pytest.mark.parametrize("output, texts", [("helper", ["I compute.", "It is 42."]), (None, ["It is 42."])])
def test_the_events_of_a_response_that_calls_tools(openai, output, texts):
    """Only what is said is in it; a stream that comes later, and a cut one, tell the same."""
    openai.store("tools", calls_tools(type="sequential", **({"output": output} if output else {})))
    seen = openai("response_stream", "tools")
    assert order_of(seen) == [*BEGIN, *ONE_ITEM * len(texts), "response.completed"]
    assert seen["numbers"] == sorted(set(seen["numbers"])) and seen["text"] == "".join(texts)
    assert seen["response"]["status"] == "completed" and texts_of(seen["response"]) == texts
    later = openai("retrieve_stream", id=seen["response"]["id"])
    assert (later["text"], later["response"], later["numbers"][-1]) == (seen["text"], seen["response"], seen["numbers"][-1])
    assert openai("response_helper", "tools") == {"status": "completed", "text": "".join(texts)}
    cut = openai("resume", "tools", cut=6)
    assert cut["part"]["text"] + cut["rest"]["text"] == cut["whole"]["text"] == "".join(texts)


def test_what_an_agent_says_to_its_caller_is_no_event(openai):
    """The one whose turns are the answer is called as a tool first, at the same time as another workflow."""
    inner = {"name": "aside", "agents": [{"name": "clerk", "script": {"replies": ["To the editor only."], "chunk_bytes": 2}}]}
    calls = [{"name": name, "arguments": {"message": "well?"}} for name in ("writer", "aside")]
    openai.store("press", {"name": "press", "type": "sequential", "output": "writer", "agents": [
        {"name": "editor", "script": [{"tool_calls": calls}, "Take the draft."], "tools": [{"agent": "writer"}, {"workflow": inner}]},
        {"name": "writer", "script": {"replies": ["The text."], "chunk_bytes": 3}}]})
    seen = openai("response_stream", "press")
    assert order_of(seen) == [*BEGIN, *ONE_ITEM, "response.completed"] and seen["text"] == "The text."
    assert texts_of(seen["response"]) == ["The text."]
    assert openai("response_helper", "press") == {"status": "completed", "text": "The text."}


def test_a_streamed_response_ends_with_a_call_that_needs_approval(openai, gateway, user):
    openai.store("tools", calls_tools("ask", output="helper"))
    seen = openai("response_stream", "tools")
    assert order_of(seen) == [*BEGIN, *ONE_ITEM * 2, "response.incomplete"]
    assert seen["response"]["incomplete_details"] == {"reason": "human_input_required"}
    said, question = texts_of(seen["response"])
    assert said == "I compute." and "May helper call calculator" in question and "6*7" in question
    job = openai.jobs()[0]["id"]
    for answer, left in (("yes", "1/0"), ("better not", None)):
        wait_until(lambda: openai.jobs()[0]["state"] == "waiting", 20 * slow(), "the question")
        assert gateway.post(f"/api/jobs/{job}/input", {"text": answer}, user=user).status == 202
        if left:
            wait_until(lambda: left in texts_of(openai("retrieve_stream", id=seen["response"]["id"])["response"])[-1], 20 * slow(),
                       "the second question")
    wait_until(lambda: openai.jobs()[0]["state"] == "succeeded", 20 * slow(), "the end")
    after = openai("retrieve_stream", id=seen["response"]["id"])
    assert order_of(after) == [*BEGIN, *ONE_ITEM * 2, "response.completed"]
    assert texts_of(after["response"]) == ["I compute.", "It is 42."] and len(openai.jobs()) == 1


def test_in_the_background_and_what_follows_it(openai, model):
    model.behave(text="noted")
    openai.store("m", flows.http_chat(model))
    done = openai("background", "m", more={"instructions": "Only now."})
    assert done["first"] == "queued" and done["response"]["status"] == "completed" and done["text"] == "noted"
    said = [(m["role"], m["content"]) for m in model.calls()[-1]["body"]["messages"]]
    assert said == [("system", "Only now."), ("user", "hello"), ("assistant", "noted"), ("user", "and then?")]


@pytest.mark.parametrize("cut", [1, 3, 4, 7])
def test_a_cut_stream_is_resumed_behind_what_was_read(openai, slow_model, cut):
    seen = openai("resume", slow_model, cut=cut)
    part, rest, whole = seen["part"], seen["rest"], seen["whole"]
    assert part["text"] + rest["text"] == whole["text"] == TEXT
    assert rest["numbers"] == sorted(set(rest["numbers"])) and rest["numbers"][0] > part["numbers"][-1]
    assert rest["response"] == whole["response"] and rest["numbers"][-4:] == whole["numbers"][-4:]
    assert set(whole["numbers"]) <= set(part["numbers"] + rest["numbers"])


def test_a_stream_outlives_the_gateway(openai, shared, slow_model):
    own = Gateway(shared, "gateway22")
    told = openai.play("outlive", slow_model, gateway=own)
    assert TEXT.startswith(next(told)["got"])
    own.restart()
    seen = list(told)[-1]
    assert seen["breaks"] >= 1 and seen["text"] == TEXT and seen["numbers"] == sorted(set(seen["numbers"]))
    assert seen["types"].count("response.created") == 1 and seen["types"][-4:] == [*ONE_ITEM[3:], "response.completed"]
    assert len(openai.jobs()) == 1
    shared.processes.pop(own.name).terminate()


def test_cancel_and_delete(openai, model):
    model.behave(text=TEXT, delay_ms=20000)
    openai.store("m", flows.http_chat(model))
    seen = openai("cancel", "m")
    assert seen["cancelled"]["status"] == seen["after"]["status"] == "cancelled"
    openai.store("quick", flows.script_chat(["a"]))
    assert openai.error("remove", "quick")["class"] == "NotFoundError"
    unstored = openai("response", "quick", more={"store": False})
    assert unstored["output_text"] == "a" and openai.error("retrieve", id=unstored["id"])["class"] == "NotFoundError"


def test_a_failed_response_says_why(openai):
    failing = {"name": "f", "agents": [{"name": "a", "script": [{"error": {"status": 400, "message": "no such thing"}}]}]}
    done = openai("response", openai.store("f", failing))
    assert done["status"] == "failed" and done["error"]["code"] == "model" and "no such thing" in done["error"]["message"]
    assert openai("response_stream", "f")["types"][-1] == "response.failed"


def test_nobody_reads_anothers_response(openai, node, gateway):
    done = openai("response", openai.store("quick", flows.script_chat(["a"])))
    assert openai("retrieve", id=done["id"])["output_text"] == "a"
    assert Sdk(node, gateway, openai.user + "x").error("retrieve", id=done["id"])["class"] == "NotFoundError"


# -- errors -----------------------------------------------------------------------------------------------------------


def test_errors_are_the_sdks_own(openai):
    openai.store("quick", flows.script_chat(["a"]))
    for more, param in (({"messages": []}, "messages"), ({"tool_choice": "required", "tools": [{}]}, "tool_choice"), ({"n": 3}, "n")):
        bad = openai.error("chat", "quick", more=more)
        assert (bad["class"], bad["status"], bad["param"], bad["type"]) == ("BadRequestError", 400, param, "invalid_request_error")
    missing = openai.error("chat", "nobody has this")
    assert (missing["class"], missing["code"], missing["param"]) == ("NotFoundError", "model_not_found", "model")
    assert openai.error("retrieve", id="resp_none")["class"] == "NotFoundError"
    assert openai.error("chat", "quick", headers={"Origin": "http://evil.example"})["class"] == "PermissionDeniedError"
    unknown = openai.error("response", "quick", more={"previous_response_id": "resp_" + "0" * 32})
    assert unknown["class"] == "NotFoundError" and openai.jobs() == []


def test_the_sdks_key_is_the_users_token(openai, shared):
    made = cli.run("tokens", "create", "--json", "--user", openai.user, home=shared.dir).json()
    reader = cli.run("tokens", "create", "--json", "--user", openai.user, "--scope", "read", home=shared.dir).json()
    openai.store("quick", flows.script_chat(["a"]))
    own = Gateway(shared, "gateway24", flags=["--http-auth", "tokens"])
    refused = openai.error("chat", "quick", gateway=own, key="wrong", retries=3)
    assert (refused["class"], refused["status"], refused["type"]) == ("AuthenticationError", 401, "authentication_error")
    assert refused["headers"]["x-should-retry"] == "false"
    said = openai("chat", "quick", gateway=own, key=made["token"], user=None)["data"]["choices"][0]["message"]["content"]
    assert said == "a" and len(openai.jobs()) == 1
    assert openai.error("chat", "quick", gateway=own, key=reader["token"], user=None)["class"] == "PermissionDeniedError"
    shared.processes.pop(own.name).terminate()


def test_tools_of_the_client_are_ignored_with_a_warning(openai):
    done = openai("chat", openai.store("quick", flows.script_chat(["a"])), more={"tools": [{"type": "function"}]})
    assert done["headers"]["warning"].startswith("299 ") and done["data"]["choices"][0]["message"]["content"] == "a"


def test_a_failed_job_is_not_tried_again(openai):
    failing = {"name": "f", "agents": [{"name": "a", "script": [{"error": {"status": 400, "message": "no such thing"}}]}]}
    failed = openai.error("chat", openai.store("f", failing), retries=3)
    assert failed["status"] == 502 and failed["class"] == "InternalServerError" and "no such thing" in failed["message"]
    assert failed["headers"]["x-should-retry"] == "false" and len(openai.jobs()) == 1
    assert openai.error("chat_stream", "f", retries=3)["code"] == "model" and len(openai.jobs()) == 2


def test_a_spent_budget_is_final(openai):
    spent = review(budget={"calls": 1})
    failed = openai.error("chat", openai.store("spent", spent), retries=3)
    assert (failed["class"], failed["status"], failed["code"]) == ("RateLimitError", 429, "insufficient_quota")
    assert failed["headers"]["x-should-retry"] == "false" and len(openai.jobs()) == 1
    wait_until(lambda: openai.jobs()[0]["state"] == "cancelled", 20 * slow(), "what nobody waits for ends")


def test_over_a_rate_the_sdk_waits_as_it_is_told(openai, shared):
    own = Gateway(shared, "gateway23", flags=["--http-rate", "2"])
    seen = openai("crowd", gateway=own)
    assert seen["refused"] and seen["then"] == ["fulfilled"] * 4
    for refused in seen["refused"]:
        assert (refused["class"], refused["status"], refused["code"]) == ("RateLimitError", 429, "rate_limit_exceeded")
        assert refused["headers"]["x-should-retry"] == "true" and int(refused["headers"]["retry-after"]) >= 1
        assert 0 < int(refused["headers"]["retry-after-ms"]) <= 1000
    shared.processes.pop(own.name).terminate()


# -- what an SDK does not show ----------------------------------------------------------------------------------------


def test_an_answer_that_begins_anew_ends_the_stream_with_an_error(openai, model):
    model.behave(text=TEXT, piece_chars=4, chunk_ms=40, cut_after=6, cut_times=1)
    openai.store("m", flows.http_chat(model))
    failed = openai.error("chat_stream", "m")
    assert failed["code"] == "attempt_restarted", failed
    wait_until(lambda: openai.jobs()[0]["state"] in ("cancelled", "succeeded"), 20 * slow(), "the job ends")


def test_a_response_that_waits_tells_its_question_and_goes_on_after_the_answer(openai, gateway, user):
    asking = {"name": "asks", "output": "helper",
              "agents": [{"name": "user", "type": "user", "human": "ALWAYS", "max_replies": 9},
                         {"name": "helper", "script": ["Which one?", "That one it is."]}]}
    openai.store("asks", asking)
    first = openai("response", "asks")
    assert first["status"] == "incomplete" and first["incomplete_details"] == {"reason": "human_input_required"}
    assert first["output"][0]["content"][0]["text"] == "Which one?" and len(first["output"]) == 2
    again = openai("retrieve", id=first["id"])
    assert (again["status"], again["output"]) == (first["status"], first["output"])
    job = openai.jobs()[0]["id"]
    for text in ("The red one.", "exit"):
        wait_until(lambda: openai.jobs()[0]["state"] == "waiting", 20 * slow(), "the question")
        assert gateway.post(f"/api/jobs/{job}/input", {"text": text}, user=user).status == 202
        if text != "exit":
            wait_until(lambda: len(openai("retrieve", id=first["id"])["output"]) == 3, 20 * slow(), "the second question")
    wait_until(lambda: openai("retrieve", id=first["id"])["status"] == "completed", 20 * slow(), "the end")
    assert [o["content"][0]["text"] for o in openai("retrieve", id=first["id"])["output"]] == ["Which one?", "That one it is."]


def test_a_request_that_is_sent_again_under_its_key_runs_once(openai, user, model):
    model.behave(text="only once")
    name = openai.store("keyed", flows.http_chat(model))
    seen = openai("keyed", name, idempotency=f"k-{user}")
    first, *others = [*seen["chats"], seen["again"]]
    assert all(one == first for one in others) and first["choices"][0]["message"]["content"] == "only once"
    assert seen["streamed"] == {"id": first["id"], "text": "only once"}
    assert seen["responses"][0] == seen["responses"][1]
    assert seen["other"]["error"]["class"] == "ConflictError" and seen["other"]["error"]["status"] == 409
    assert len(model.calls()) == 2, "one for the chats, one for the responses"


def test_a_client_that_goes_away_with_a_key_finds_its_answer(gateway, user, model):
    model.behave(text="here it is", delay_ms=600)
    assert gateway.request("PUT", "/api/workflows/slow", {"workflow": flows.http_chat(model)}, user=user).status == 200
    body = json.dumps({"model": "slow", "messages": [{"role": "user", "content": "x"}]})
    head = (f"POST /v1/chat/completions?user={user} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: gone-{user}\r\nContent-Length: {len(body)}\r\n\r\n")
    with gateway.raw((head + body).encode()):
        wait_until(lambda: model.calls(), what="the call")
    answer = gateway.post("/v1/chat/completions", json.loads(body), user=user, headers={"Idempotency-Key": f"gone-{user}"})
    assert answer.status == 200 and answer.body["choices"][0]["message"]["content"] == "here it is"
    assert len(model.calls()) == 1


def test_what_a_response_was_made_of(openai, user, model):
    name = openai.store("items", flows.http_chat(model))
    image = "data:image/png;base64,iVBORw0KGgo="
    seen = openai("items", name, image=image)
    assert [item["role"] for item in seen["oldest"]] == ["user", "assistant", "user"]
    assert seen["newest"] == seen["oldest"][::-1] == seen["paged"]
    assert [part["type"] for part in seen["newest"][0]["content"]] == ["input_text", "input_image", "input_file"]
    assert seen["newest"][0]["content"][1] == {"type": "input_image", "image_url": image, "detail": "low"}
    assert seen["oldest"][1]["content"][0]["type"] == "output_text"
    sent = model.calls()[0]["body"]["messages"][-1]["content"]
    assert [part["type"] for part in sent] == ["text", "image_url", "file"] and sent[1]["image_url"]["url"] == image
