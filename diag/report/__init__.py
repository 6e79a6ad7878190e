"""The diagnostic report: assembled, fingerprinted, judged, rendered."""
