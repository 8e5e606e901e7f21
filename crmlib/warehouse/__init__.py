"""The warehouse: canonical tables, loading, immutable versions, snapshots, data quality."""

from crmlib.warehouse import schema
from crmlib.warehouse.snapshot import Snapshot, Warehouse
from crmlib.warehouse.versions import lineage, open, prune, serve, versions

__all__ = ["Snapshot", "Warehouse", "lineage", "open", "prune", "schema", "serve", "versions"]
