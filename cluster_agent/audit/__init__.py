"""What was done and refused, in records that form chains of hashes.

Every process of the cluster agent writes chains of its own, so that replicas on one database never wait for
each other, and one for each of the `kinds`, so that blessings push out nothing else. Once a minute, and at
its end, the process notes the heads of its chains in the log, from its memory and signed. Against these notes
`cluster-agent-audit verify` finds every record that was changed, removed or moved. The database alone proves
nothing: somebody who writes to it can make all hashes anew.
"""

from cluster_agent.audit.records import Head, Record

__all__ = ["Head", "Record"]
