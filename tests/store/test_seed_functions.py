"""The eight functions of the seed, and what this project adds to sessions, messages and the gallery."""

import pytest

import autobots_wire as wire
from storehouse import FLOW, ended, append_request


def record(user="ann", session="s1", role="user", content="hi", **more):
    return {"user_id": user, "session_id": session, "role": role, "content": content, **more}


def contents(answer):
    return [m["content"] for m in answer["messages"]]


def pages(client, op, key, **request):
    """All pages of a listing; each must be at most `limit` long."""
    items, after, count = [], None, 0
    while True:
        answer = client.ask(op, **request, **({"after": after} if after else {}))
        assert len(answer[key]) <= request["limit"]
        items += answer[key]
        count += 1
        after = answer.get("next")
        if not after:
            return items, count


def test_load_messages(store):
    job, n, session = store.chat(content="what is it?", answer="a test")
    store.chat(content="and now?", answer="still", session=session)
    messages = store.client().ask("load_messages", session=session)["messages"]
    assert [(m["role"], m["content"]) for m in messages] == [
        ("user", "what is it?"), ("assistant", "a test"), ("user", "and now?"), ("assistant", "still")]
    first = messages[0]
    assert first["user_id"] == "ann" and first["session_id"] == session and first["job"] == job
    assert first["msg_id"].startswith(wire.id_text(job)) and first["timestamp"].endswith("Z")
    assert len({m["msg_id"] for m in messages}) == 4


def test_a_question_keeps_what_came_with_it(store):
    brought = {"root_msg_id": "r1", "ra": "ra", "code": "print()", "personalize": True, "timestamp": "2020-02-02T02:02:02",
               "metadata": {"x": [1.5]}}
    job, n, session = store.chat(input={**brought, "msg_id": "mine"})
    asked, answered = store.client().ask("load_messages", session=session)["messages"]
    assert {key: asked[key] for key in brought} == brought and asked["msg_id"] == "mine"
    assert not set(answered) & (set(brought) - {"timestamp", "metadata"})


def test_load_messages_of_an_unknown_session_is_empty(store):
    assert store.client().ask("load_messages", session="nope") == {"messages": []}


def test_load_messages_pages(store):
    ann = store.client()
    for i in range(25):
        ann.query("save_message", {"message": record(content=f"m{i}")})
    items, count = pages(ann, "load_messages", "messages", session="s1", limit=10)
    assert [m["content"] for m in items] == [f"m{i}" for i in range(25)] and count == 3


def test_a_page_of_messages_is_bounded_in_bytes(store):
    ann = store.client()
    for i in range(6):
        ann.query("save_message", {"message": record(content=f"{i}" * 400_000)})
    items, count = pages(ann, "load_messages", "messages", session="s1", limit=1000)
    assert len(items) == 6 and count >= 2


def test_save_message(store):
    ann = store.client()
    saved = ann.query("save_message", {"message": record(metadata={"a": [1, 2]})})["message"]
    assert saved["msg_id"] and saved["timestamp"] and saved["metadata"] == {"a": [1, 2]}
    assert ann.ask("load_messages", session="s1")["messages"] == [saved]
    assert [s["session_id"] for s in ann.ask("get_sessions")["sessions"]] == ["s1"]


def test_save_message_again_is_the_same_message(store):
    ann = store.client()
    first = ann.query("save_message", {"message": record(msg_id="m1")})
    assert ann.query("save_message", {"message": record(msg_id="m1")}) == first
    assert len(ann.ask("load_messages", session="s1")["messages"]) == 1
    with pytest.raises(wire.Failure) as refused:
        ann.query("save_message", {"message": record(msg_id="m1", content="other")})
    assert refused.value.code == "conflict" and refused.value.path == "msg_id"
    # ids are a user's own: another user may have the same one
    assert store.client("bob").query("save_message", {"message": record(user="bob", msg_id="m1")})


