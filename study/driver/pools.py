"""Ranks the cluster's node types for Ray's autoscaler: types whose launch was refused come last.

Ray's autoscaler v2 (2.60) requests a sold-out type again and again and no other of equal score, as a refused launch
does not lower the score. Autoscaler v1 takes a scoring function with the refusals as an argument, which Ray's own
function ignores. cluster.yaml selects v1 and this function on the head.
"""

from __future__ import annotations

from typing import Any

from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer


def score(
    node_resources: dict[str, float],
    resources: list[dict[str, float]],
    node_type: str,
    *,
    node_availability_summary: Any,
) -> tuple[float, Any] | None:
    """The score of a node type for the waiting trials; Ray launches the highest, and of equals the last by name.

    Args:
        node_resources: of one node of the type.
        resources: of the trials that wait.
        node_type: its name in cluster.yaml.
        node_availability_summary: the launches that the cloud has refused in the last half hour.

    Returns:
        None if no trial fits. Otherwise refused types score below all others, and recent refusals below older ones, so
        that pools which are all sold out are tried in turns.
    """
    usual = _default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if usual is None:
        return None
    record = node_availability_summary.node_availabilities.get(node_type)
    refused_at = 0.0 if record is None or record.is_available else float(record.last_checked_timestamp)
    return -refused_at, usual
