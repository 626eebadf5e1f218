"""A cloud on one machine, and `ray up cluster.yaml` on it."""