def test_saved_messages_stand_between_the_jobs_they_came_between(store):
    _, _, session = store.chat(content="q1", answer="a1")
    ann = store.client()
    ann.query("save_message", {"message": record(session=session, content="note 1")})
    ann.query("save_message", {"message": record(session=session, content="note 2")})
    store.chat(content="q2", answer="a2", session=session)
    assert contents(ann.ask("load_messages", session=session)) == ["q1", "a1", "note 1", "note 2", "q2", "a2"]


@pytest.mark.parametrize("message,path", [
    ({"user_id": "ann", "content": "x"}, "role"),
    ({"user_id": "ann", "role": "robot", "content": "x"}, "role"),
    ({"user_id": "ann", "role": "user"}, "content"),
    ({"user_id": "", "role": "user", "content": "x"}, "user"),
])
def test_save_message_refuses_what_is_no_message(store, message, path):
    ann = store.client()
    with pytest.raises(wire.Failure) as refused:
        ann.query("save_message", {"message": message})
    assert refused.value.code == "invalid" and path in refused.value.path
    assert ann.query("save_message", {"message": record()})


def test_delete_message(store):
    _, _, session = store.chat(content="secret question", answer="a long answer")
    ann = store.client()
    ann.query("save_message", {"message": record(session=session, content="note", msg_id="n1")})
    question, answer, note = ann.ask("load_messages", session=session)["messages"]
    left = ann.ask("delete_message", msg_id="n1", session=session)
    assert left["messages"] == [question, answer]
    assert ann.ask("delete_message", msg_id=question["msg_id"])["messages"] == [answer]
    assert ann.ask("delete_message", msg_id=answer["msg_id"])["messages"] == []
    for unknown in ("n2", question["msg_id"] + "x"):
        with pytest.raises(wire.Failure) as gone:
            ann.ask("delete_message", msg_id=unknown)
        assert gone.value.code == "not_found"


def test_a_deletion_that_is_sent_again_is_answered_alike(store):
    _, _, session = store.chat(content="question", answer="answer")
    ann, bob = store.client(), store.client("bob")
    ann.query("save_message", {"message": record(session=session, content="note", msg_id="n1")})
    question = ann.ask("load_messages", session=session)["messages"][0]
    item = ann.ask("publish_session", session=session)["gallery"]["id"]
    ann.query("create_session", {"user": "ann", "session": {"user_id": "ann", "session_id": "other"}})
    for op, request in [("delete_message", {"msg_id": "n1", "session": session}),
                        ("delete_message", {"msg_id": question["msg_id"]}),
                        ("delete_gallery", {"gallery": item}),
                        ("delete_user_sessions", {"session": session})]:
        first = ann.ask(op, **request)
        assert ann.ask(op, **request) == first, op
        with pytest.raises(wire.Failure) as refused:
            bob.ask(op, **request)
        assert refused.value.code == "not_found", op
    # the session is gone by now, so nothing remains of it
    assert ann.ask("delete_message", msg_id="n1") == {"messages": []}
    # what is made anew under the same id is there, and can be deleted again
    ann.query("save_message", {"message": record(session="other", content="new", msg_id="n1")})
    assert contents(ann.ask("load_messages", session="other")) == ["new"]
    assert ann.ask("delete_message", msg_id="n1") == {"messages": []}


def test_delete_message_of_all_in_a_session(store):
    _, _, session = store.chat()
    ann = store.client()
    ann.query("save_message", {"message": record(session=session, msg_id="n1")})
    assert ann.ask("delete_message", session=session, delete_all=True) == {"messages": []}
    assert [s["session_id"] for s in ann.ask("get_sessions")["sessions"]] == [session]
    ann.query("save_message", {"message": record(session=session, msg_id="n1", content="anew")})


