"""Whose things: every operation of the protocol's page that clients may ask and that takes a user. A client must name one, and
then gets, sees and changes only what is that user's. A new operation fails here until ASKED says how it is asked about another's."""

import json
import pathlib
import re

import autobots_wire as wire
import pytest
import storehouse
from storehouse import HASH, TEXT

SECRET = "the-owl-sleeps-at-noon"
PAGE = pathlib.Path(__file__).resolve().parents[2] / "common/README.md"


def operations():
    """name → schema of its request, of those that clients may ask of storage and that have a field `user`."""
    text = PAGE.read_text()
    rows = re.findall(r"^\| \d+ \| `(\w+)` \| (read|write) \| ([\w ]+) \| \[(\w+)\]", text, re.M)
    fields = {name: re.findall(r"^\| `(\w+)` \|", table, re.M)
              for name, table in re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", text, re.M | re.S)}
    assert len(rows) > 40 and fields["op_journal"][:2] == ["job", "user"]
    return sorted(name for name, _, by, request in rows if "client" in by and "user" in fields[request])


# The gallery is everybody's; its `user` is a filter.
FREE = {"get_gallery"}
# operation → what eve asks about ann's things (by the names of `things`), and the refusal she gets; None: an answer without them.
ASKED = {
    "journal": (lambda t: {"job": t["job"]}, "not_found"),
    "list_files": (lambda t: {"job": wire.id_text(t["job"])}, "not_found"),
    "get_file": (lambda t: {"job": wire.id_text(t["job"]), "path": "a"}, "not_found"),
    "get_job": (lambda t: {"job": wire.id_text(t["job"])}, "not_found"),
    "list_jobs": (lambda t: {"session": t["session"]}, None),
    "load_messages": (lambda t: {"session": t["session"]}, None),
    "delete_message": (lambda t: {"msg_id": t["msg_id"], "session": t["session"]}, "not_found"),
    "start_gallery": (lambda t: {"gallery": "none", "session": wire.make_id()}, "not_found"),
    "search_messages": (lambda t: {"query": SECRET}, None),
    "search_sessions": (lambda t: {"query": SECRET}, None),
    "get_sessions": (lambda t: {"session": t["session"]}, "not_found"),
    "create_session": (lambda t: {"session": {"user_id": "ann", "session_id": t["session"], "name": "taken"}}, "denied"),
    "delete_user_sessions": (lambda t: {"session": t["session"]}, "not_found"),
    "publish_session": (lambda t: {"session": t["session"]}, "not_found"),
    "get_gallery": (lambda t: {}, None),
    "rename_session": (lambda t: {"session": t["session"], "name": "taken"}, "not_found"),
    "clear_session": (lambda t: {"session": t["session"]}, "not_found"),
    "rename_gallery": (lambda t: {"gallery": t["gallery"], "name": "taken"}, "denied"),
    "delete_gallery": (lambda t: {"gallery": t["gallery"]}, "denied"),
    "import_gallery": (lambda t: {"gallery": {**t["item"], "user_id": "eve", "name": "taken"}}, "conflict"),
    "save_workflow": (lambda t: {"name": "secret", "workflow": TEXT}, None),  # a name of her own
    "list_workflows": (lambda t: {"name": "secret"}, None),
    "get_workflow": (lambda t: {"name": "secret"}, "not_found"),
    "delete_workflow": (lambda t: {"name": "secret"}, "not_found"),
    "save_skill": (lambda t: {"name": "secret", "content": "print(1)", "language": "python"}, None),  # a name of her own
    "list_skills": (lambda t: {"name": "owl"}, None),
    "get_skill": (lambda t: {"name": "owl"}, "not_found"),
    "delete_skill": (lambda t: {"name": "owl"}, "not_found"),
    "import_run": (lambda t: {"job": t["job"], "created_ms": 1, "ended_ms": 2, "hash": HASH, "workflow": TEXT,
                              "input": wire.pack({"content": "x"}),
                              "events": wire.pack(storehouse.ended(content="x"))}, "conflict"),
    "set_prices": (lambda t: {"prices": [{"model": "m", "input_pico_usd": 1, "output_pico_usd": 2}]}, None),  # of the whole service
    "list_prices": (lambda t: {}, None),
    "delete_price": (lambda t: {"model": "none"}, None),
    "set_budget": (lambda t: {"session": t["session"], "limits": "calls=1"}, "not_found"),
    "list_budgets": (lambda t: {"job": wire.id_text(t["job"])}, "not_found"),
    "put_run_file": (lambda t: {"job": t["job"], "hash": "0" * 64, "data": b"x"}, "not_found"),
    "usage": (lambda t: {"session": t["session"]}, "not_found"),
    "create_token": (lambda t: {"id": t["token"], "hash": b"h" * 32, "scope": "admin"}, "conflict"),
}


@pytest.fixture(scope="module")
def store(short_folder):
    with storehouse.Store(short_folder()) as s:
        yield s
        s.drop_peers()


@pytest.fixture(scope="module")
def things(store):
    ann = store.client("ann")
    job, _, session = store.chat(content=SECRET, answer=SECRET)
    published = store.chat(content="for all")[2]
    item = ann.ask("publish_session", session=published)["gallery"]
    ann.ask("save_workflow", name="secret", workflow=json.dumps({**json.loads(TEXT), "description": SECRET}))
    ann.ask("save_skill", name="owl", description=SECRET, content="print(1)", language="python")
    ann.ask("set_budget", session=session, limits="calls=77")
    token = wire.make_id()
    ann.ask("create_token", id=token, hash=b"t" * 32, scope="read")
    return {"job": job, "session": session, "item": item, "gallery": item["id"], "token": token,
            "msg_id": ann.ask("load_messages", session=session)["messages"][0]["msg_id"]}


def all_of_anns(store, things):
    ann = store.client("ann")
    return [ann.ask(op, **request) for op, request in [
        ("get_job", {"job": wire.id_text(things["job"])}), ("journal", {"job": things["job"]}), ("list_jobs", {}), ("get_sessions", {}),
        ("load_messages", {"session": things["session"]}), ("get_gallery", {"gallery": things["gallery"]}),
        ("get_workflow", {"name": "secret"}), ("get_skill", {"name": "owl"}), ("list_budgets", {}), ("list_tokens", {"of": "ann"})]]


def test_every_operation_that_takes_a_user_is_asked_here():
    assert set(operations()) == set(ASKED)


@pytest.mark.parametrize("op", [name for name in operations() if name not in FREE])
@pytest.mark.parametrize("user", [{}, {"user": ""}], ids=["absent", "empty"])
def test_a_client_must_say_for_whom_it_asks(store, things, op, user):
    request = ASKED[op][0](things)
    with pytest.raises(wire.Failure) as refused:
        store.client().query(op, {**request, **user})
    assert (refused.value.code, refused.value.path) == ("invalid", "user")


@pytest.mark.parametrize("op", operations())
def test_anothers_things_are_not_there(store, things, op):
    request, code = ASKED[op]
    before = all_of_anns(store, things)
    try:
        answer, got = store.client("eve").ask(op, **request(things)), None
        assert SECRET not in str(answer), op
    except wire.Failure as refused:
        got = refused.code
    assert got == code
    assert all_of_anns(store, things) == before


def test_brokers_and_workers_ask_for_any_job(store, things):
    with wire.Peer(store.endpoint, {"role": "worker"}) as worker:
        assert worker.query("journal", {"job": things["job"]})["events"]
        assert "version" in worker.query("list_prices")
    assert store.broker.query("journal", {"job": things["job"]})["events"]
