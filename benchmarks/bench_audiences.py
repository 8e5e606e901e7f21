"""How fast an audience is counted, against the same question written by hand in DuckDB SQL.

    python benchmarks/bench_audiences.py --customers 1000000 [--keep FILE] [--out FILE]

Makes up customers (one in three with an earlier dated row), 24 transactions each over 24 months, 2 holdings and 3
contacts, writes them as a warehouse version with DuckDB alone, and measures CPU seconds: ``audiences.count``, validation
and look-up of the named levels included, against the hand-written statement on the same connection. Both give the same
number, or the benchmark fails.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from crmlib.decisions import audiences as audience
from crmlib.warehouse import build, schema, snapshot
from crmlib.warehouse.company import Company

AS_OF = dt.date(2025, 12, 31)
LIMIT = 1.3

CUSTOMERS = """
SELECT 'C' || lpad(i::VARCHAR, 8, '0') AS customer_id, d AS valid_from, d::TIMESTAMP AS recorded_at,
  NULL AS superseded_at, 1 AS load_id,
  ['North', 'South', 'East', 'West', 'Coast', 'Hills', 'Lakes', 'River'][1 + (hash(i, 'region', n) % 8)::INTEGER] AS region,
  ['female', 'male'][1 + (hash(i, 'gender') % 2)::INTEGER] AS gender,
  DATE '1940-01-01' + (hash(i, 'birth') % 24000)::INTEGER AS birth_date,
  DATE '2005-01-01' + (hash(i, 'since') % 6000)::INTEGER AS customer_since,
  CASE WHEN hash(i, 'left') % 25 = 0 THEN DATE '2025-06-01' END AS closed_on,
  (100000 + hash(i, 'income') % 500000)::BIGINT AS income_minor
FROM (SELECT i, n, CASE n WHEN 0 THEN DATE '2023-01-01' ELSE DATE '2024-09-01' END AS d
      FROM range(?) t(i), range(2) v(n) WHERE n = 0 OR hash(i, 'moved') % 3 = 0)
