"""Workflows by name: versions, faults, keys, whose they are, and what deleting leaves alone."""

import hashlib
import json

import pytest

import autobots_wire as wire
import flows


def text(replies=("fine",), **more):
    return json.dumps({**flows.script_chat(list(replies)), **more})


def concise(name, **more):
    return json.dumps({"name": name, "script": "echo", "agents": [{"name": "writer"}, {"name": "critic"}], **more})


def names(answer):
    return [w["name"] for w in answer["workflows"]]


def test_a_workflow_is_saved_and_read(store):
    ann = store.client()
    saved = ann.ask("save_workflow", name="review", workflow=concise("inner", description="two of them"))
    assert saved["created"] is True
    record = saved["workflow"]
    assert (record["name"], record["version"], record["user_id"]) == ("review", 1, "ann")
    assert record["description"] == "two of them" and record["timestamp"].endswith("Z")
    got = ann.ask("get_workflow", name="review")
    assert got["record"] == record
    canonical = json.loads(got["workflow"])
    assert canonical["name"] == "inner" and len(canonical["agents"]) == 2
    assert hashlib.blake2b(got["workflow"].encode(), digest_size=32).digest() == record["hash"]
    # without a name it is that of the workflow
    assert ann.ask("save_workflow", workflow=concise("inner"))["workflow"]["name"] == "inner"


def test_the_same_content_changes_nothing_another_is_the_next_version(store):
    ann = store.client()
    one = ann.ask("save_workflow", name="w", workflow=text(["a"]))["workflow"]
    again = ann.ask("save_workflow", name="w", workflow=json.dumps(json.loads(text(["a"])), indent=3))
    assert again == {"workflow": one}
    two = ann.ask("save_workflow", name="w", workflow=text(["b"]))["workflow"]
    assert two["version"] == 2 and two["hash"] != one["hash"]
    back = ann.ask("save_workflow", name="w", workflow=text(["a"]))["workflow"]
    assert back["version"] == 3 and back["hash"] == one["hash"]
    assert ann.ask("get_workflow", name="w")["record"] == back
    assert ann.ask("get_workflow", name="w", version=2)["record"] == two
    versions = ann.ask("list_workflows", name="w")["workflows"]
    assert versions == [back, two, one]
    with pytest.raises(wire.Failure) as refused:
        ann.ask("get_workflow", name="w", version=4)
    assert refused.value.code == "not_found" and refused.value.path == "version"


def test_a_request_that_is_sent_again_is_the_same_version_whatever_came_between(store):
    ann, first = store.client(), wire.make_id()
    one = ann.ask("save_workflow", name="w", workflow=text(["a"]), id=first)
    ann.ask("save_workflow", name="w", workflow=text(["b"]), id=wire.make_id())
    assert ann.ask("save_workflow", name="w", workflow=text(["a"]), id=first) == {"workflow": one["workflow"]}
    assert len(ann.ask("list_workflows", name="w")["workflows"]) == 2
    with pytest.raises(wire.Failure) as refused:
        ann.ask("save_workflow", name="w", workflow=text(["c"]), id=first)
    assert refused.value.code == "conflict"


def test_listing(store):
    ann = store.client()
    for i in range(25):
        ann.ask("save_workflow", name=f"w{i:02}", workflow=text([f"{i}"]))
        ann.ask("save_workflow", name=f"w{i:02}", workflow=text([f"{i} again"]))
    found, after = [], None
    while True:
        page = ann.ask("list_workflows", limit=10, **({"after": after} if after else {}))
        assert len(page["workflows"]) <= 10
        found += page["workflows"]
        after = page.get("next")
        if not after:
            break
    assert [(w["name"], w.get("version")) for w in found] == [("chat", None)] + [(f"w{i:02}", 2) for i in range(25)]
    assert found[0] == {"name": "chat", "builtin": True, "description": "a user and one assistant"}
    page = ann.ask("list_workflows", name="w07", limit=1)
    assert page["workflows"][0]["version"] == 2
    assert ann.ask("list_workflows", name="w07", limit=1, after=page["next"])["workflows"][0]["version"] == 1


