"""Why revenue changed from one period to another: price, volume, mix, and what came new or went; the parts add up exactly.

With pieces q and prices p of the parts before (0) and after (1), Q and P all pieces and their average price before:

    price   = sum of q1 (p1 - p0)        volume = (Q1 - Q0) P0        mix = sum of (q1 - q0 Q1 / Q0) p0
    new     = revenue of parts sold only after        gone = - revenue of parts sold only before

Volume and mix are those of the parts sold in both. New and gone parts are kept apart, because they have no price to compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crmlib.errors import DataError

EFFECTS = ("price", "volume", "mix", "new", "gone")


def decompose(
    sales: pd.DataFrame,
    *,
    parts: Sequence[str] = ("product_id",),
    within: Sequence[str] = (),
    before: str | pd.Timestamp,
    after: str | pd.Timestamp,
) -> pd.DataFrame:
    """Return what made the revenue of ``after`` differ from that of ``before``, a row per combination of ``within``.

    In: a table of ``cube.sales``; ``parts`` the columns that tell apart what has a price of its own. Out: within, before_minor, after_minor,
    change_minor, price_minor, volume_minor, mix_minor, new_minor, gone_minor (these five sum to the change), common (parts sold in both).
    Raises DataError for a missing column or a period without sales.
    """
    detail = by_part(sales, parts=parts, within=within, before=before, after=after)
    names = ["before_minor", "after_minor", *[f"{name}_minor" for name in EFFECTS]]
    kept = detail.assign(common=(detail["status"] == "both").astype("int64"))
    if not within:
        out = kept[[*names, "common"]].sum().to_frame().T
        out["common"] = out["common"].astype("int64")
    else:
        out = kept.groupby(list(within), sort=True)[[*names, "common"]].sum().reset_index()
    out["change_minor"] = out["after_minor"] - out["before_minor"]
    return out[[*within, "before_minor", "after_minor", "change_minor", *names[2:], "common"]]


def by_part(
    sales: pd.DataFrame,
    *,
    parts: Sequence[str] = ("product_id",),
    within: Sequence[str] = (),
    before: str | pd.Timestamp,
    after: str | pd.Timestamp,
) -> pd.DataFrame:
    """Return ``decompose`` part by part: within, parts, pieces_before, pieces_after, before_minor, after_minor, the effects, status.

    status is both, new or gone; a part with no pieces or none at a price on one side (returns only) counts as new or gone.
    """
    keys = [*within, *[name for name in parts if name not in within]]
    table = _sides(sales, keys, pd.Timestamp(before), pd.Timestamp(after))
    q0, q1 = table["pieces_before"].to_numpy(float), table["pieces_after"].to_numpy(float)
    r0, r1 = table["before_minor"].to_numpy(float), table["after_minor"].to_numpy(float)
    both = (q0 > 0) & (q1 > 0) & (r0 > 0) & (r1 > 0)
    groups = table.groupby(list(within), sort=False).ngroup().to_numpy() if within else np.zeros(len(table), int)
    total = lambda values: np.bincount(groups, np.where(both, values, 0.0))[groups]  # noqa: E731
    all0, all1, revenue0 = total(q0), total(q1), total(r0)
    with np.errstate(divide="ignore", invalid="ignore"):
        p0, p1 = r0 / q0, r1 / q1
        mean, grown = revenue0 / all0, all1 / all0
        volume = (q0 * grown - q0) * mean
        # The volume effect of the whole is spread by the pieces before; the rest of a part's quantity effect is mix.
        values = {"price": q1 * (p1 - p0), "volume": volume, "mix": (q1 - q0) * p0 - volume}
    for name, value in values.items():
        table[f"{name}_minor"] = np.where(both, value, 0.0)
    table["new_minor"] = np.where(~both & ((q1 != 0) | (r1 != 0)), r1, 0.0)
    table["gone_minor"] = np.where(~both & ((q0 != 0) | (r0 != 0)), -r0, 0.0)
    table["status"] = np.where(both, "both", np.where(r1 != 0, "new", "gone"))
    return table


def _sides(sales: pd.DataFrame, keys: list[str], before: pd.Timestamp, after: pd.Timestamp) -> pd.DataFrame:
    missing = [name for name in [*keys, "period", "pieces", "revenue_minor"] if name not in sales]
    if missing:
        raise DataError(f"sales has no column {', '.join(missing)}; it has {', '.join(map(str, sales))}")
    if not keys:
        raise DataError(
            "parts and within name no column; name at least what has a price of its own, such as product_id"
        )
    wide = []
    for side, period in (("before", before), ("after", after)):
        rows = sales[sales["period"] == period]
        if rows.empty:
            first, last = sales["period"].min(), sales["period"].max()
            raise DataError(
                f"{side}: there are no sales in the period {period:%Y-%m-%d}; the table has those from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
            )
        summed = rows.groupby(keys, sort=True)[["pieces", "revenue_minor"]].sum()
        wide.append(summed.rename(columns={"pieces": f"pieces_{side}", "revenue_minor": f"{side}_minor"}))
    table = wide[0].join(wide[1], how="outer").fillna(0.0).reset_index()
    return table[[*keys, "pieces_before", "pieces_after", "before_minor", "after_minor"]]
