"""Prices through the whole system: set with the program, counted by running workers, shown where runs are shown."""

import json

import cli
import flows
import pytest
import service
from service import ROOT


@pytest.fixture
def bots(shared, user):
    def run(*args, **more):
        return cli.run(*args, home=shared.dir, env={"AUTOBOTS_USER": user}, **more)

    yield run
    shared.assert_alive()


@pytest.fixture
def chat(bots, tmp_path):
    def run(workflow, *options):
        path = tmp_path / "flow.json"
        path.write_text(json.dumps(workflow))
        result = bots("submit", "-w", path, *options, "hello")
        assert result.code == 0, result
        return result

    return run


def script(name):
    """Of the offline model under a name of its own: prices of tests do not meet."""
    return {**flows.script(["fine", "fine"]), "model": name}


def test_a_changed_price_counts_within_seconds_and_is_shown(bots, chat, user):
    model = f"priced-{user}"
    assert "unpriced" in chat(flows.chat(script(model))).out
    assert bots("prices", "set", f"{user}*").code == 2
    done = bots("prices", "set", f"priced-{user}*", "--input", "1000000", "--output", "2.5", "--note", "made up")
    assert (done.code, done.out) == (0, "1 row set\n"), done
    listed = bots("prices", "--json").lines()
    assert [r for r in listed if r["model"] == f"priced-{user}*"] == [
        {"model": f"priced-{user}*", "input_pico_usd": 10**12, "output_pico_usd": 2_500_000, "note": "made up"}]

    def priced():
        chat(flows.chat(script(model)))
        return bots("show", "last", "--json").json()["result"]["usage"]["total"]["cost_pico_usd"]

    usage = service.wait_until(lambda: "unpriced" not in chat(flows.chat(script(model))).out and priced(), 10,
                               "the price")
    shown = bots("show", "last", "--json").json()
    reply = [e for e in bots("export", shown["id"], "--json").json()["events"] if e["kind"] == "model_reply"][0]
    assert usage == reply["cost_pico_usd"] == (reply["prompt_tokens"] * 10**12 + reply["completion_tokens"] * 2_500_000)
    assert f"cost {reply['prompt_tokens']}.000" in chat(flows.chat(script(model))).out
    two = chat(flows.chat(script(model), replies=1)).out
    assert "so far 2 calls, " in two and " USD" in two.split("so far 2 calls, ")[1].splitlines()[0]
    assert " USD" in [line for line in bots("show", shown["id"]).out.splitlines() if line.startswith("usage")][0]
    assert any(shown["id"] in line and "USD" in line for line in bots("jobs").out.splitlines())
    assert bots("prices", "rm", f"priced-{user}*").code == 0
    assert bots("prices", "rm", f"priced-{user}*").code == 1


def test_a_file_of_prices(bots, tmp_path, user):
    assert bots("prices", "import", ROOT / "deploy" / "prices.yaml").out == "3 rows set\n"
    rows = {(r["model"], r.get("from_ms", 0)): r for r in bots("prices", "list", "--json").lines()}
    assert rows["example-large*", 0]["cached_input_pico_usd"] == 1_250_000
    assert rows["example-large*", 1893456000000]["output_pico_usd"] == 8_000_000
    assert rows["example-small*", 0] == {"model": "example-small*", "provider": "openai", "input_pico_usd": 1,
                                         "output_pico_usd": 2, "reasoning_pico_usd": 3}
    assert "2030-01-01" in bots("prices").out and "0.000001" in bots("prices").out
    path = tmp_path / "prices.yaml"
    path.write_text(f"prices:\n  - {{model: {user}-ok, input: 1, output: 1}}\n"
                    "  - {model: x, input: 0.0000001, output: -1, form: 2}\n  - {input: 1}\n")
    refused = bots("prices", "import", path)
    assert refused.code == 2
    for part in ("prices.yaml:3:16", "$.prices[1].input", "$.prices[1].output", "$.prices[1].form", "needs `model`",
                 "needs `output`"):
        assert part in refused.err, refused
    assert user not in bots("prices", "--json").out
