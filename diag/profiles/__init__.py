"""Profiles: one model, the formats that lead into it and out of it, and what is computed from it."""
