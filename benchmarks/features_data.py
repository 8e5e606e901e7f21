"""Made-up customers for the benchmarks of features, of any number: written by DuckDB alone, so that memory stays flat.

    python benchmarks/features_data.py FILE --customers 1000000

Each customer has 15 to 45 transactions spread over 24 months, 2 holdings with month-end balances and 2 contacts; all is
drawn from hashes of the rows' numbers, so the same seed makes the same file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import duckdb

from crmlib.warehouse import build, company, schema

AS_OF = "2025-12-31"
CATEGORIES = ["salary", "groceries", "transfer", "cash", "fee", "rent", "travel", "fuel", "health"]
CHANNELS = ["branch", "atm", "card", "internet", "mobile", "call", "mail", "agent"]
SLICE = 100_000
"""Customers written at a time; the rows of a customer are all in one slice, in the order of time."""

PRODUCTS = """
SELECT 'product ' || lpad(p::VARCHAR, 2, '0') AS product_id, DATE '2015-01-01' AS valid_from, product_id AS name,
  'group ' || (p % 6) AS product_group, TIMESTAMP '2015-01-01' AS recorded_at FROM range(20) t(p)
"""
OF_CUSTOMERS = {
    "customers": """
        SELECT {id} AS customer_id, c AS customer_key, DATE '2020-01-01' AS valid_from, TIMESTAMP '2020-01-01' AS recorded_at,
          ['female', 'male'][1 + {draw:1} % 2] AS gender, ['north', 'south', 'east', 'west'][1 + {draw:2} % 4] AS region,
          DATE '1940-01-01' + ({draw:3} % 24000)::INTEGER AS birth_date, DATE '2015-01-01' AS customer_since
        FROM {who}""",
    "holdings": """
        SELECT {id} AS customer_id, c AS customer_key, 'H' || (2 * c + j) AS holding_id,
          'product ' || lpad(({draw:4} % 20)::VARCHAR, 2, '0') AS product_id,
          DATE '2020-01-01' + (1000 * j + {draw:5} % 1000)::INTEGER AS opened_on, opened_on::TIMESTAMP AS recorded_at,
          ({draw:6} % 10000000) AS amount_minor
        FROM {who}, range(2) t(j)""",
    "balances": """
        SELECT {id} AS customer_id, c AS customer_key, 'H' || (2 * c + j % 2) AS holding_id,
          last_day(DATE '2024-01-01' + INTERVAL (j // 2) MONTH) AS balance_date, balance_date::TIMESTAMP AS recorded_at,
          ({draw:7} % 11000000) - 1000000 AS balance_minor
        FROM {who}, range(48) t(j)""",
    "transactions": """
        SELECT {id} AS customer_id, c AS customer_key, (45 * c + j)::VARCHAR AS transaction_id,
          TIMESTAMP '2024-01-01' + to_seconds((j * 1000 + {draw:8} % 1000) * 63158 // (15 + {customer:9} % 31)) AS occurred_at,
          occurred_at AS recorded_at, ({draw:10} % 100000) - 50000 AS amount_minor,
          {categories}[1 + {draw:11} % 9] AS category, {channels}[1 + {draw:12} % 8] AS channel
        FROM (SELECT c, unnest(range(15 + {customer:9} % 31)) AS j FROM {who})""",
    "contacts": """
        SELECT {id} AS customer_id, c AS customer_key, (2 * c + j)::VARCHAR AS contact_id,
          TIMESTAMP '2024-01-01' + to_seconds((j * 1000 + {draw:13} % 1000) * 31579) AS occurred_at,
          occurred_at AS recorded_at, {channels}[1 + {draw:14} % 8] AS channel, ['in', 'out'][1 + {draw:15} % 2] AS direction
        FROM {who}, range(2) t(j)""",
}
"""The rows of customers ``c`` from first to last; ``draw:n`` is the n-th random number of a row."""


class _Draw:
    """Writes ``{draw:n}`` as the hash of a row's numbers, the seed and n."""

    def __init__(self, seed: int, rows: str) -> None:
        self.seed, self.rows = seed, rows

    def __format__(self, number: str) -> str:
        return f"(hash({self.rows}, {self.seed * 100 + int(number)}) >> 16)::BIGINT"


def write(path: Path, customers: int, seed: int) -> None:
    """Write a warehouse version of so many customers."""
    with duckdb.connect(str(path)) as connection:
        build.create(connection)
        _insert(connection, "products", PRODUCTS)
        for first in range(0, customers, SLICE):
            write_slice(connection, first, min(first + SLICE, customers), seed)
        build.describe(connection, version=1, company=company.Company(), created_at="")
        connection.execute("CHECKPOINT")


def write_slice(connection: duckdb.DuckDBPyConnection, first: int, end: int, seed: int) -> None:
    """Append the customers numbered ``first`` to below ``end`` and their rows."""
    given = {
        "id": "'C' || lpad(c::VARCHAR, 8, '0')",
        "who": f"(SELECT range AS c FROM range({first}, {end}))",
        "draw": _Draw(seed, "c, j"),
        "customer": _Draw(seed, "c"),
        "categories": CATEGORIES,
        "channels": CHANNELS,
    }
    connection.execute("INSERT INTO customer_keys SELECT {id}, c FROM {who}".format(**given))
    for name, text in OF_CUSTOMERS.items():
        own = {**given, "draw": given["customer"]} if name == "customers" else given
        _insert(connection, name, text.format(**own))


def _insert(connection: duckdb.DuckDBPyConnection, name: str, rows: str) -> None:
    """Insert by name, so that what a select leaves out stays empty; every row came with load 1."""
    assert name in schema.tables()
    connection.execute(f'INSERT INTO "{name}" BY NAME SELECT *, 1 AS load_id FROM ({rows})')


def main() -> None:
    """Write one version's file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    write(given.file, given.customers, given.seed)


if __name__ == "__main__":
    main()
