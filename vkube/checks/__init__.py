"""What `vkube check` looks at: facts read from the cluster once, and checks that are functions of them."""
