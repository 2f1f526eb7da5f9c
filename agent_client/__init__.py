"""Libraries for an application beside a pod agent: a client of the agent protocol, the pod's principal behind
that client, and discharges over HTTP."""
