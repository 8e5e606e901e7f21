"""Write customers.csv, purchases.csv and products.csv of the two-file example: a made-up savings bank, always the same.

The files look like an export of an office in middle Europe: semicolons, decimal commas, dates as dd.mm.yyyy. Who buys
what depends on age, income, children and a purchase in the last half year, so a model has something to find.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
import random
import sys
from pathlib import Path

CUSTOMERS = 1500
FIRST, LAST = dt.date(2023, 1, 1), dt.date(2025, 12, 31)  # purchases before FIRST are not in the export
TOWNS = ("Brünn", "Eger", "Znaim", "Pilsen", "Olmütz")
PRODUCTS = {  # name, group, margin, share of buyers a month, weights of age, log income, children and recent purchase
    "SAV": ("Savings book", "deposits", "40,00", 0.006, (0.7, 0.8, 1.0, 1.2)),
    "CARD": ("Credit card", "cards", "95,50", 0.004, (-1.5, 1.5, 0.0, 1.2)),
    "CAR": ("Car loan", "loans", "310,00", 0.003, (-0.8, 1.0, 1.2, 0.8)),
    "HOME": ("Home insurance", "insurance", "120,00", 0.003, (1.3, 1.0, 0.9, 1.0)),
    "TRAV": ("Travel insurance", "insurance", "18,90", 0.004, (-0.6, 2.0, -0.6, 1.2)),
}


def main(folder: Path) -> None:
    """Write the three files into ``folder``."""
    draw = random.Random(20260101)
    people = [_person(draw, number) for number in range(1, CUSTOMERS + 1)]
    bought = sorted((row for person in people for row in _purchases(draw, person)), key=lambda row: row[:3])
    _write(
        folder / "customers.csv",
        ["client_no", "sex", "born", "town", "income", "children", "client_since"],
        [
            [
                one["no"],
                one["sex"],
                _day(one["born"]),
                one["town"],
                _money(one["income"]),
                one["children"],
                _day(one["since"]),
            ]
            for one in people
        ],
    )
    _write(
        folder / "purchases.csv",
        ["contract", "client_no", "product", "bought_on", "amount"],
        [
            [f"K{n:05d}", no, product, _day(day), _money(amount)]
            for n, (day, no, product, amount) in enumerate(bought, 1)
        ],
    )
    _write(
        folder / "products.csv",
        ["product", "name", "group", "margin", "on_sale_from"],
        [[code, name, group, margin, "01.01.2020"] for code, (name, group, margin, _, _) in PRODUCTS.items()],
    )


def _person(draw: random.Random, number: int) -> dict:
    born = dt.date(1940, 1, 1) + dt.timedelta(days=draw.randrange(365 * 65))
    since = dt.date(2020, 1, 1) + dt.timedelta(days=draw.randrange(365 * 6))
    return {
        "no": 1000 + number,
        "sex": draw.choice("MF"),
        "born": born,
        "town": draw.choice(TOWNS),
        "income": math.exp(draw.gauss(7.6, 0.5)),
        "children": min(draw.choice((0, 0, 0, 1, 1, 2, 2, 3)), 3),
        "since": since,
    }


def _purchases(draw: random.Random, person: dict) -> list[tuple[dt.date, int, str, float]]:
    """Return what a person buys, month by month; nothing twice, and nothing before being a client."""
    rows: list[tuple[dt.date, int, str, float]] = []
    held: set[str] = set()
    last = dt.date.min
    for month in range((LAST.year - FIRST.year + 1) * 12):
        first = dt.date(FIRST.year + month // 12, month % 12 + 1, 1)
        age = (first - person["born"]).days / 365.25
        state = ((age - 50) / 15, math.log(person["income"]) - 7.6, person["children"] - 1, (first - last).days < 180)
        for code, (_, _, _, share, weights) in PRODUCTS.items():
            pull = sum(weight * value for weight, value in zip(weights, state, strict=True))
            day = first + dt.timedelta(days=draw.randrange(28))
            chance = min(share * math.exp(pull), 0.25)
            if draw.random() < chance and code not in held and age >= 18 and day >= person["since"]:
                held.add(code)
                last = day
                rows.append((day, person["no"], code, person["income"] * draw.uniform(0.2, 3)))
    return rows


def _day(day: dt.date) -> str:
    return day.strftime("%d.%m.%Y")


def _money(amount: float) -> str:
    return f"{amount:.2f}".replace(".", ",")


def _write(path: Path, header: list[str], rows: list[list]) -> None:
    with path.open("w", newline="", encoding="cp1250") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
