"""Items and manifests: what there is to retrieve."""

from histoseek.items.files import Skipped, read_skipped, sha256_of, write_skipped, written_whole
from histoseek.items.filters import parse_filter
from histoseek.items.item import Box, Item, Value
from histoseek.items.manifest import Manifest, inside_root
from histoseek.items.table import MPP_RANGE, SCHEMA, check_table, item_of, table_of

__all__ = [
    "MPP_RANGE",
    "SCHEMA",
    "Box",
    "Item",
    "Manifest",
    "Skipped",
    "Value",
    "check_table",
    "inside_root",
    "item_of",
    "parse_filter",
    "read_skipped",
    "sha256_of",
    "table_of",
    "write_skipped",
    "written_whole",
]
