"""The benchmark runs, in small, on the servers of the tests: its work is checked, its speeds are not."""

import json

import pytest

from infra.devstack import Stack
from tests.bench import report, rounds
from tests.bench.backlog import Backlog, WrongWork, check_claims, check_positions

CLAIMS = 300
SAMPLE = 40


async def test_each_way_does_all_of_its_work(stack: Stack) -> None:
    """The benchmark measures the whole path, COPY and the ORM over events that all arrive in the right claims."""
    said: list[str] = []
    measured = await rounds.measure(stack, CLAIMS, SAMPLE, 2, said.append)
    result = report.summary(measured, report.machine())
    assert json.loads(json.dumps(result)) == result
    assert (result["claims"], result["rounds"], result["postgres"]["fsync"]) == (CLAIMS, 2, "on")
    assert result["events"] == sum(result["events_by_topic"]) > CLAIMS
    speeds, ratios = result["events_per_s"], result["ratios"]
    for name in ("copy", "copy_by_driver", "orm"):
        of_rounds = ratios[f"whole_path_to_{name}"]
        assert 0 < of_rounds["min"] <= of_rounds["median"] <= of_rounds["max"]
        assert of_rounds["max"] <= speeds["whole_path"]["max"] / speeds[name]["min"] + 0.001  # as rounded
    assert sum(phase["median"] for phase in result["phases_us_per_event"].values()) > 0
    assert all(cost["min"] >= 0 for cost in result["cpu_us_per_event"].values())
    assert "COPY alone" in report.text(result)


async def test_wrong_work_is_not_measured(stack: Stack) -> None:
    """A speed counts only where events, claims and positions are those that the backlog makes."""
    bench = rounds.Bench(stack)
    async with bench.ready(), bench.fresh("checked") as connection:
        nothing = Backlog({}, 0, {})
        await check_claims(connection, nothing)
        await check_positions(connection, nothing)
        one = Backlog({"topic": 1}, 1, {"draft": 1})
        for check in (check_claims, check_positions):
            with pytest.raises(WrongWork):
                await check(connection, one)
