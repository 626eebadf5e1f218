"""Which pool of machines the cluster's autoscaler asks next: one that has just been refused comes last.

Ray's autoscaler v2 (2.60) asks a type that is sold out again and again, and no other of equal worth: a refused launch
is not counted against the type. Its predecessor v1 takes a function that ranks the types and is told of refusals;
Ray's own ignores them. cluster.yaml names v1 and this one on the head.
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
    """How well a node type suits what waits; Ray launches the greatest, and of equals the last by name.

    Args:
        node_resources: of one node of the type.
        resources: of the trials that wait.
        node_type: its name in cluster.yaml.
        node_availability_summary: Ray's memory of what the cloud has refused in the last half hour.

    Returns:
        None if nothing fits. Otherwise types that were not refused come before those that were, and of these the one
        whose refusal is longest ago comes first, so that pools which are all dry are asked in turns.
    """
    usual = _default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if usual is None:
        return None
    record = node_availability_summary.node_availabilities.get(node_type)
    refused_at = 0.0 if record is None or record.is_available else float(record.last_checked_timestamp)
    return -refused_at, usual