def test_the_built_in_one(store):
    ann = store.client()
    got = ann.ask("get_workflow", name="chat", model="gpt-4o-mini")
    assert got["record"]["builtin"] and '"model":"gpt-4o-mini"' in got["workflow"].replace(" ", "")
    assert names(ann.ask("list_workflows", name="chat")) == ["chat"]
    for op, request, path in [("get_workflow", {}, "model"), ("delete_workflow", {}, "name"),
                              ("save_workflow", {"workflow": text()}, "name")]:
        with pytest.raises(wire.Failure) as refused:
            ann.ask(op, name="chat", **request)
        assert (refused.value.code, refused.value.path) == ("invalid", path)


def test_a_user_sees_only_their_own(store):
    ann, bob = store.client(), store.client("bob")
    ann.ask("save_workflow", name="w", workflow=text())
    assert names(bob.ask("list_workflows")) == ["chat"]
    for op in ("get_workflow", "delete_workflow"):
        with pytest.raises(wire.Failure) as refused:
            bob.ask(op, name="w")
        assert refused.value.code == "not_found"
    assert bob.ask("save_workflow", name="w", workflow=text(["his"]))["workflow"]["version"] == 1
    assert ann.ask("get_workflow", name="w")["record"]["version"] == 1


@pytest.mark.parametrize("name", ["", "a/b", "w@1", "flow.yaml", "flow.JSON", " w", "w\x00", "x" * 65])
def test_a_name_that_could_be_something_else_is_refused(store, name):
    ann = store.client()
    request = {"user": "ann", "name": name, "workflow": concise("c@ller" if not name else "fine")}
    with pytest.raises(wire.Failure) as refused:
        ann.query("save_workflow", request)
    assert refused.value.code in ("invalid", "too_large")
    assert names(ann.ask("list_workflows")) == ["chat"]


def test_a_faulty_one_is_refused_with_every_fault_and_its_path(store):
    faulty = json.dumps({"name": "w", "agents": [{"name": "a", "tepmerature": 1}, {"name": "b", "max_replies": -1}]})
    with pytest.raises(wire.Failure) as refused:
        store.client().ask("save_workflow", name="w", workflow=faulty)
    assert refused.value.code == "invalid"
    paths = {fault["path"] for fault in refused.value.header["faults"]}
    assert {"$.agents[0].tepmerature", "$.agents[1].max_replies"} <= paths, paths
    with pytest.raises(wire.Failure) as refused:
        store.client().ask("save_workflow", name="w", workflow="{")
    assert refused.value.code == "invalid"


def test_no_key_is_kept_in_clear_or_sealed(store):
    ann = store.client()
    flow = {"name": "w", "type": "default",
            "sender": {"type": "userproxy", "config": {"name": "user"}},
            "receiver": {"type": "assistant", "config": {
                "name": "a", "llm_config": {"config_list": [{"model": "m", "api_key": "sk-secret-1234"}]}}}}
    for key in ("sk-secret-1234", {"$secret": 0}):
        flow["receiver"]["config"]["llm_config"]["config_list"][0]["api_key"] = key
        with pytest.raises(wire.Failure) as refused:
            ann.ask("save_workflow", workflow=json.dumps(flow))
        assert refused.value.code == "invalid" and "sk-secret" not in str(refused.value.header)
    assert b"sk-secret" not in (store.dir / "database.sqlite").read_bytes()


def test_deleting_a_name_leaves_its_jobs_alone_and_can_be_repeated(store):
    ann = store.client()
    ann.ask("save_workflow", name="w", workflow=text(["a"]))
    saved = ann.ask("save_workflow", name="w", workflow=text(["fine"]))["workflow"]
    job, _, _ = store.chat(hash=saved["hash"], workflow=None)  # storage knows its text
    assert ann.ask("delete_workflow", name="w")["deleted"] == 2
    ann.ask("delete_workflow", name="w")
    assert names(ann.ask("list_workflows")) == ["chat"]
    assert ann.ask("workflow", hash=saved["hash"])["workflow"]
    assert ann.ask("get_job", job=wire.id_text(job))["job"]["state"] == "succeeded"
    with pytest.raises(wire.Failure) as refused:
        ann.ask("delete_workflow", name="other")
    assert refused.value.code == "not_found"
    assert ann.ask("save_workflow", name="w", workflow=text(["new"]))["workflow"]["version"] == 1
