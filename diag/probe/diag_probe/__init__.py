"""The probe: standard library only, Python 3.8+, no thread, no lock, no log."""
