"""Price rows: put, replaced, listed, removed; a version that tells who asks often whether anything changed."""

import autobots_wire as wire
import pytest


def row(model="m*", input=5, output=7, **more):
    return {"model": model, "input_pico_usd": input, "output_pico_usd": output, **more}


def test_rows_are_set_replaced_and_removed(store):
    ann = store.client()
    assert ann.ask("list_prices") == {"version": 0, "prices": []}
    rows = [row("a", 0, 0, cached_input_pico_usd=0), row("b", from_ms=9, provider="azure", source="s", note="n"),
            row("b", 3, 4, from_ms=9), row("b", 1, 2)]
    assert ann.ask("set_prices", prices=rows) == {"changed": 4}
    listed = ann.ask("list_prices")
    key = lambda r: (r["model"], r.get("provider", ""), r.get("from_ms", 0))
    assert listed["prices"] == sorted(rows, key=key) and listed["version"] == 1
    assert store.client("eve").ask("list_prices", version=1) == {"version": 1}
    ann.ask("set_prices", prices=[row("b", 8, 8, from_ms=9)])
    listed = ann.ask("list_prices", version=1)
    assert listed["version"] == 2 and len(listed["prices"]) == 4
    assert row("b", 8, 8, from_ms=9) in listed["prices"]
    assert ann.ask("delete_price", model="b", from_ms=9) == {"changed": 1}
    assert ann.ask("delete_price", model="b") == {"changed": 1}
    assert [key(r) for r in ann.ask("list_prices")["prices"]] == [("a", "", 0), ("b", "azure", 9)]
    store.kill()
    store.start()
    assert len(store.client().ask("list_prices")["prices"]) == 2


@pytest.mark.parametrize("rows, path", [
    ([row(), {"model": "x"}], "prices[1]"), ([row(model="")], "prices[0]"), ([], "prices"), ({}, "prices"),
    ([row(input=-1)], "prices[0]"), ([row(output=10**12 + 1)], "prices[0]")])
def test_a_faulty_row_stores_none(store, rows, path):
    with pytest.raises(wire.Failure) as refused:
        store.client().ask("set_prices", prices=rows)
    assert refused.value.code == "invalid" and refused.value.path == path
    assert store.client().ask("list_prices") == {"version": 0, "prices": []}


def test_a_removal_sent_again_removes_nothing(store):
    ann = store.client()
    ann.ask("set_prices", prices=[row("m")])
    assert ann.ask("delete_price", model="m", provider="azure") == {"changed": 0}
    assert ann.ask("delete_price", model="m") == {"changed": 1}
    assert ann.ask("delete_price", model="m") == {"changed": 0} and ann.ask("list_prices")["version"] == 2


def test_there_are_not_too_many(store):
    ann = store.client()
    ann.ask("set_prices", prices=[row(f"m{i}") for i in range(1000)])
    with pytest.raises(wire.Failure) as refused:
        ann.ask("set_prices", prices=[row("one more")])
    assert refused.value.code == "too_large" and len(ann.ask("list_prices")["prices"]) == 1000
    ann.ask("set_prices", prices=[row("m7", 1, 1)])
