"""The rules by which verdicts are found, one module a kind of death."""
