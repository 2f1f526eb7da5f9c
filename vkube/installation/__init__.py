"""The control plane as vkube installs it: webhook and cluster agent, from the manifests of deploy/."""
