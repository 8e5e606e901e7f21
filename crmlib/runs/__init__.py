"""Execution: notebooks through papermill, the jobs behind the command line, the doctor."""

import sys

# jsonschema, which papermill brings in, offers to check the format "iri" with this package, and that one compiles a
# grammar when it is imported: half of the time it takes to start a notebook. No notebook's schema has such a field.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
