"""Load damaged Parquet files, each with some bytes changed, and print how many were loaded and refused, as JSON.

Run in a process of its own, since it is the engine's reader that is tried: ``parquet_bytes.py --files 1000 FOLDER``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import shutil
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from crmlib.errors import CrmError
from crmlib.warehouse.load import load
from fuzz import malformed

AT = dt.datetime(2025, 6, 1, 12)
MAPPING = {"tables": {"customers": {"files": ["clients*"], "dump": True, "columns": malformed.COLUMNS}}}
COMPRESSIONS = ("none", "snappy", "zstd", "gzip")


def whole(rng: random.Random) -> bytes:
    """Return a sound file of a few hundred customers and a column that nobody wants."""
    rows = rng.randrange(1, 400)
    frame = pd.DataFrame(
        {
            "id": [f"c{number}" for number in range(rows)],
            "since": dt.date(2015, 1, 1),
            "region": [rng.choice(("North", "South", None)) for _ in range(rows)],
            "children": [rng.randrange(3) for _ in range(rows)],
            "income": [rng.random() * 1_000 for _ in range(rows)],
            "more": [rng.choice(malformed.TEXTS) for _ in range(rows)],
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pandas(frame, preserve_index=False),
        sink,
        compression=rng.choice(COMPRESSIONS),
        use_dictionary=rng.random() < 0.5,
        row_group_size=rng.choice((50, 1_000)),
        data_page_version=rng.choice(("1.0", "2.0")),
    )
    return bytes(sink.getvalue())


def damaged(rng: random.Random, raw: bytes) -> bytes:
    """Return a file with one to five bytes changed, or cut short."""
    changed = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 5))):
        # Half of the changes hit the end, where the lengths and offsets are.
        low = len(raw) // 2 if rng.random() < 0.5 else 4
        changed[rng.randrange(low, len(raw))] = rng.randrange(256)
    return bytes(changed[: rng.randrange(len(raw))]) if rng.random() < 0.1 else bytes(changed)


def one(path: Path, data: Path) -> str:
    """Load a file and return loaded or refused; anything else is raised."""
    before = sorted(file.name for file in (data / "warehouse").iterdir()) if (data / "warehouse").is_dir() else []
    try:
        report = load([path], MAPPING, data=data, recorded_at=AT, max_bad_share=1)
    except CrmError as error:
        assert path.name in str(error) and "\n" not in str(error), error
        assert before == sorted(file.name for file in (data / "warehouse").iterdir() if (data / "warehouse").is_dir())
        return "refused"
    finally:
        assert not (data / "staging").is_dir() or not list((data / "staging").iterdir())
    found = report.counts.iloc[0]
    assert found["accepted"] + found["quarantined"] + found["unchanged"] == found["input"] >= 0, found
    return "loaded"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    told = {"files": 0, "loaded": 0, "refused": 0}
    for number in range(given.files):
        rng = random.Random(f"{given.seed} {number}")
        path = given.folder / "clients.parquet"
        path.write_bytes(damaged(rng, whole(rng)))
        data = given.folder / f"data{number // 50}"  # a new folder now and then: versions add up
        data.mkdir(exist_ok=True)
        (data / "warehouse").mkdir(exist_ok=True)
        print(f"{given.seed} {number}", file=sys.stderr)  # the last one printed is what crashed
        told[one(path, data)] += 1
        told["files"] += 1
        if number % 50 == 49:
            shutil.rmtree(data)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
