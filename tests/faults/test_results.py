"""The page of the campaign's results tells what was run, and nothing else."""

import json

import pytest

from tests.faults.results import PAGE, RESULTS, page, summaries, summary
from tests.faults.soak import measured_of, not_flat


def test_the_page_is_made_of_the_results() -> None:
    """Nobody edits the page: it is what was measured, and the newest campaign of each part found no violation."""
    results = json.loads(RESULTS.read_text())
    assert PAGE.read_text() == page(results), "write it again with `python -m tests.faults --page`"
    assert [part for part, (newest, *_) in results.items() if newest.get("violations")] == []


def test_a_violation_reaches_the_page() -> None:
    """What the auditor found in the middle of a campaign stands on its page, and so does a fault that was late."""
    struck = {"fault": "it rains", "kind": "weather", "field": 1, "limit_s": 15.0, "fired": 1, "outcomes": {"gap": 1}}
    told = [
        struck | {"recovery_s": 16.0, "violations": []},
        struck | {"recovery_s": 2.0, "violations": ["a record is lost"]},
    ]
    run = {"commit": "abc", "day": "2026-01-01", "machine": "none", "seed": 1, "seconds": 60}
    shown = page({"faults": [run | summaries["faults"](told)]})
    assert "## Real faults: 2, violations: 1" in shown
    assert "* a record is lost" in shown
    assert "Later than their limit: it rains: 16.0 s." in shown


@pytest.mark.parametrize("part", [part for part in summaries if part != "faults"])
def test_a_part_that_ends_before_its_summary_is_a_violation(part: str) -> None:
    """A campaign that broke off does not pass for one that found nothing."""
    assert summaries[part]([])["violations"]


@pytest.mark.parametrize("part", summaries)
def test_a_process_that_did_not_end_well_is_a_violation(part: str) -> None:
    """One that died after some of its faults, or found a fault that its numbers do not show, does not pass either."""
    told = {"fault": "it rains", "kind": "weather", "field": 1, "limit_s": 15.0, "violations": []}
    assert summary(part, [told], [0, 0])["violations"] == []
    assert summary(part, [told], [0, 1])["violations"] == ["its processes ended with 0, 1"]


def test_a_leak_shows_in_the_slope() -> None:
    """A tracker that keeps 2 MiB an hour is told so, whatever it took to get warm; and one that keeps files open."""
    samples = [
        (float(at), 80.0 + min(at, 600) + max(at - 600, 0) / 1800, 20 + (at > 3000)) for at in range(0, 3600, 10)
    ]
    found = measured_of(samples, 900)
    assert found["slope_mib_an_hour"] == pytest.approx(2.0)
    assert found["descriptors"] == [20, 21]
    (memory,) = not_flat("first", found)
    assert "2.0 MiB" in memory
    assert not_flat("first", found | {"slope_mib_an_hour": 0.9}) == []
    assert not_flat("first", found | {"slope_mib_an_hour": 0.9, "descriptors": [20, 40]}) != []
