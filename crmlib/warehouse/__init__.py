"""What is known: the canonical tables, loads, immutable versions, snapshots and data quality."""
