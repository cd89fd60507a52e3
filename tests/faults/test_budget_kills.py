"""kill -9 at random times while jobs share one budget: nothing is reserved twice or left over, nothing exceeded, nobody stuck."""

import pytest

import flows
from budgets import check_journal
from service import slow
from stubborn import Stubborn, check_ends
from test_random_kills import CONFIG, VICTIMS, Killer

JOBS, KILLS = 40, 6


@pytest.mark.parametrize("who", ["workers", "all"])
def test_a_shared_budget_survives_kills(make_service, model, rng, who):
    took = {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}
    model.behave(delay_ms=30, text="fine", usage=took)
    service = make_service(workers=2, config=CONFIG)
    user = f"u-{model.name}"
    flow = flows.http_chat(model, replies=1)
    flow["agents"][1]["agent"]["config"]["llm_config"]["max_tokens"] = 500
    limit = 2 * JOBS * 100 + 2500  # room for all, and for a few at a time
    with service.storage(user) as storage:
        storage.ask("set_budget", limits=f"tokens={limit},calls=100000")
    with Stubborn(service.endpoint(), user) as stubborn:
        for i in range(JOBS):
            stubborn.submit(flow, f"job {i}")
        killer = Killer(service, VICTIMS[who], rng, KILLS)
        stubborn.pump(lambda: killer.done() and stubborn.all_ended(), 90 * slow(), "all jobs ended", killer)
        assert {job.end for job in stubborn.jobs.values()} == {"succeeded"}
        check_ends(service, stubborn)
    settled, _ = check_journal(service.dir, user, limit)
    with service.storage(user) as storage:
        rows = {row["unit"]: row for row in storage.ask("list_budgets")["budgets"]}
    assert settled == rows["tokens"]["settled"] == 2 * JOBS * 100 and rows["calls"]["settled"] == 2 * JOBS
    assert all(row["reserved"] == 0 and row.get("waiting", 0) == 0 for row in rows.values())
