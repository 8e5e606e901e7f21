"""A small made-up supplier: outlets, products, sales with everything that can go wrong, all planted."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crmlib.warehouse import build, snapshot
from crmlib.warehouse.company import Company

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2025, 12, 29)  # two Mondays: the last week is running
DAYS = pd.date_range(FIRST, LAST, freq="D", unit="us")
HOLIDAYS = ("2024-01-01", "2024-12-25", "2025-01-01", "2025-12-25", "2026-01-01")
COMPANY = Company(name="Made-up supplier", holidays=HOLIDAYS)
PRODUCTS = {"P1": "milk", "P2": "milk", "P3": "cheese", "X1": "milk"}
REGIONS = ("north", "south")
DISPERSION = 0.1


@dataclass(frozen=True, eq=False)
class Made:
    """The frames of the warehouse, and what was truly wanted: outlet_id, product_id, sold_on, mean, demand, sold, kind."""

    frames: dict[str, pd.DataFrame]
    truth: pd.DataFrame


def opened(folder: Path, frames: dict[str, pd.DataFrame], company: Company = COMPANY) -> snapshot.Warehouse:
    """A warehouse of these frames."""
    build.from_frames(folder / "v.duckdb", frames, company=company)
    return snapshot.open_file(folder / "v.duckdb")


def make(*, outlets: int = 12, seed: int = 7, stock_days: float = 1.35) -> Made:
    """Outlets closed on Sundays and holidays; promotions that double demand; shelves that hold ``stock_days`` of usual demand."""
    rng = np.random.default_rng(seed)
    ids = [f"O{number:02d}" for number in range(outlets)]
    region = np.array([REGIONS[number % 2] for number in range(outlets)], dtype=object)
    rows = []
    promotions = _promotions(rng)
    for product in PRODUCTS:
        level = np.exp(rng.normal(2.2, 0.7, outlets))
        week = np.array([1.0, 0.9, 0.9, 1.0, 1.3, 1.5, 0.0])
        season = np.exp(0.3 * np.sin(2 * np.pi * DAYS.day_of_year.to_numpy() / 365 + rng.uniform(0, 6)))
        mean = level[:, None] * week[DAYS.day_of_week][None, :] * season[None, :]
        mean[:, DAYS.isin(pd.to_datetime(list(HOLIDAYS)))] = 0
        promoted = np.zeros(mean.shape, dtype=bool)
        for row in promotions[promotions["product_id"] == product].itertuples():
            inside = (row.starts_on <= DAYS) & (row.ends_on >= DAYS)
            promoted |= (region == row.region)[:, None] & inside[None, :]
        mean *= np.where(promoted, 2.0, 1.0)
        shape = 1 / DISPERSION
        demand = rng.negative_binomial(shape, shape / (shape + mean)).astype(float)
        stock = np.ceil(
            level[:, None]
            * week[DAYS.day_of_week]
            * season
            * stock_days
            * rng.gamma(8, 1 / 8, mean.shape)
            * np.where(promoted, 1.6, 1)
        )
        stock[rng.random(mean.shape) < 0.01] = 0
        table = pd.DataFrame(
            {
                "outlet_id": np.repeat(ids, len(DAYS)),
                "product_id": product,
                "sold_on": np.tile(DAYS, outlets),
                "mean": mean.ravel(),
                "demand": demand.ravel(),
                "sold": np.minimum(demand, stock).ravel(),
                "empty": ((demand >= stock) & (mean > 0)).ravel(),
                "on_promotion": promoted.ravel(),
                "price_minor": np.where(promoted, 80, 100).ravel(),
            }
        )
        rows.append(table)
    truth = pd.concat(rows, ignore_index=True)
    return Made(_frames(truth, promotions, ids, region), truth)


def _promotions(rng: np.random.Generator) -> pd.DataFrame:
    found: list[dict[str, Any]] = []
    for product in ("P1", "P2", "P3"):
        for region in REGIONS:
            for start in pd.to_datetime(["2024-03-04", "2024-09-02", "2025-06-02"]) + pd.Timedelta(
                days=7 * int(rng.integers(0, 8))
            ):
                found.append({"product_id": product, "region": region, "starts_on": start})
    table = pd.DataFrame(found)
    table["promotion_id"] = [f"A{number}" for number in range(len(table))]
    table["ends_on"] = table["starts_on"] + pd.Timedelta(days=13)
    table["announced_on"] = table["starts_on"] - pd.Timedelta(days=30)
    return table.assign(price_minor=80, cost_minor=1000)


def _frames(
    truth: pd.DataFrame, promotions: pd.DataFrame, ids: list[str], region: np.ndarray
) -> dict[str, pd.DataFrame]:
    selling = truth[(truth["mean"] > 0)]
    sales = selling.rename(columns={"sold": "quantity", "empty": "stocked_out"})[
        ["outlet_id", "product_id", "sold_on", "quantity", "price_minor", "on_promotion", "stocked_out"]
    ]
    outlets = pd.DataFrame({"outlet_id": ids, "valid_from": "2023-01-01", "region": region, "format": "shop"})
    outlets["customer_id"] = [f"C{number // 3}" for number in range(len(ids))]
    outlets["open_weekdays"] = "123456"
    products = pd.DataFrame({"product_id": list(PRODUCTS), "valid_from": "2023-01-01", "name": list(PRODUCTS)})
    products["product_group"] = products["product_id"].map(PRODUCTS)
    products["maker"] = ["", "", "", "Rival"]
    return {
        "outlet_sales": sales.reset_index(drop=True),
        "outlets": outlets,
        "products": products,
        "promotions": promotions,
    }


def opened_again(folder: Path) -> snapshot.Warehouse:
    """The warehouse that ``opened`` made in this folder."""
    return snapshot.open_file(folder / "v.duckdb")
