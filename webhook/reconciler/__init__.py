"""The reconciler: maintains one Secret in each labelled namespace, with a bootstrap credential for each
service account.

`plan` decides, from values; `entries` has the form of what is stored; `reconcile` executes a plan, in turns,
with the cluster agent and a SecretStore; `watch` finds the namespaces that need work; `worker` gives them
their turns, at the `pace` of each; `excess` tells of service accounts for which there is no room.
"""
