"""What was known about people before a campaign: for the balance of its groups and to make its effect more exact."""

from __future__ import annotations

import pandas as pd

from crmlib.warehouse.snapshot import Warehouse, frame

DAYS = 90
COLUMNS = (
    *("pre_tenure_days", "pre_holdings", "pre_purchases", "pre_contacts"),
    *("pre_transactions", "pre_turnover_minor"),
)

_KNOWN = "recorded_at < m.assigned_at AND (superseded_at IS NULL OR superseded_at >= m.assigned_at)"
_STATEMENT = f"""
WITH m AS (SELECT customer_id, assigned_at, assigned_at - INTERVAL {DAYS} DAY AS since FROM members_),
since AS (
    SELECT customer_id, min(customer_since) AS customer_since FROM customers
    WHERE superseded_at IS NULL AND customer_id IN (SELECT customer_id FROM m) GROUP BY 1
),
held AS (
    SELECT m.customer_id,
        count(*) FILTER (closed_on IS NULL OR closed_on >= m.assigned_at) AS held,
        count(*) FILTER (opened_on >= m.assigned_at - INTERVAL 365 DAY) AS bought
    FROM m JOIN holdings USING (customer_id) WHERE opened_on < m.assigned_at::DATE AND {_KNOWN} GROUP BY 1
),
met AS (
    SELECT m.customer_id, count(*) AS met FROM m JOIN contacts USING (customer_id)
    WHERE occurred_at >= m.since AND occurred_at < m.assigned_at AND {_KNOWN} GROUP BY 1
),
moved AS (
    SELECT m.customer_id, count(*) AS movements, sum(abs(amount_minor))::DOUBLE AS turnover
    FROM m JOIN transactions USING (customer_id)
    WHERE occurred_at >= m.since AND occurred_at < m.assigned_at AND {_KNOWN} GROUP BY 1
)
SELECT m.customer_id,
    coalesce(m.assigned_at::DATE - since.customer_since, 0)::DOUBLE AS pre_tenure_days,
    coalesce(held, 0)::DOUBLE AS pre_holdings,
    coalesce(bought, 0)::DOUBLE AS pre_purchases,
    coalesce(met, 0)::DOUBLE AS pre_contacts,
    coalesce(movements, 0)::DOUBLE AS pre_transactions,
    coalesce(turnover, 0)::DOUBLE AS pre_turnover_minor
FROM m LEFT JOIN since USING (customer_id) LEFT JOIN held USING (customer_id)
LEFT JOIN met USING (customer_id) LEFT JOIN moved USING (customer_id)
ORDER BY m.customer_id
"""


def before(warehouse: Warehouse, members: pd.DataFrame) -> pd.DataFrame:
    """Return what was known about each member at the moment of the assignment.

    In: ``members`` with customer_id (once each) and assigned_at (UTC). Out: customer_id and, as numbers,
    pre_tenure_days, pre_holdings (open contracts), pre_purchases (contracts opened in 365 days), and of the last 90 days
    pre_contacts, pre_transactions and pre_turnover_minor (sum of the amounts without sign). Only rows recorded before
    the assignment count, so nothing that came of it.
    """
    given = members[["customer_id", "assigned_at"]].assign(customer_id=members["customer_id"].astype("str"))
    with warehouse.connect() as connection:
        connection.register("members_", given)
        return frame(connection.execute(_STATEMENT).to_arrow_table())
