"""The SQL catalogue of what the store holds: it can be deleted and rebuilt. No SQL stands outside this package."""
