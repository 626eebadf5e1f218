"""The order in which Ray's own autoscaler requests pools."""

from __future__ import annotations

from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
from ray.autoscaler._private.resource_demand_scheduler import get_nodes_for
from ray.autoscaler.node_launch_exception import NodeLaunchException

from study.driver.pools import score

TYPES = {
    name: {"resources": {"CPU": 4, "GPU": gpus}, "max_workers": 8}
    for name, gpus in (("a", 1), ("b", 1), ("eight", 8))
}  # fmt: skip
TRIALS = [{"CPU": 1, "GPU": 0.5}] * 2


class Market:
    """The launches that a cloud has granted and refused so far."""

    def __init__(self) -> None:
        self.now = 1000
        self.tracker = NodeProviderAvailabilityTracker(timer=lambda: self.now)

    def answer(self, pool: str, *, sold_out: bool) -> None:
        refusal = NodeLaunchException("InsufficientInstanceCapacity", "sold out", None) if sold_out else None
        self.tracker.update_node_availability(pool, self.now, refusal)
        self.now += 5

    def next(self) -> dict[str, int]:
        """The nodes that Ray would launch for the trials."""
        summary = self.tracker.summary()

        def scorer(*arguments):
            return score(*arguments, node_availability_summary=summary)

        found, _ = get_nodes_for(TYPES, {}, "head", 9, TRIALS, utilization_scorer=scorer)
        return dict(found)


def test_of_equal_pools_the_last_by_name_comes_first() -> None:
    assert Market().next() == {"b": 1}


def test_a_pool_that_was_refused_comes_last_even_after_one_that_fits_badly() -> None:
    market = Market()
    market.answer("b", sold_out=True)
    assert market.next() == {"a": 1}
    market.answer("a", sold_out=True)
    assert market.next() == {"eight": 1}


def test_pools_that_are_all_sold_out_are_asked_in_turns() -> None:
    market = Market()
    asked = []
    for _ in range(6):
        (pool,) = market.next()
        asked.append(pool)
        market.answer(pool, sold_out=True)
    assert asked == ["b", "a", "eight"] * 2


def test_a_pool_is_as_good_as_before_once_it_gives_or_time_has_passed() -> None:
    market = Market()
    market.answer("b", sold_out=True)
    market.answer("b", sold_out=False)
    assert market.next() == {"b": 1}
    market.answer("b", sold_out=True)
    market.now += 31 * 60
    assert market.next() == {"b": 1}


def test_a_trial_that_fits_nowhere_starts_nothing() -> None:
    assert score({"CPU": 4}, [{"GPU": 1}], "a", node_availability_summary=Market().tracker.summary()) is None
