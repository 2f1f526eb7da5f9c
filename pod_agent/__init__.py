"""The pod agent: a sidecar that makes a key in memory, has it blessed with its pod's name, keeps the blessing
fresh, and serves it to the pod's containers on two Unix sockets."""
