"""What the tests change in the shipped cluster.yaml: the two lines that every user edits, and what takes too long."""

from __future__ import annotations

import re

IDLE_S = 20
FROM = "# ---- AWS, from here"
TO = "# ---- AWS, to here ----\n"


def edited(shipped: str, *, region: str, bucket: str) -> str:
    """The text of cluster.yaml as a user of the fake cloud has it; everything else goes through unchanged.

    No address, no key and no command is different: the hosts have the addresses that the fake EC2 gives them, and the
    image's pip finds all packages installed.
    """
    changes = {
        "region: us-west-2 ": f"region: {region} ",
        "s3://CHANGE-ME/": f"s3://{bucket}/",
        "idle_timeout_minutes: 5 ": f"idle_timeout_minutes: {IDLE_S / 60:.3f} ",
    }
    for old, new in changes.items():
        assert shipped.count(old) == 1, f"cluster.yaml: expected one {old!r}"
        shipped = shipped.replace(old, new)
    return shipped


def on_premises(shipped: str, readme: str) -> str:
    """The text of cluster.yaml after the change that the README describes for machines of one's own."""
    (block,) = [part for part in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "type: local" in part]
    first, _, rest = shipped.partition(FROM)
    _, _, last = rest.partition(TO)
    assert last, "cluster.yaml: the marks around the part for AWS are gone"
    return first + block + last
