"""Live-instance diagnostics: why did an instance die, and what is a live one doing right now?"""

__version__ = "0.1.0"
