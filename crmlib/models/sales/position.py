"""Where the company stands: its share of what is sold, and its prices beside those of competitors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crmlib.errors import DataError
from crmlib.models.sales.cube import OWN


def share(sales: pd.DataFrame, *, within: Sequence[str] = ("period",), of: str = "maker") -> pd.DataFrame:
    """Return each one's share of what is sold, a row per combination of ``within`` and value of ``of``.

    In: a table of ``cube.sales`` with these columns. Out: within, of, pieces, revenue_minor, pieces_share and value_share (0 to 1;
    not a number where nothing was sold there), pieces_change and value_change (against the period before, where period is in ``within``).
    Raises DataError for a missing column or one named twice.

    >>> table = pd.DataFrame({"maker": ["own", "Hill"], "period": "2025", "pieces": [30.0, 10.0], "revenue_minor": [60.0, 40.0]})
    >>> share(table)["value_share"].tolist()
    [0.4, 0.6]
    """
    _has(sales, [*within, of])
    keys = list(within)
    if of in keys:
        raise DataError(f"within names {of}, of which the shares are asked; leave it out")
    out = sales.groupby([*keys, of], sort=True)[["pieces", "revenue_minor"]].sum()
    if "period" in keys:
        out = _every_period(out)
    out = out.reset_index()
    groups = [out[name] for name in keys] if keys else np.zeros(len(out))
    for column, name in (("pieces", "pieces_share"), ("revenue_minor", "value_share")):
        total = out[column].groupby(groups).transform("sum")
        out[name] = out[column] / total.where(total > 0)
    if "period" in keys:
        series = [name for name in [*keys, of] if name != "period"]
        for name, change in (("pieces_share", "pieces_change"), ("value_share", "value_change")):
            out[change] = out.sort_values("period").groupby(series)[name].diff()
    return out


def _every_period(sums: pd.DataFrame) -> pd.DataFrame:
    """Return the sums with a row of nothing sold where one that sells in some period does not in another.

    Otherwise a change would be against whatever period it sold in last.
    """
    seen, names = sums.index.to_frame(index=False), list(sums.index.names)
    rest = seen.drop(columns="period").drop_duplicates()
    every = pd.MultiIndex.from_frame(rest.merge(seen[["period"]].drop_duplicates(), how="cross")[names])
    return sums.reindex(every, fill_value=0.0).sort_index()


def price_index(sales: pd.DataFrame, *, within: Sequence[str] = ("period", "product_group")) -> pd.DataFrame:
    """Return the company's average price over the competitors', in percent, a row per combination of ``within``.

    In: a table of ``cube.sales`` with maker. 100 is the same price; the averages are those of all pieces sold, so that a dearer mix counts as
    dearer (``matched`` compares like with like). Out: within, own_minor, others_minor (average price of a piece), index, own_pieces,
    others_pieces; index is not a number where either sold nothing. Raises DataError for a missing column.
    """
    _has(sales, [*within, "maker"])
    keys = list(within)
    side = np.where(sales["maker"] == OWN, "own", "others")
    summed = sales.assign(side=side).groupby([*keys, "side"], sort=True)[["pieces", "revenue_minor"]].sum()
    wide = summed.unstack("side")
    out = pd.DataFrame(index=wide.index)
    for name in ("own", "others"):
        absent = pd.Series(0.0, index=wide.index)
        pieces = wide.get(("pieces", name), absent).fillna(0.0)
        out[f"{name}_pieces"] = pieces
        out[f"{name}_minor"] = wide.get(("revenue_minor", name), absent) / pieces.where(pieces > 0)
    out["index"] = 100 * out["own_minor"] / out["others_minor"]
    return out.reset_index()[[*keys, "own_minor", "others_minor", "index", "own_pieces", "others_pieces"]]


def matched(sales: pd.DataFrame, pairs: pd.DataFrame, *, within: Sequence[str] = ("period",)) -> pd.DataFrame:
    """Return the price of each own product over that of each competitor's product that replaces it, in percent.

    In: a table of ``cube.sales`` with product_id, maker and ``within``; ``pairs`` (product_id, substitute_id). Out: within, product_id, other_id,
    maker (of the other), own_minor, other_minor, index. Only places where both were sold. Prices are those of a piece: packs of other sizes are not alike. Raises DataError for a missing column.
    """
    _has(sales, [*within, "product_id", "maker"])
    keys = list(within)
    prices = sales.groupby([*keys, "product_id", "maker"], sort=True)[["pieces", "revenue_minor"]].sum().reset_index()
    prices = prices[prices["pieces"] > 0].assign(price=lambda rows: rows["revenue_minor"] / rows["pieces"])
    own = prices.loc[prices["maker"] == OWN, [*keys, "product_id", "price"]].rename(columns={"price": "own_minor"})
    theirs = prices.loc[prices["maker"] != OWN, [*keys, "product_id", "maker", "price"]]
    theirs = theirs.rename(columns={"product_id": "other_id", "price": "other_minor"})
    known = pairs.rename(columns={"substitute_id": "other_id"})[["product_id", "other_id"]].drop_duplicates()
    out = own.merge(known, on="product_id", validate="many_to_many")
    out = out.merge(theirs, on=[*keys, "other_id"], validate="many_to_one")
    out["index"] = 100 * out["own_minor"] / out["other_minor"]
    return out[[*keys, "product_id", "other_id", "maker", "own_minor", "other_minor", "index"]]


def _has(sales: pd.DataFrame, names: Sequence[str]) -> None:
    missing = [name for name in [*names, "pieces", "revenue_minor"] if name not in sales]
    if missing:
        raise DataError(
            f"sales has no column {', '.join(missing)}; it has {', '.join(map(str, sales))}: name it in by when you make the table"
        )
