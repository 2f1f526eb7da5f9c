"""Fortune: a service with three methods (Add, Get, Has), whose replicas recognise each other by name."""
