"""Skills: headers, versions, faults, whose they are, limits, and what the worker is given."""

import hashlib
import json
import sqlite3

import pytest

import autobots_wire as wire

HEADER = '''"""title: Mean of numbers
description: |
  The arithmetic mean.
  Answers one number.
idempotent: true
timeout_s: 5
parameters:
  type: object
  properties:
    numbers: {type: array, items: {type: number}, minItems: 1}
  required: [numbers]
"""
import json, sys

def mean(numbers):
    return sum(numbers) / len(numbers)

if __name__ == "__main__":
    print(mean(json.load(sys.stdin)["numbers"]))
'''
SHELL = "#!/bin/sh\n# title: Says hello\n# name: hello\n#\n# parameters:\n#   type: object\necho hello\n"


def refused(client, operation, **fields):
    with pytest.raises(wire.Failure) as failure:
        client.ask(operation, **fields)
    return failure.value


def names(answer):
    return [skill["name"] for skill in answer["skills"]]


def test_a_skill_is_saved_and_read(store):
    ann = store.client()
    saved = ann.ask("save_skill", content=HEADER, file_name="mean-of.py")
    assert saved["created"] is True
    record = saved["skill"]
    assert (record["name"], record["version"], record["user_id"], record["language"]) == ("mean_of", 1, "ann", "python")
    assert (record["title"], record["file_name"]) == ("Mean of numbers", "mean-of.py")
    assert record["description"] == "The arithmetic mean.\nAnswers one number.\n"
    assert record["idempotent"] is True and record["timeout_s"] == 5 and record["timestamp"].endswith("Z")
    assert record["parameters"]["required"] == ["numbers"] and "content" not in record
    assert ann.ask("get_skill", name="mean_of")["skill"] == {**record, "content": HEADER}
    whole = {key: record[key] for key in ("name", "title", "description", "file_name", "language", "parameters", "idempotent", "timeout_s")}
    text = json.dumps({**whole, "content": HEADER}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.blake2b(text.encode(), digest_size=32).digest() == record["hash"]


def test_what_is_named_counts_before_the_header_and_the_header_before_the_rest(store):
    ann = store.client()
    one = ann.ask("save_skill", content=SHELL)["skill"]
    assert (one["name"], one["title"], one["language"], one["file_name"]) == ("hello", "Says hello", "sh", "hello.sh")
    assert one["timeout_s"] == 60 and "idempotent" not in one and one["description"] == ""
    named = ann.ask("save_skill", content=SHELL, name="greet", title="Greets", description="d", file_name="g.bash", language="bash",
                    parameters={"type": "object", "properties": {"x": {"type": "string"}}}, idempotent=True, timeout_s=9)["skill"]
    assert {key: named[key] for key in ("name", "title", "description", "file_name", "language", "idempotent", "timeout_s")} == {
        "name": "greet", "title": "Greets", "description": "d", "file_name": "g.bash", "language": "bash", "idempotent": True, "timeout_s": 9}
    assert named["parameters"]["properties"] == {"x": {"type": "string"}}
    # no header: the docstring tells what it does, the file's name how it is called
    plain = ann.ask("save_skill", content='#!/usr/bin/env python3\n\n# ours\n"""Adds.\n\nAll of it."""\nprint(1)\n', file_name="add up.v2.py")["skill"]
    assert (plain["name"], plain["title"], plain["description"], plain["language"]) == ("add_up_v2", "add_up_v2", "Adds.\n\nAll of it.", "python")
    assert plain["parameters"] == {"type": "object", "properties": {}}
    comment = ann.ask("save_skill", content="# Adds\n#   two numbers\n\n# not this\nexpr 1 + 1\n", title="Add it, now!", language="sh")["skill"]
    assert (comment["name"], comment["description"]) == ("add_it_now", "Adds\n  two numbers")


def test_the_same_content_changes_nothing_another_is_the_next_version(store):
    ann, first = store.client(), wire.make_id()
    one = ann.ask("save_skill", content=SHELL, id=first)["skill"]
    assert one["id"] == first
    assert ann.ask("save_skill", content=SHELL) == {"skill": one}
    two = ann.ask("save_skill", content=SHELL + "# more\n")["skill"]
    assert two["version"] == 2 and two["hash"] != one["hash"]
    assert ann.ask("save_skill", content=SHELL, title="Greets")["skill"]["version"] == 3
    assert ann.ask("get_skill", name="hello", version=1)["skill"] == {**one, "content": SHELL}
    assert [s["version"] for s in ann.ask("list_skills", name="hello")["skills"]] == [3, 2, 1]
    assert ann.ask("save_skill", content=SHELL, id=first) == {"skill": one}, "a request sent again"
    assert refused(ann, "save_skill", content=SHELL + "#\n", id=first).code == "conflict"
    assert refused(ann, "get_skill", name="hello", version=4).path == "version"


def test_a_users_own_only(store):
    ann, bob = store.client("ann"), store.client("bob")
    ann.ask("save_skill", content=SHELL)
    assert bob.ask("list_skills") == {"skills": []}
    for operation in ("get_skill", "delete_skill"):
        assert refused(bob, operation, name="hello").code == "not_found"
    bob.ask("save_skill", content=SHELL + "# bob's\n")
    assert bob.ask("get_skill", name="hello")["skill"]["version"] == 1
    assert bob.ask("delete_skill", name="hello")["deleted"] == 1
    assert ann.ask("get_skill", name="hello")["skill"]["content"] == SHELL


def test_listing_and_searching(store):
    ann = store.client()
    for i in range(25):
        for version in ("a", "b"):
            ann.ask("save_skill", content=SHELL + version, name=f"s{i:02}", title=f"Title {i}", description="even" if i % 2 == 0 else "Odd one")
    found, after = [], None
    while True:
        page = ann.ask("list_skills", limit=10, **({"after": after} if after else {}))
        assert len(page["skills"]) <= 10
        found += page["skills"]
        after = page.get("next")
        if not after:
            break
    assert [s["name"] for s in found] == [f"s{i:02}" for i in range(25)] and {s["version"] for s in found} == {2}
    assert names(ann.ask("list_skills", search="odd TITLE s1")) == [f"s{i}" for i in range(11, 20, 2)]
    assert names(ann.ask("list_skills", search="nothing")) == []
    first = ann.ask("list_skills", name="s03", limit=1)
    assert [s["version"] for s in first["skills"]] == [2]
    assert [s["version"] for s in ann.ask("list_skills", name="s03", after=first["next"])["skills"]] == [1]
    assert refused(ann, "list_skills", name="s03", after="x").code == "invalid"


def test_deleting_takes_the_content_away_and_may_be_asked_twice(store):
    ann = store.client()
    ann.ask("save_skill", content=SHELL)
    ann.ask("save_skill", content=SHELL + "more")
    assert ann.ask("delete_skill", name="hello") == {"deleted": 2}
    assert ann.ask("delete_skill", name="hello") == {}
    assert refused(ann, "delete_skill", name="never").code == "not_found"
    assert store.rows("SELECT count(*) FROM skills") == [(0,)]
    assert ann.ask("save_skill", content=SHELL)["skill"]["version"] == 1


FAULTS = [
    ({"content": ""}, "$.content", "empty"),
    ({"content": "print(1)"}, "$.language", "file that ends"),
    ({"content": "print(1)", "language": "ruby"}, "$.language", "none of"),
    ({"content": "print(1)", "language": "python"}, "$.name", "missing"),
    ({"content": "print(1)", "language": "python", "name": "a-b"}, "$.name", "import"),
    ({"content": "print(1)", "language": "python", "name": "1a"}, "$.name", "import"),
    ({"content": "print(1)", "language": "python", "name": "json"}, "$.name", "Python"),
    ({"content": "print(1)", "language": "python", "name": "class"}, "$.name", "Python"),
    ({"content": "echo", "file_name": "../a.sh", "name": "a"}, "$.file_name", "plain"),
    ({"content": "echo", "language": "sh", "name": "a", "parameters": {"type": "string"}}, "$.parameters", "object"),
    ({"content": "echo", "language": "sh", "name": "a", "parameters": {"properties": {}}}, "$.parameters", "object"),
    ({"content": "echo", "language": "sh", "name": "a", "parameters": []}, "$.parameters", ""),
    ({"content": "echo", "language": "sh", "name": "a", "parameters": {"type": "object", "properties": {"x": {"type": "text"}}}},
     "$.parameters.properties.x.type", ""),
    ({"content": "# title: [1\necho", "language": "sh", "name": "a"}, "line 2 column 1", "YAML"),
    ({"content": "# title: 7\necho", "language": "sh", "name": "a"}, "$.title", "text"),
    ({"content": "# title: t\n# tilte: t\necho", "language": "sh", "name": "a"}, "$.tilte", "did you mean title"),
    ({"content": "# title: t\n# timeout_s: 4000\necho", "language": "sh", "name": "a"}, "$.timeout_s", "3600"),
    ({"content": "# title: t\n# idempotent: maybe\necho", "language": "sh", "name": "a"}, "$.idempotent", "true or false"),
    ({"content": "echo \0", "language": "sh", "name": "a"}, "$.content", "UTF-8"),
]


def test_what_is_wrong_is_refused_with_its_place(store):
    ann = store.client()
    for fields, path, what in FAULTS:
        failure = refused(ann, "save_skill", **fields)
        assert failure.code == "invalid" and what in str(failure) and failure.path == path, (fields, failure)
    assert store.rows("SELECT count(*) FROM skills") == [(0,)]


def test_all_faults_are_told(store):
    failure = refused(store.client(), "save_skill", content="# title: 1\n# name: a b\n# timeout_s: 0\n", language="sh")
    assert [fault["path"] for fault in failure.faults] == ["$.title", "$.name", "$.timeout_s"]


def test_limits(store):
    ann = store.client()
    most = SHELL + "#" * ((256 << 10) - len(SHELL))
    assert len(ann.ask("get_skill", name=ann.ask("save_skill", content=most)["skill"]["name"])["skill"]["content"]) == 256 << 10
    for fields in ({"content": most + "#"}, {"content": SHELL, "name": "n" * 65}, {"content": SHELL, "title": "t" * 257},
                   {"content": SHELL, "description": "d" * 4097}, {"content": SHELL, "file_name": "f" * 256}, {"content": SHELL, "timeout_s": 3601},
                   {"content": SHELL, "parameters": {"type": "object", "description": "x" * 33000}}):
        assert refused(ann, "save_skill", **fields).code in ("invalid", "too_large"), fields
    long = ann.ask("save_skill", content='"""' + "é" * 5000 + '"""\n', name="long", language="python")["skill"]
    assert len(long["description"].encode()) == 4096


def test_a_user_has_so_many_and_no_more(store):
    store.client().ask("save_skill", content=SHELL)
    store.drop_peers()
    store.process.terminate()
    with sqlite3.connect(f"{store.dir}/database.sqlite") as db:
        db.execute("WITH RECURSIVE c(i) AS (SELECT 2 UNION ALL SELECT i+1 FROM c WHERE i<10000) INSERT INTO skills(user,id,name,version,title,"
                   "description,file_name,language,parameters,idempotent,timeout_s,hash,created_ms,content) SELECT user,randomblob(16),'x'||i,1,"
                   "title,description,file_name,language,parameters,0,60,hash,created_ms,'' FROM skills,c")
    store.start()
    failure = refused(store.client(), "save_skill", content=SHELL + "one more")
    assert failure.code == "too_large" and "10000" in str(failure)
    assert "created" not in store.client().ask("save_skill", content=SHELL), "what is there already needs no room"
    assert store.client("bob").ask("save_skill", content=SHELL)["created"] is True


def test_a_worker_gets_the_skill_of_its_jobs_user(store):
    ann = store.client("ann")
    ann.ask("save_skill", content=SHELL)
    two = ann.ask("save_skill", content=SHELL + "two\n")["skill"]
    _, accepted = store.submit("ann")
    _, other = store.submit("bob")
    worker = store.peer(wire.Peer(store.endpoint, {"role": "worker"}))

    def load(n, **fields):
        return worker.query("load_skill", {"n": n, "name": "hello", **fields})["skill"]

    assert load(accepted["n"]) == {**two, "content": SHELL + "two\n"}
    assert load(accepted["n"], version=1)["content"] == SHELL
    for n, path in ((other["n"], "name"), (999, "n")):
        with pytest.raises(wire.Failure) as failure:
            load(n)
        assert failure.value.code == "not_found" and failure.value.path == path
    assert refused(ann, "load_skill", n=accepted["n"], name="hello").code == "denied"
