"""A supplier made up for tests of the due list: customers with and without outlets, a depot, representatives, orders."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd

from crmlib import paths
from crmlib.store import score_sets, session, tables
from crmlib.warehouse import build, schema
from crmlib.warehouse.company import Company

AS_OF = dt.date(2025, 12, 31)
NOW = dt.datetime(2026, 1, 2, 8, 30)
FIRST = dt.date(2025, 5, 1)
COMPANY = Company(
    name="Made-up supplier",
    time_zone="Europe/Berlin",
    holidays=("2026-01-01",),
    contact_costs_minor={"call": 400, "visit": 1_000},
    contact_minutes={"visit": 45.0},
)
CAFES, SHOPS = 24, 6


def frames(seed: int = 4) -> dict[str, pd.DataFrame]:
    """The canonical tables, some 240 days of orders; the depot of the South has been out of butter since the 28th."""
    rng = np.random.default_rng(seed)
    ids = [f"C{k:03}" for k in range(CAFES + SHOPS)]
    region = np.array(["North", "South"])[np.arange(len(ids)) % 2]
    seller = np.array(["R1", "R2"])[np.arange(len(ids)) % 2]
    long_ago = dt.date(2020, 1, 1)
    customers = pd.DataFrame({"customer_id": ids, "valid_from": long_ago, "customer_since": long_ago, "region": region})
    customers["segment"] = ["cafe"] * CAFES + ["shop"] * SHOPS
    customers["employee_id"] = np.where(np.arange(len(ids)) == 1, None, seller)
    shops = range(CAFES, CAFES + SHOPS)
    outlets = pd.DataFrame(
        {
            "outlet_id": [f"S{k}" for k in range(SHOPS)] + ["D1", "D2"],
            "valid_from": long_ago,
            "customer_id": [ids[k] for k in shops] + [None, None],
            "name": [f"Shop <b>{k}</b>" for k in range(SHOPS)] + ["Depot North", "Depot South"],
            "format": ["kiosk"] * SHOPS + ["depot"] * 2,
            "region": [region[k] for k in shops] + ["North", "South"],
            "latitude": [50 + 0.1 * k for k in range(SHOPS)] + [50.0, 50.1],
            "longitude": [10 + 0.2 * k for k in range(SHOPS)] + [10.0, 10.2],
            "employee_id": [seller[k] for k in shops] + [None, None],
            "delivery_weekdays": "135",
            "lead_time_days": 1,
        }
    )
    products = pd.DataFrame({"product_id": ["milk", "butter"], "name": ["Milk & more", "Butter"]}).assign(
        valid_from=long_ago, price_minor=150, cost_minor=100, shelf_life_days=[7, 30], pack_size=6
    )
    staff = pd.DataFrame(
        {"employee_id": ["R1", "R2"], "valid_from": long_ago, "name": ["Ann Bee", "Cy Dee"], "role": "representative"}
    )
    days = pd.date_range(FIRST, AS_OF)
    stocks = pd.MultiIndex.from_product([["D1", "D2"], products["product_id"], days]).to_frame(index=False)
    stocks.columns = pd.Index(["outlet_id", "product_id", "counted_on"])
    empty = (stocks["outlet_id"] == "D2") & (stocks["product_id"] == "butter") & (stocks["counted_on"] >= "2025-12-28")
    counts = pd.DataFrame(
        {"outlet_id": [f"S{k}" for k in range(SHOPS)] * 2, "product_id": ["milk"] * SHOPS + ["butter"] * SHOPS}
    )
    stocks = pd.concat(
        [
            stocks.assign(quantity=np.where(empty, 0.0, 500.0)),
            counts.assign(counted_on=pd.Timestamp(AS_OF), quantity=5.0, on_order=0.0),
        ]
    )
    consents = pd.DataFrame(
        {"customer_id": ids, "channel": "all", "purpose": "marketing", "changed_at": dt.datetime(2025, 1, 1)}
    )
    consents["granted"] = [k not in (2, 3) for k in range(len(ids))]
    return {
        "customers": customers,
        "outlets": outlets,
        "products": products,
        "employees": staff,
        "stocks": stocks.reset_index(drop=True),
        "consents": consents,
        "transactions": _orders(rng, ids, shops),
    }


def _orders(rng: np.random.Generator, ids: list[str], shops: range) -> pd.DataFrame:
    rows = []
    for number, customer in enumerate(ids):
        for product, usual in (("milk", 6.0), ("butter", 11.0)):
            day = int(rng.integers(0, 8))
            while day <= (AS_OF - FIRST).days:
                at = dt.datetime.combine(FIRST, dt.time(9)) + dt.timedelta(days=day)
                pieces = float(np.ceil(40 * np.exp(rng.normal(0, 0.3))))
                outlet = f"S{number - shops.start}" if number in shops else None
                out = product == "butter" and number % 2 == 1 and at.date() >= dt.date(2025, 12, 28)
                if at.weekday() < 5 and not out:
                    rows.append((customer, at, -int(150 * pieces), product, pieces, outlet))
                day += max(1, round(usual * rng.weibull(4)))
    out = pd.DataFrame(
        rows, columns=["customer_id", "occurred_at", "amount_minor", "product_id", "quantity", "merchant"]
    )
    return out.assign(transaction_id=[f"t{k}" for k in range(len(out))], category="order")


def make(data: Path, tables_: dict[str, pd.DataFrame] | None = None) -> None:
    """Put the tables into a data folder, served as version 1."""
    paths.warehouse(data).mkdir(parents=True)
    path = paths.warehouse(data) / "v000001.duckdb"
    build.from_frames(path, frames() if tables_ is None else tables_, company=COMPANY, version=1)
    about = {"format_version": schema.FORMAT_VERSION, "created_at": NOW, "published_at": NOW}
    with session.session(data) as store:
        store.add(tables.Version(version=1, state="published", file=path.name, **about))
        store.flush()
        store.merge(tables.Pointer(name="served", version=1))
        store.commit()


def forecast(data: Path, *, level: str = "outlet_product_day") -> None:
    """Save a demand forecast of 28 days for every shop and product, with past errors beside it."""
    pairs = pd.MultiIndex.from_product(
        [[f"S{k}" for k in range(SHOPS)], ["milk", "butter"], pd.date_range("2026-01-01", periods=28)]
    )
    table = pairs.to_frame(index=False)
    table.columns = pd.Index(["outlet_id", "product_id", "period"])
    table = table.assign(level=level, mean=8.0, low_80=4.0, high_80=12.0)
    rng = np.random.default_rng(1)
    errors = pd.DataFrame(
        {"level": level, "series_id": "S0/milk", "origin": np.repeat(np.arange(30), 7), "forecast": 8.0}
    )
    errors["actual"] = 8 + np.repeat(rng.normal(0, 1, 30), 7) + rng.normal(0, 1, len(errors))
    score_sets.save(
        table,
        data=data,
        model="demand",
        model_version=1,
        warehouse_version=1,
        as_of=AS_OF,
        now=NOW,
        beside={"errors": errors},
    )
