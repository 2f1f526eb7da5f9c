"""The program put together from its settings: keys, attestor, background work, ports."""
