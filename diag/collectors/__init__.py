"""One tool a file: each takes one kind of evidence from one process."""
