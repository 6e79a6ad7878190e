"""Object storage: one protocol, one file a store, and the loop that drains the spool into it."""
