"""Runs a command beside a process: in its namespaces, as its user, with nothing left when it ends."""