"""
TRANSACTIONS = """
SELECT i::VARCHAR AS transaction_id, 'C' || lpad((i // 24)::VARCHAR, 8, '0') AS customer_id,
  t AS occurred_at, t AS recorded_at, NULL AS superseded_at, 1 AS load_id, 'EUR' AS currency,
  (CASE WHEN hash(i, 'sign') % 3 = 0 THEN 1 ELSE -1 END * (100 + hash(i, 'size') % 9000000))::BIGINT AS amount_minor,
  ['salary', 'groceries', 'rent', 'cash', 'transfer', 'travel'][1 + (hash(i, 'kind') % 6)::INTEGER] AS category,
  ['branch', 'atm', 'card', 'internet', 'mobile'][1 + (hash(i, 'way') % 5)::INTEGER] AS channel
FROM (SELECT i, TIMESTAMP '2024-01-01' + INTERVAL 1 SECOND * (hash(i, 'at') % 63158400)::BIGINT AS t FROM range(24 * ?) r(i))
"""
HOLDINGS = """
SELECT i::VARCHAR AS holding_id, 'C' || lpad((i // 2)::VARCHAR, 8, '0') AS customer_id, d AS opened_on,
  d::TIMESTAMP AS recorded_at, NULL AS superseded_at, 1 AS load_id, 'product ' || hash(i, 'product') % 20 AS product_id,
  CASE WHEN hash(i, 'closed') % 4 = 0 THEN d + 300 END AS closed_on
FROM (SELECT i, DATE '2020-01-01' + (hash(i, 'opened') % 2100)::INTEGER AS d FROM range(2 * ?) r(i))
"""
CONTACTS = """
SELECT i::VARCHAR AS contact_id, 'C' || lpad((i // 3)::VARCHAR, 8, '0') AS customer_id, t AS occurred_at,
  t AS recorded_at, NULL AS superseded_at, 1 AS load_id,
  ['branch', 'call', 'email', 'mobile', 'visit'][1 + (hash(i, 'way') % 5)::INTEGER] AS channel,
  ['in', 'out'][1 + (hash(i, 'direction') % 2)::INTEGER] AS direction
FROM (SELECT i, TIMESTAMP '2024-01-01' + INTERVAL 1 SECOND * (hash(i, 'at') % 63158400)::BIGINT AS t FROM range(3 * ?) r(i))
"""
PRODUCTS = """
SELECT 'product ' || i AS product_id, DATE '2020-01-01' AS valid_from, TIMESTAMP '2020-01-01' AS recorded_at,
  NULL AS superseded_at, 1 AS load_id, 'Product ' || i AS name,
  ['accounts', 'cards', 'loans', 'deposits', 'insurance'][1 + i % 5] AS product_group
FROM range(20) r(i) WHERE ? > 0
"""
TABLES = {
    "customers": CUSTOMERS,
    "products": PRODUCTS,
    "holdings": HOLDINGS,
    "contacts": CONTACTS,
    "transactions": TRANSACTIONS,
}


def write(path: Path, customers: int) -> None:
    """Write the made-up version, sorted as the loader does it, in bounded memory."""
    with duckdb.connect(
        str(path), config={"memory_limit": "3GB", "threads": 2, "preserve_insertion_order": False}
    ) as made:
        build.create(made)
        build.extend_keys(made, f"SELECT 'C' || lpad(i::VARCHAR, 8, '0') AS customer_id FROM range({customers}) r(i)")
        for name, rows in TABLES.items():
            table = schema.tables()[name]
            made.execute(f"CREATE TEMP TABLE made AS {rows}", [customers])
            given = {row[0] for row in made.execute("DESCRIBE made").fetchall()}
            columns = [
                f'CAST({column.name if column.name in given else "NULL"} AS {build.duckdb_type(column)}) AS "{column.name}"'
                for column in table.columns
                if column.name != "customer_key"
            ]
            build.replace_table(made, table, f"SELECT {', '.join(columns)} FROM made")
            made.execute("DROP TABLE made")
        build.describe(made, version=1, company=Company(), created_at="")
        made.execute("CHECKPOINT")


KNOWN = "recorded_at < $cut AND (superseded_at IS NULL OR superseded_at >= $cut)"
EVERYBODY = f"""
WITH everybody AS (
  SELECT customer_key, region, birth_date, customer_since FROM (
    SELECT customer_key, region, birth_date, customer_since, closed_on FROM customers
    WHERE {KNOWN} AND valid_from < $day
    QUALIFY row_number() OVER (PARTITION BY customer_key ORDER BY valid_from DESC) = 1)
  WHERE closed_on IS NULL OR closed_on >= $day)
"""
MET = f"""
SELECT 1 FROM contacts c WHERE c.customer_key = e.customer_key AND channel IN ('branch', 'visit')
  AND occurred_at >= $three AND occurred_at < $cut AND {KNOWN}
"""
LOANS = f"""
SELECT 1 FROM holdings h WHERE h.customer_key = e.customer_key AND opened_on < $day AND {KNOWN}
  AND (closed_on IS NULL OR closed_on >= $day)
  AND product_id IN (SELECT product_id FROM products WHERE product_group = 'loans' AND valid_from < $day AND {KNOWN})
"""
QUESTIONS: dict[str, tuple[audience.Condition, str]] = {
    "acceptance example": (
        audience.where(region="South")
        & audience.not_met_consultant(within_months=3)
        & audience.turnover(audience.last_month, above_minor=10_000_000)
        & ~audience.holds(group="loans"),
        f"""{EVERYBODY} SELECT count(*) FROM everybody e WHERE region = 'South' AND NOT EXISTS ({MET}) AND NOT EXISTS ({LOANS})
        AND customer_key IN (SELECT customer_key FROM transactions
          WHERE occurred_at >= $month AND occurred_at < $cut AND {KNOWN}
          GROUP BY customer_key HAVING sum(abs(amount_minor)) > 10000000)""",
    ),
    "attributes alone": (
        audience.where(region=["South", "Coast"]) & audience.attribute("age_years", at_least=30, below=60),
        f"""{EVERYBODY} SELECT count(*) FROM everybody
        WHERE region IN ('South', 'Coast') AND birth_date <= DATE '1995-12-31' AND birth_date > DATE '1965-12-31'""",
    ),
    "three measures of transactions": (
        audience.transactions(within_months=3, category="salary", at_least=2)
        & audience.net(within_months=12, below_minor=0)
        & audience.largest(within_months=6, channel="card", at_least_minor=5_000_000),
        f"""{EVERYBODY} SELECT count(*) FROM everybody WHERE customer_key IN (
          SELECT customer_key FROM transactions WHERE occurred_at >= $year AND occurred_at < $cut AND {KNOWN}
          GROUP BY customer_key
          HAVING sum(CASE WHEN occurred_at >= $three AND category = 'salary' THEN 1 ELSE 0 END) >= 2
            AND sum(amount_minor) < 0
            AND max(CASE WHEN occurred_at >= $six AND channel = 'card' THEN abs(amount_minor) END) >= 5000000)""",
    ),
    "either of two": (
        audience.met_consultant(within_months=3) | audience.holds(group="loans"),
        f"{EVERYBODY} SELECT count(*) FROM everybody e WHERE EXISTS ({MET}) OR EXISTS ({LOANS})",
    ),
}


def by_hand(taken: snapshot.Snapshot, statement: str) -> int:
    """Run the hand-written statement on a connection of its own, as ``audiences.count`` does."""
    end = snapshot.cutoff(taken.as_of)
    given = {
        "cut": end,
        "day": end.date(),
        "month": dt.datetime(2025, 12, 1),
        "three": dt.datetime(2025, 10, 1),
        "six": dt.datetime(2025, 7, 1),
        "year": dt.datetime(2025, 1, 1),
    }
    with taken.warehouse.connect() as connection:
        used = {name: value for name, value in given.items() if f"${name}" in statement}
        return int(connection.execute(statement, used).fetchall()[0][0])


def cpu_seconds(action: Callable[[], Any], repeat: int) -> tuple[float, float]:
    """Return the smallest CPU time and the wall time of the same run."""
    runs = []
    for _ in range(repeat):
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        runs.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(runs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="write the version here and use it again next time")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    given = parser.parse_args()
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = given.keep or Path(folder) / "v000001.duckdb"
        if not path.exists():
            write(path, given.customers)
        taken = snapshot.Snapshot(snapshot.open_file(path), AS_OF)
        print(f"{given.customers:,} customers, {24 * given.customers:,} transactions over 24 months")
        for name, (conditions, statement) in QUESTIONS.items():
            found = audience.count(taken, conditions)
            assert found == by_hand(taken, statement), name
            hand, hand_wall = cpu_seconds(lambda statement=statement: by_hand(taken, statement), given.repeat)
            ours, ours_wall = cpu_seconds(lambda conditions=conditions: audience.count(taken, conditions), given.repeat)
            figures.append({"question": name, "customers": found, "ours": ours, "by_hand": hand, "ratio": ours / hand})
            print(
                f"{name:32} {found:9,} customers  ours {ours:6.3f} CPU-s ({ours_wall:.3f} s)  by hand {hand:6.3f} CPU-s "
                f"({hand_wall:.3f} s)  ratio {ours / hand:5.2f} (at most {LIMIT})"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:,.0f} MB")
    if given.out:
        given.out.write_text(
            json.dumps({"customers": given.customers, "peak_mb": peak, "questions": figures}, indent=1)
        )


if __name__ == "__main__":
    main()
