"""The HTTP routes of the cluster agent, their contract, and the answers to errors."""