def test_delete_message_refuses_another_users(store):
    _, _, session = store.chat(user="ann")
    msg_id = store.client("ann").ask("load_messages", session=session)["messages"][0]["msg_id"]
    store.client("ann").query("save_message", {"message": record(session=session, msg_id="n1")})
    bob = store.client("bob")
    for request in ({"msg_id": msg_id}, {"msg_id": "n1"}, {"session": session, "delete_all": True}):
        with pytest.raises(wire.Failure) as refused:
            bob.ask("delete_message", **request)
        assert refused.value.code == "not_found"
    assert len(store.client("ann").ask("load_messages", session=session)["messages"]) == 3


def test_get_sessions(store):
    ids = [store.chat()[2] for _ in range(3)]
    ann = store.client()
    sessions = ann.ask("get_sessions")["sessions"]
    assert [s["session_id"] for s in sessions] == ids
    assert sessions[0]["user_id"] == "ann" and sessions[0]["flow_config"] == FLOW and sessions[0]["timestamp"]
    assert [s["session_id"] for s in ann.ask("get_sessions", session=ids[1])["sessions"]] == [ids[1]]
    items, count = pages(ann, "get_sessions", "sessions", limit=2)
    assert [s["session_id"] for s in items] == ids and count == 2
    bob = store.client("bob")
    assert bob.ask("get_sessions") == {"sessions": []}
    with pytest.raises(wire.Failure) as refused:
        bob.ask("get_sessions", session=ids[0])
    assert refused.value.code == "not_found"


def test_create_session(store):
    ann = store.client()
    answer = ann.ask("create_session", session={"user_id": "ann", "flow_config": FLOW, "name": "first"})
    [made] = answer["sessions"]
    assert made["session_id"] and made["flow_config"] == FLOW and made["name"] == "first"
    answer = ann.ask("create_session", session={"user_id": "ann", "session_id": "mine"})
    assert [s["session_id"] for s in answer["sessions"]] == [made["session_id"], "mine"]
    assert ann.ask("create_session", session={"user_id": "ann", "session_id": "mine"}) == answer  # sent twice
    # the same name is another session for another user
    bob = store.client("bob")
    assert len(bob.ask("create_session", session={"user_id": "bob", "session_id": "mine"})["sessions"]) == 1


def test_create_session_refuses_a_clear_key_and_another_user(store):
    ann = store.client()
    flow = {"name": "x", "agents": [{"llm_config": {"config_list": [{"model": "m", "api_key": "sk-plain"}]}}]}
    with pytest.raises(wire.Failure) as refused:
        ann.ask("create_session", session={"user_id": "ann", "flow_config": flow})
    assert refused.value.code == "invalid" and "sk-plain" not in refused.value.text
    with pytest.raises(wire.Failure) as refused:
        ann.ask("create_session", session={"user_id": "bob"})
    assert refused.value.code == "denied"
    assert ann.ask("get_sessions") == {"sessions": []}
    assert not any(b"sk-plain" in path.read_bytes() for path in store.dir.glob("database*"))


def test_rename_session(store):
    ann = store.client()
    ann.ask("create_session", session={"user_id": "ann", "session_id": "s", "name": "old", "description": "kept"})
    [renamed] = ann.ask("rename_session", session="s", name="new")["sessions"]
    assert renamed["name"] == "new" and renamed["description"] == "kept"
    with pytest.raises(wire.Failure) as refused:
        store.client("bob").ask("rename_session", session="s", name="stolen")
    assert refused.value.code == "not_found"


def test_clear_session(store):
    job, n, session = store.chat(content="to be cleared")
    live, accepted = store.submit(session=session, content="still running")
    ann = store.client()
    ann.query("save_message", {"message": record(session=session)})
    assert ann.ask("clear_session", session=session)["deleted"] == 4
    assert ann.ask("load_messages", session=session) == {"messages": []}
    assert [s["session_id"] for s in ann.ask("get_sessions")["sessions"]] == [session]
    assert store.rows("SELECT count(*) FROM events WHERE n=?", n) == [(0,)]
    # the job that runs goes on, and its answer is a message of the session
    store.finish(accepted["n"], "late answer")
    assert contents(ann.ask("load_messages", session=session)) == ["late answer"]
    with pytest.raises(wire.Failure) as gone:
        ann.ask("get_job", job=wire.id_text(job))
    assert gone.value.code == "not_found"


