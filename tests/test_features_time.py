"""Nothing that happened or was recorded after as_of, and no order of rows, changes a feature."""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
from features_random import AS_OF, Row, frames, specifications, tables
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crmlib import features
from crmlib.warehouse import build, schema, snapshot

QUICK = settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes a file: shrinking would take minutes
)
CUTOFF = dt.datetime(2025, 4, 1)
EVERYTHING = tuple(features.DEFAULT)


def built(made: dict[str, list[Row]], *specs: Any) -> list[pd.DataFrame]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v000001.duckdb"
        build.from_frames(path, frames(made))
        taken = snapshot.Snapshot(snapshot.open_file(path), AS_OF)
        return [features.build(taken, spec) for spec in specs]


def later_history(made: dict[str, list[Row]], seed: int) -> dict[str, list[Row]]:
    """Another future of the same past: other later rows, corrections recorded later, outcomes that came later."""
    draw = random.Random(seed)

    def later() -> dt.datetime:
        return CUTOFF + dt.timedelta(days=draw.randrange(100), seconds=draw.choice([0, 0, 3600]))

    changed: dict[str, list[Row]] = {}
    for name, rows in made.items():
        table = schema.tables()[name]
        happened = table.info["happened"]
        masked = {column.name: column.info["known_from"] for column in table.columns if column.info.get("known_from")}
        texts = [c.name for c in schema.source_columns(table) if c.name in ("category", "channel", "outcome", "region")]
        found = []
        for given_row in rows:
            row = dict(given_row)
            if row["recorded_at"] >= CUTOFF or row[happened] >= CUTOFF:
                if draw.random() < 0.5:
                    continue  # what the future held did not come to pass
                row |= {column: "never seen before" for column in texts}
            for column, reveal in masked.items():
                if column in row and (row[reveal] is None or row[reveal] >= CUTOFF):
                    day = dt.datetime.combine(later().date(), dt.time())
                    row[column] = day if column == reveal else "learnt later"
            if (row["superseded_at"] is None or row["superseded_at"] >= CUTOFF) and row["recorded_at"] < CUTOFF:
                row["superseded_at"] = None
                if draw.random() < 0.5:
                    row["superseded_at"] = later()
                    found.append(
                        {
                            **row,
                            **dict.fromkeys(texts, "corrected"),
                            "recorded_at": row["superseded_at"],
                            "superseded_at": None,
                        }
                    )
            found.append(row)
            if draw.random() < 0.3:
                key = schema.natural_key(table)[0]
                another = {key: f"{row[key]} again", happened: dt.datetime.combine(later().date(), dt.time())}
                found.append({**row, **another, "recorded_at": later(), "superseded_at": None})
        changed[name] = found
    return changed


@given(seed=st.integers(0, 10**6), future=st.integers(0, 10**6), spec=specifications())
@QUICK
def test_nothing_after_as_of_changes_a_feature(seed: int, future: int, spec: features.Specification) -> None:
    made = tables(seed)
    other = later_history(made, future)
    assert other != made
    for found, again in zip(built(made, spec, EVERYTHING), built(other, spec, EVERYTHING), strict=True):
        pd.testing.assert_frame_equal(found, again, check_exact=True)


def test_the_random_futures_would_be_noticed() -> None:
    """The same change one quarter earlier does change features: the property above can fail."""
    made = tables(5)
    other = later_history(made, 5)
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for number, rows in enumerate((made, other)):
            path = Path(folder) / f"v{number}.duckdb"
            build.from_frames(path, frames(rows))
            taken = snapshot.Snapshot(snapshot.open_file(path), dt.date(2025, 6, 30))
            found.append(features.build(taken, features.resolve(EVERYTHING, taken)))
    assert not found[0].equals(found[1])


@given(seed=st.integers(0, 10**6), spec=specifications())
@QUICK
def test_the_order_of_rows_changes_nothing(seed: int, spec: features.Specification) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v000001.duckdb"
        build.from_frames(path, frames(tables(seed)))
        first = features.build(snapshot.Snapshot(snapshot.open_file(path), AS_OF), spec)
        mixed = Path(folder) / "mixed.duckdb"
        mixed.write_bytes(path.read_bytes())
        with duckdb.connect(str(mixed)) as connection:
            for name in schema.tables():
                connection.execute(f'CREATE TABLE mixed AS SELECT * FROM "{name}" t ORDER BY hash(t::VARCHAR, {seed})')
                connection.execute(f'DROP TABLE "{name}"')
                connection.execute(f'ALTER TABLE mixed RENAME TO "{name}"')
        second = features.build(snapshot.Snapshot(snapshot.open_file(mixed), AS_OF), spec)
    variances = [name for name in first if "_variance" in name]  # sums of squares round by the order of rows
    pd.testing.assert_frame_equal(first.drop(columns=variances), second.drop(columns=variances), check_exact=True)
    pd.testing.assert_frame_equal(first[variances], second[variances], rtol=1e-12, atol=0)


def test_inputs_stay_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "v000001.duckdb"
    build.from_frames(path, frames(tables(3)))
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    taken = snapshot.Snapshot(snapshot.open_file(path), AS_OF)
    text = features.to_json(features.DEFAULT)
    chosen = ["c0", "c1", "c2", "c3", "c4", "c5", "c6"]
    everyone = features.build(taken)["customer_id"].tolist()
    chosen = [one for one in chosen if one in everyone]
    copy = list(chosen)
    features.build(taken, customers=chosen)
    features.build(taken, engine="sql")
    assert chosen == copy
    assert features.to_json(features.DEFAULT) == text
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
