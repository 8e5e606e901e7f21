"""Who can leave at a date, how long each stayed after it, and why who left did: survival data of a definition.

Labels look past ``as_of``, so they are made from the warehouse; what was known when is kept apart: who is at risk by the
snapshot, what happened since by all that was known at ``until``. Customers who objected to profiling are left out.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crmlib.errors import DataError, NotFoundError
from crmlib.features.spec import closest
from crmlib.models import labels, pairs
from crmlib.models.churn.definitions import OTHER, Definition, Fading, Holding
from crmlib.warehouse import schema
from crmlib.warehouse.snapshot import Snapshot, cutoff, history, known

DAY = np.timedelta64(1, "D")


def at_risk(snapshot: Snapshot, definition: Definition) -> pd.DataFrame:
    """Return who can leave, by what was known at the snapshot, one row a customer, by customer_id.

    Out: customer_id, customer_key; of a fading definition also pace (transactions in ``before_days``) and bound (so many
    or fewer in ``window_days`` count as faded). Raises NotFoundError for an unknown product, DataError where nobody can.
    """
    people = _open_customers(snapshot)
    people = people[~people["customer_key"].isin(labels.objectors(snapshot))]
    if isinstance(definition, Holding):
        _check_product(snapshot, definition)
        rows = _contracts(snapshot, definition)
        ended = rows["closed_on"].notna()
        people = people[people["customer_key"].isin(rows.loc[~ended, "customer_key"])]
    elif isinstance(definition, Fading):
        people = _active(snapshot, definition, people)
    if people.empty:
        raise DataError(
            f"as of {snapshot.as_of} nobody can leave in the sense of {definition.name}: not enough data"
            " (found 0 customers, need 1); take another date or definition"
        )
    return people.sort_values("customer_id", ignore_index=True)


def follow(snapshot: Snapshot, definition: Definition, *, until: dt.date | None = None) -> pd.DataFrame:
    """Return what became of everybody at risk, by all that was known at ``until`` (default: the last record).

    Out, one row a customer, by customer_id: customer_id, as_of, days (whole days from ``as_of`` to leaving, at least 1,
    or to the last day observed), reason (the competing reason, "other", or "" for who is still here). Who had left by
    ``as_of`` although it was recorded only later is left out. Raises what ``at_risk`` raises, and DataError where the
    records end too early to observe anything.
    """
    last = until or (snapshot.warehouse.period or (snapshot.as_of, snapshot.as_of))[1]
    lag = definition.renewed_within_days if isinstance(definition, Holding) else 0
    observed = (last - snapshot.as_of).days - lag
    if observed < 1:
        raise DataError(
            f"nothing is observed after {snapshot.as_of}: the records run to {last}"
            + (f", and a renewal is waited for during {lag} days" if lag else "")
            + f"; take a date before {last - dt.timedelta(days=lag)}"
        )
    people = at_risk(snapshot, definition)
    later = snapshot.warehouse.snapshot(last)
    if isinstance(definition, Holding):
        ends = _holding_ends(later, definition, snapshot.as_of)
    elif isinstance(definition, Fading):
        ends = _fading_ends(later, definition, people, snapshot.as_of)
    else:
        ends = _relationship_ends(later, definition)
    found = people[["customer_id", "customer_key"]].merge(ends, on="customer_key", how="left", validate="one_to_one")
    days = (found["ended_on"] - pd.Timestamp(snapshot.as_of)).dt.days.to_numpy(float, na_value=np.inf)
    left = days <= observed
    table = pd.DataFrame(
        {
            "customer_id": found["customer_id"],
            "as_of": np.full(len(found), np.datetime64(snapshot.as_of, "us")),
            "days": np.where(left, days, observed).astype(np.int32),
            "reason": pd.Series(np.where(left, found["reason"].astype(object), ""), dtype="str"),
        }
    )
    return table[days > 0].reset_index(drop=True)


def left_within(followed: pd.DataFrame, days: int, *, after: int = 0) -> np.ndarray:
    """Return 1 for who left in the days (``after``, ``days``], 0 for who was still here then, -1 where that is not known.

    Who left up to ``after`` is not known either: nothing is asked of who was no longer here.

    >>> table = pd.DataFrame({"days": [20, 200, 100, 300], "reason": ["price", "price", "", ""]})
    >>> left_within(table, 90).tolist(), left_within(table, 180, after=90).tolist()
    ([1, 0, 0, 0], [-1, 0, -1, 0])
    """
    left = followed["reason"].to_numpy() != ""
    last = followed["days"].to_numpy()
    out = np.where(left & (last <= days), 1, 0)
    unknown = (~left & (last < days)) | (last <= after)
    return np.where(unknown, -1, out).astype(np.int8)


# ---------------------------------------------------------------- who


def _open_customers(snapshot: Snapshot) -> pd.DataFrame:
    rows = known(schema.tables()["customers"], snapshot.as_of, system=("customer_key",)).subquery("rows")
    found = snapshot.warehouse.arrow(
        sa.select(rows.c.customer_id, rows.c.customer_key).where(rows.c.closed_on.is_(None))
    )
    return pd.DataFrame(
        {"customer_id": pairs.text(found["customer_id"]), "customer_key": found["customer_key"].to_numpy()}
    )


def _check_product(snapshot: Snapshot, definition: Holding) -> None:
    column = "product_id" if definition.product_id else "product_group"
    wanted = definition.product_id or definition.product_group
    goods = snapshot.table("products", [column])[column].dropna()
    names = sorted({str(name) for name in goods})
    if wanted not in names:
        raise NotFoundError(
            f"the definition of leaving names the {column} {wanted!r}, which the table products does not have"
            f" as of {snapshot.as_of}{closest(wanted, names)}"
        )


def _contracts(snapshot: Snapshot, definition: Holding) -> pd.DataFrame:
    """Return customer_key, opened_on, closed_on, closed_reason of the contracts that the definition is about."""
    rows = known(schema.tables()["holdings"], snapshot.as_of, system=("customer_key",)).subquery("rows")
    goods = known(schema.tables()["products"], snapshot.as_of).subquery("goods")
    chosen = sa.select(goods.c.product_id).where(goods.c.product_group == definition.product_group)
    condition = rows.c.product_id == definition.product_id if definition.product_id else rows.c.product_id.in_(chosen)
    names = ("customer_key", "opened_on", "closed_on", "closed_reason")
    return snapshot.warehouse.read(sa.select(*[rows.c[name] for name in names]).where(condition))


def _active(snapshot: Snapshot, definition: Fading, people: pd.DataFrame) -> pd.DataFrame:
    """Return who is active enough to fade and has not faded: customer_id, customer_key, pace, bound."""
    rows = _movements(snapshot, definition, since=snapshot.as_of - dt.timedelta(days=definition.before_days - 1))
    opens = cutoff(snapshot.as_of - dt.timedelta(days=definition.window_days))
    recent = sa.func.sum(sa.case((rows.c.occurred_at >= opens, 1), else_=0))
    counts = sa.select(rows.c.customer_key, sa.func.count().label("pace"), recent.label("recent"))
    found = snapshot.warehouse.read(counts.group_by(rows.c.customer_key))
    bound = np.floor(definition.share * found["pace"] * definition.window_days / definition.before_days)
    found = found.assign(bound=bound.astype(np.int64))
    found = found[(found["pace"] >= definition.fewest) & (found["recent"] > found["bound"])]
    return people.merge(found.drop(columns="recent"), on="customer_key", validate="one_to_one")


def _movements(snapshot: Snapshot, definition: Fading, *, since: dt.date) -> Any:
    """Return the subquery of the transactions that are activity, from the day ``since``: customer_key, occurred_at."""
    table = schema.tables()["transactions"]
    rows = history(table, snapshot.as_of, system=("customer_key",))
    rows = rows.where(table.c.occurred_at >= dt.datetime.combine(since, dt.time()))
    if definition.left_out:
        own = sa.or_(table.c.category.is_(None), table.c.category.not_in(definition.left_out))
        rows = rows.where(own)
    return rows.with_only_columns(table.c.customer_key, table.c.occurred_at).subquery("movements")


# ---------------------------------------------------------------- when and why


def _relationship_ends(later: Snapshot, definition: Definition) -> pd.DataFrame:
    """Return customer_key, ended_on, reason of everybody whose relationship had ended."""
    rows = known(schema.tables()["customers"], later.as_of, system=("customer_key",)).subquery("rows")
    found = later.warehouse.read(
        sa.select(rows.c.customer_key, rows.c.closed_on.label("ended_on"), rows.c.closed_reason).where(
            rows.c.closed_on.is_not(None)
        )
    )
    return _reasoned(found, definition)


def _holding_ends(later: Snapshot, definition: Holding, as_of: dt.date) -> pd.DataFrame:
    """Return customer_key, ended_on, reason of the chain of contracts, renewals included, that runs at ``as_of``.

    The end of the relationship ends it too, where a source closes the customer and leaves the contracts open.
    """
    rows = _contracts(later, definition).sort_values(["customer_key", "opened_on"], kind="stable", ignore_index=True)
    end = rows["closed_on"].fillna(pd.Timestamp.max.normalize())
    so_far = end.groupby(rows["customer_key"]).cummax()
    waits = pd.Timedelta(days=definition.renewed_within_days)
    before = so_far.groupby(rows["customer_key"]).shift()
    # A gap to what stood before, longer than a renewal may take, begins a new chain.
    begins = before.isna() | (rows["opened_on"] - waits > before)
    chain = begins.cumsum()
    last = end.groupby(chain).transform("max")
    started = rows["opened_on"].groupby(chain).transform("min")
    own = (started <= pd.Timestamp(as_of)) & (last > pd.Timestamp(as_of)) & (end == last)
    found = rows[own & rows["closed_on"].notna()].drop_duplicates("customer_key", keep="last")
    ended = _reasoned(found.rename(columns={"closed_on": "ended_on"}), definition)
    both = pd.concat([ended, _relationship_ends(later, definition)], ignore_index=True)
    return both.sort_values("ended_on", kind="stable").drop_duplicates("customer_key").reset_index(drop=True)


def _fading_ends(later: Snapshot, definition: Fading, people: pd.DataFrame, as_of: dt.date) -> pd.DataFrame:
    """Return customer_key, ended_on, reason of who faded, or ended the relationship before that."""
    since = as_of - dt.timedelta(days=definition.window_days - 1)
    rows = _movements(later, definition, since=since)
    found = later.warehouse.arrow(
        sa.select(rows.c.customer_key, sa.cast(rows.c.occurred_at, sa.Date).label("day")).order_by(
            rows.c.customer_key, rows.c.occurred_at
        )
    )
    key = found["customer_key"].to_numpy()
    day = (found["day"].to_numpy().astype("datetime64[D]") - np.datetime64(as_of, "D")) // DAY
    bounds = people.sort_values("customer_key")
    faded = first_faded(key, day, bounds["customer_key"].to_numpy(), bounds["bound"].to_numpy(), definition.window_days)
    days = pd.to_timedelta(np.where(np.isfinite(faded), faded, 0), unit="D")
    table = pd.DataFrame({"customer_key": bounds["customer_key"].to_numpy(), "ended_on": pd.Timestamp(as_of) + days})
    table = table[np.isfinite(faded)].assign(closed_reason="faded")
    closed = _relationship_ends(later, definition)[["customer_key", "ended_on"]].assign(closed_reason="closed")
    both = pd.concat([closed, table], ignore_index=True).sort_values("ended_on", kind="stable")
    return _reasoned(both.drop_duplicates("customer_key"), definition)


def first_faded(
    key: np.ndarray, day: np.ndarray, customers: np.ndarray, bounds: np.ndarray, window_days: int
) -> np.ndarray:
    """Return the first day after 0 at whose end at most ``bounds`` movements lie within ``window_days``; inf for never.

    In: ``key`` and ``day`` of each movement, sorted by both, day 0 being the date one looks from; ``customers``
    ascending. Days run on after the last movement: whoever does nothing any more fades in the end.

    >>> first_faded(np.array([1, 1, 1]), np.array([-5, 10, 80]), np.array([1, 2]), np.array([0, 0]), 30)
    array([40.,  1.])
    """
    place = np.minimum(np.searchsorted(customers, key), len(customers) - 1)
    own = customers[place] == key
    place, day = place[own], day[own]
    number = np.arange(len(day))
    first = np.searchsorted(place, np.arange(len(customers)))
    # As long as this movement is the last, the one `bound` before it decides: when it is out of the window, too few are left.
    decides = number - bounds[place]
    leaves = np.where(decides >= first[place], day[np.maximum(decides, 0)] + window_days, 1)
    at = np.maximum(np.maximum(leaves, day), 1)
    following = np.append(day[1:], 0)
    ends = np.append(place[1:] != place[:-1], True) if len(place) else np.zeros(0, dtype=bool)
    happens = ends | (at < following)
    out = np.full(len(customers), np.inf)
    np.minimum.at(out, place[happens], at[happens].astype(float))
    at_once = np.bincount(place[(day > 1 - window_days) & (day <= 1)], minlength=len(customers)) <= bounds
    out[at_once] = 1.0
    return out


def _reasoned(found: pd.DataFrame, definition: Definition) -> pd.DataFrame:
    groups = {value: name for name, values in definition.reasons for value in values}
    reason = found["closed_reason"].map(groups).fillna(OTHER)
    return found[["customer_key", "ended_on"]].assign(reason=reason.astype("str")).reset_index(drop=True)