def test_delete_user_sessions(store):
    job, n, session = store.chat(content="forget me")
    _, _, other = store.chat(content="keep me")
    ann = store.client()
    with pytest.raises(wire.Failure):
        store.client("bob").ask("delete_user_sessions", session=session)
    assert [s["session_id"] for s in ann.ask("delete_user_sessions", session=session)["sessions"]] == [other]
    assert ann.ask("load_messages", session=session) == {"messages": []}
    assert store.rows("SELECT count(*) FROM events WHERE n=?", n) == [(0,)]
    assert store.rows("SELECT input FROM jobs WHERE n=?", n) == [(None,)]
    assert len(ann.ask("list_jobs")["jobs"]) == 1
    with pytest.raises(wire.Failure) as gone:
        ann.ask("delete_user_sessions", session="never was")
    assert gone.value.code == "not_found"


def test_a_deleted_session_cancels_its_live_jobs(store):
    job, accepted = store.submit(content="running")
    n, session = accepted["n"], accepted["session"]
    token = store.begin(n)
    store.client().ask("delete_user_sessions", session=session)
    notice = store.broker.wait_for(lambda m: m.name == "NOTICE", what="a notice about the live job")
    assert notice["job"] == job and notice["kind"] == "cancel" and notice["k"] == 1
    [row] = store.broker.query("open_jobs")["jobs"]
    assert row["cancel"] and row["inbox_k"] == 1 and "session" not in row
    # its end does not fail because the session is gone, and leaves nothing behind
    end = append_request(n, 2, token, [ended("cancelled", content="half an answer")], end="cancelled")
    assert store.broker.one("append", **end) == {"seq": 2}
    assert store.broker.one("append", **end) == {"seq": 2}
    assert store.rows("SELECT count(*) FROM messages") == [(0,)]
    assert store.rows("SELECT input FROM jobs WHERE n=?", n) == [(None,)]
    assert b"half an answer" not in store.rows("SELECT body FROM events WHERE n=?", n)[0][0]


def test_a_new_session_never_gets_a_deleted_ones_key(store):
    job, accepted = store.submit(content="running", session="old")
    token = store.begin(accepted["n"])
    ann = store.client()
    ann.ask("delete_user_sessions", session="old")
    store.kill()
    store.start()
    store.client("bob").query("save_message", {"message": record(user="bob", session="new")})
    end = append_request(accepted["n"], 2, token, [ended(content="for ann only")], end="succeeded")
    assert store.broker.one("append", **end) == {"seq": 2}
    assert contents(store.client("bob").ask("load_messages", session="new")) == ["hi"]


def test_a_deleted_message_is_gone_from_the_journal_too(store):
    _, n, session = store.chat(content="my number is 0123456789", answer="it ends in 6789, I will remember")
    follow, accepted = store.submit(content="next", session=session)
    token = store.begin(accepted["n"])
    history = store.peer(wire.Peer(store.endpoint, {"role": "worker"})).query("history", {"n": accepted["n"]})
    assert [m["role"] for m in history["messages"]] == ["user", "assistant"]
    begin = {"kind": "begin", "engine": 1, "seed": 7, "history": history["messages"], "at_ms": 1}
    end = ended(content="done", result={"messages": [{"content": "my number is 0123456789"}]})
    store.broker.one("append", **append_request(accepted["n"], 2, token, [begin, end], end="succeeded"))
    ann = store.client()
    for message in ann.ask("load_messages", session=session)["messages"][:2]:
        ann.ask("delete_message", msg_id=message["msg_id"])
    bodies = [bytes(row[0]) for row in store.rows("SELECT body FROM events UNION ALL SELECT input FROM jobs")]
    old = [b for b in bodies if b"I will remember" in b]
    assert not old
    copies = [b for b in bodies if b"0123456789" in b]
    assert len(copies) == 1 and b"done" in copies[0]  # what the later job itself said is not that message
    assert store.rows("SELECT count(*) FROM events WHERE n=?", n) == [(3,)]


