"""Fortune: a service of three calls (Add, Get, Has), between replicas that know each other by name."""
