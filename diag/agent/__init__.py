"""The part beside the instance: supervise, listen, freeze, read, classify, record."""