def test_a_message_deleted_while_its_job_runs_goes_with_the_end(store):
    _, accepted = store.submit(content="a question to forget")
    ann = store.client()
    [question] = ann.ask("load_messages", session=accepted["session"])["messages"]
    ann.ask("delete_message", msg_id=question["msg_id"])
    token = store.begin(accepted["n"])
    load = store.broker.query("load", {"n": accepted["n"]})
    assert load["input"]["content"] == "a question to forget"  # the run still needs it
    from storehouse import turn
    events = [turn("a question to forget"), ended(content="an answer")]
    store.broker.one("append", **append_request(accepted["n"], 2, token, events, end="succeeded"))
    assert contents(ann.ask("load_messages", session=accepted["session"])) == ["an answer"]
    for [body] in store.rows("SELECT body FROM events UNION ALL SELECT input FROM jobs"):
        assert b"to forget" not in body


def test_publish_session(store):
    _, _, session = store.chat(content="q", answer="a")
    ann = store.client()
    item = ann.ask("publish_session", session=session, tags=["demo", "x"], name="n", description="d")["gallery"]
    assert item["id"] and item["user_id"] == "ann" and item["tags"] == ["demo", "x"] and item["timestamp"]
    assert [m["content"] for m in item["messages"]] == ["q", "a"]
    assert item["session"]["session_id"] == session and item["session"]["flow_config"] == FLOW
    # a snapshot: what happens to the session afterwards does not change it
    ann.ask("delete_user_sessions", session=session)
    assert ann.query("get_gallery", {"gallery": item["id"]})["gallery"] == [item]


def test_publish_session_without_messages_but_not_anothers(store):
    ann = store.client()
    ann.ask("create_session", session={"user_id": "ann", "session_id": "empty"})
    item = ann.ask("publish_session", session="empty")["gallery"]
    assert item["messages"] == [] and item["tags"] == []
    with pytest.raises(wire.Failure) as refused:
        store.client("bob").ask("publish_session", session="empty")
    assert refused.value.code == "not_found"
    with pytest.raises(wire.Failure) as refused:
        ann.ask("publish_session", session="empty", tags=["a", 3])
    assert refused.value.code == "invalid" and refused.value.path == "tags"


def test_get_gallery(store):
    ann, bob = store.client("ann"), store.client("bob")
    made = []
    for i, (client, tag) in enumerate([(ann, "red"), (bob, "blue"), (ann, "blue"), (bob, "red")]):
        session = store.chat(user=client.user, content=f"Question {i} about Whales", answer="yes")[2]
        made.append(client.ask("publish_session", session=session, tags=[tag], name=f"Item {i}")["gallery"]["id"])
    anyone = store.client("eve")

    def ids(**request):
        return [item["id"] for item in anyone.query("get_gallery", request)["gallery"]]

    assert ids() == made
    assert ids(gallery=made[2]) == [made[2]]
    assert ids(user="bob") == [made[1], made[3]]
    assert ids(tag="blue") == [made[1], made[2]]
    assert ids(search="whales 3") == [made[3]]
    assert ids(search="item") == made and ids(search="100%") == [] and ids(search="_") == []
    assert ids(search="blue", user="ann") == [made[2]]
    items, after = [], None
    while True:
        page = anyone.query("get_gallery", {"limit": 3, **({"after": after} if after else {})})
        items += [item["id"] for item in page["gallery"]]
        after = page.get("next")
        if not after:
            break
    assert items == made
    with pytest.raises(wire.Failure) as gone:
        ids(gallery="nope")
    assert gone.value.code == "not_found"
    with pytest.raises(wire.Failure) as bad:
        ids(after="x'; drop table")
    assert bad.value.code == "invalid" and bad.value.path == "after"


