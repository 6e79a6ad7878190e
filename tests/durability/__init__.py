"""The campaign that measures whether anything captured is ever lost, doubled or uncounted: `make durability`."""
