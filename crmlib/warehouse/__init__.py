"""The warehouse: canonical tables, loading, immutable versions, snapshots, data quality."""

from crmlib.warehouse import quality, schema
from crmlib.warehouse.load import LoadReport, load
from crmlib.warehouse.pruning import prune
from crmlib.warehouse.quality import check
from crmlib.warehouse.snapshot import Snapshot, Warehouse
from crmlib.warehouse.versions import Conflict, lineage, open, serve, versions

__all__ = [
    "Conflict",
    "LoadReport",
    "Snapshot",
    "Warehouse",
    "check",
    "lineage",
    "load",
    "open",
    "prune",
    "quality",
    "schema",
    "serve",
    "versions",
]
