"""From evidence to a capture in the spool: one way in, for crashes, events, looks and collectors on demand."""
