"""The audit: what was done and refused, in records that form hash chains.

Every process of the cluster agent writes its own chains, so that replicas on one database never wait for each
other. It writes one chain for each of the `kinds`, so that blessings push out no other records. Once a
minute, and at its end, the process notes the heads of its chains in the log, signed and from its memory. By
these notes, `cluster-agent-audit verify` finds every record that was changed, removed or moved. The database
alone proves nothing: an attacker who can write to it can recompute all hashes.
"""

from cluster_agent.audit.records import Head, Record

__all__ = ["Head", "Record"]
