"""The reconciler: maintains one Secret in each labelled namespace, with a bootstrap credential for each
service account.

`plan` decides, from values; `reconcile` executes a plan with the cluster agent and a SecretStore; `watch`
finds the namespaces that need work.
"""
