"""One blueprint a noun: read the index, render."""