def test_gallery_tags_are_counted(store):
    ann, bob = store.client(), store.client("bob")
    for client, tags in ((ann, ["sea", "fish", "sea"]), (ann, ["sea"]), (bob, ["sea", "ünïcode"]), (bob, [])):
        client.ask("create_session", session={"user_id": client.user, "session_id": "s"})
        item = client.ask("publish_session", session="s", tags=tags)["gallery"]["id"]
    counted = [{"tag": "fish", "items": 1}, {"tag": "sea", "items": 3}, {"tag": "ünïcode", "items": 1}]
    assert ann.query("gallery_tags", {}) == {"tags": counted}
    assert ann.query("gallery_tags", {"publisher": "ann"})["tags"] == [counted[0], {"tag": "sea", "items": 2}]
    assert ann.query("gallery_tags", {"publisher": "nobody"})["tags"] == []
    first = ann.query("gallery_tags", {"limit": 2})
    assert first == {"tags": counted[:2], "next": "sea"}
    assert ann.query("gallery_tags", {"limit": 2, "after": "sea"}) == {"tags": counted[2:]}
    bob.ask("delete_gallery", gallery=item)
    assert ann.query("gallery_tags", {})["tags"] == counted


def test_a_session_is_started_from_an_item(store):
    ann, bob = store.client(), store.client("bob")
    brought = {"root_msg_id": "r", "ra": "x", "code": "y", "personalize": True, "metadata": {"k": 1}, "timestamp": "2020-01-01T00:00:00"}
    ann.ask("create_session", session={"user_id": "ann", "session_id": "s", "name": "Whales", "description": "d", "flow_config": FLOW})
    ann.query("save_message", {"message": record(session="s", content="first", **brought)})
    for i in range(1000):
        ann.query("save_message", {"message": record(session="s", role="assistant", content=f"m{i}")})
    item = ann.ask("publish_session", session="s")["gallery"]["id"]
    ann.ask("delete_user_sessions", session="s")
    id = wire.make_id()
    [session] = bob.ask("start_gallery", gallery=item, session=id)["sessions"]
    assert (session["session_id"], session["name"], session["description"]) == (wire.id_text(id), "Whales", "d")
    assert session["flow_config"] == FLOW and session["user_id"] == "bob"
    messages, _ = pages(bob, "load_messages", "messages", session=wire.id_text(id), limit=1000)
    assert [m["content"] for m in messages] == ["first", *(f"m{i}" for i in range(1000))]
    assert {key: messages[0][key] for key in brought} == brought and "job" not in messages[0]
    assert bob.ask("start_gallery", gallery=item, session=id)["sessions"] == [session], "the same request again"
    assert pages(bob, "load_messages", "messages", session=wire.id_text(id), limit=1000)[0] == messages
    other = wire.make_id()
    bob.ask("create_session", session={"user_id": "bob", "session_id": wire.id_text(other)})
    for request, code in (({"gallery": "none", "session": other}, "not_found"), ({"gallery": item, "session": other}, "conflict")):
        with pytest.raises(wire.Failure) as refused:
            bob.ask("start_gallery", **request)
        assert refused.value.code == code
    assert len(bob.ask("get_sessions")["sessions"]) == 2


def test_rename_and_delete_gallery(store):
    ann, bob = store.client("ann"), store.client("bob")
    session = store.chat()[2]
    item = ann.ask("publish_session", session=session, name="old", description="kept")["gallery"]
    for op, more in (("rename_gallery", {"name": "stolen"}), ("delete_gallery", {})):
        with pytest.raises(wire.Failure) as refused:
            bob.ask(op, gallery=item["id"], **more)
        assert refused.value.code == "denied"
    renamed = ann.ask("rename_gallery", gallery=item["id"], name="new")["gallery"]
    assert renamed == {**item, "name": "new"}
    assert ann.ask("delete_gallery", gallery=item["id"]) == {"deleted": 1}
    assert ann.query("get_gallery") == {"gallery": []}


