"""The program's parts, made from its settings: keys, attestor, background work, ports."""
