"""The scanner data on cheese as demand series: weekly volumes of one brand's slices at 88 retailers.

Boatwright, McCulloch and Rossi 1999, JASA 94, 1063-1073 (data of the R package bayesm): VOLUME pieces, DISP share of the
trade with a display, PRICE per piece. The weeks have no dates; they stand in order, and are given made-up ones, so that the
season is told only by its wave, and only about 65 weeks are there.
"""

from __future__ import annotations

import pandas as pd

from crmlib.errors import DataError

GROUP = "cheese"


def series(table: pd.DataFrame) -> pd.DataFrame:
    """Return the series table: series_id, product_id (the retailer), product_group, period, quantity, price_minor, promotion.

    In: the table of ``samples.public.bayesm("cheese")``, rows in the order of weeks. Raises DataError for a missing column.

    >>> made = series(pd.DataFrame({"RETAILER": ["A", "B", "A"], "VOLUME": [9, 7, 8], "DISP": [0.0, 0.1, 0.0], "PRICE": [2.5, 3.0, 2.4]}))
    >>> made.loc[made["product_id"] == "A", "price_minor"].tolist()
    [250.0, 240.0]
    """
    missing = {"RETAILER", "VOLUME", "DISP", "PRICE"} - set(table)
    if missing:
        raise DataError(f"cheese has no column {', '.join(sorted(missing))}; it has {', '.join(map(str, table))}")
    week = table.groupby("RETAILER", sort=False).cumcount()
    retailer = table["RETAILER"].astype("str")
    out = pd.DataFrame(
        {
            "series_id": retailer,
            "product_id": retailer,
            "product_group": GROUP,
            "period": pd.Timestamp("1991-01-07") + pd.to_timedelta(7 * week, unit="D"),
            "quantity": table["VOLUME"].astype(float),
            "price_minor": 100 * table["PRICE"].astype(float),
            "promotion": table["DISP"].astype(float),
        }
    )
    return out.sort_values(["series_id", "period"], ignore_index=True)
