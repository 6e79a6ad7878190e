"""The catalogue of deaths: what `diag run` leaves of each, on each Python, and what it changes, which is nothing."""
