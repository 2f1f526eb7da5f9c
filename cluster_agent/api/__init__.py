"""Every HTTP route of the cluster agent, its contract, and how refusals are answered."""