def foreign_item(**more):
    return {"id": "gallery-from-elsewhere", "session": {"user_id": "ann", "session_id": "old"},
            "messages": [record(session="old", msg_id="m1", content="about whales", metadata={"a": [1]})],
            "tags": ["sea"], "timestamp": "2024-02-03T04:05:06.789000", **more}


def test_import_gallery(store):
    ann = store.client("ann")
    answer = ann.ask("import_gallery", gallery=foreign_item(name="Whales"))
    item = answer["gallery"]
    assert answer["created"] is True
    assert item == {**foreign_item(name="Whales"), "user_id": "ann", "timestamp": "2024-02-03T04:05:06.789Z"}
    assert ann.query("get_gallery", {"gallery": item["id"]})["gallery"] == [item]
    assert ann.query("get_gallery", {"search": "WHALES", "tag": "sea"})["gallery"] == [item]
    # again: nothing changes, also after a restart and a new name
    ann.ask("rename_gallery", gallery=item["id"], name="Big fish")
    store.kill()
    store.start()
    ann = store.client("ann")
    again = ann.ask("import_gallery", gallery=foreign_item(name="Whales"))
    assert again == {"gallery": {**item, "name": "Big fish"}}, "not created"
    assert len(ann.query("get_gallery")["gallery"]) == 1
    for user, other in (("ann", foreign_item(tags=[])), ("bob", foreign_item())):
        with pytest.raises(wire.Failure) as refused:
            store.client(user).ask("import_gallery", gallery=other)
        assert (refused.value.code, refused.value.path) == ("conflict", "gallery.id")


@pytest.mark.parametrize("wrong,code,path", [
    ({"id": ""}, "invalid", "gallery.id"), ({"timestamp": "yesterday"}, "invalid", "gallery.timestamp"),
    ({"session": "s"}, "invalid", "gallery.session"), ({"messages": {}}, "invalid", "gallery.messages"),
    ({"tags": [1]}, "invalid", "tags"), ({"user_id": "bob"}, "denied", "gallery.user_id"),
    ({"session": {"flow_config": {"api_key": "sk-1"}}}, "invalid", "flow_config"),
    ({"messages": [{"metadata": {"api_key": "sk-1"}}]}, "invalid", "flow_config"),
])
def test_import_gallery_refuses_what_is_no_item(store, wrong, code, path):
    ann = store.client("ann")
    with pytest.raises(wire.Failure) as refused:
        ann.ask("import_gallery", gallery=foreign_item(**wrong))
    assert (refused.value.code, refused.value.path) == (code, path)
    assert ann.query("get_gallery") == {"gallery": []}


@pytest.mark.parametrize("given,stored", [
    ("2024-02-29T10:00:00.123456", "2024-02-29T10:00:00.123Z"), ("2024-02-29 10:00", "2024-02-29T10:00:00.000Z"),
    ("2024-02-29T10:00:00+02:00", "2024-02-29T08:00:00.000Z"), ("2024-02-29", "2024-02-29T00:00:00.000Z")])
def test_create_session_keeps_the_time_of_a_new_one(store, given, stored):
    ann = store.client()
    for timestamp in (given, "2000-01-01"):  # it is there already: only a new one has a time of its own
        sessions = ann.ask("create_session", session={"user_id": "ann", "session_id": "s", "timestamp": timestamp})
        assert [s["timestamp"] for s in sessions["sessions"]] == [stored]


@pytest.mark.parametrize("timestamp", ["soon", "2023-02-29", "2024-13-01", "2024-01-01T25:00", "2024-01-01T10:00:00x"])
def test_create_session_refuses_a_time_that_is_none(store, timestamp):
    with pytest.raises(wire.Failure) as refused:
        store.client().ask("create_session", session={"user_id": "ann", "session_id": "s", "timestamp": timestamp})
    assert (refused.value.code, refused.value.path) == ("invalid", "session.timestamp")
