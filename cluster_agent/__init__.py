"""The cluster agent: keeps the secrets of applications, and issues a blessing to each of their replicas."""
