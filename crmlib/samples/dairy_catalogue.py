"""The sample dairy's products and competitors: what the model knows of each (see docs/sample_dairy.md)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

GROUPS = ("milk", "yoghurt", "cheese", "butter_cream")


@dataclass(frozen=True)
class Product:
    """A product in the shops.

    Attributes: ``price`` and ``cost`` of a piece at the beginning, minor units; ``popular`` the pieces that a
    hypermarket of usual size sells on a usual day; ``elasticity`` of demand to its own price; ``uplift`` what a promotion
    adds to the log of demand beyond its price, ``dip`` what it takes from it in the week after, half of it in the second;
    ``cross`` the elasticity to the price of another product; ``trend`` the growth of the log of demand a year;
    ``from_share`` and ``to_share`` the part of the recorded time in which it is sold.
    """

    product_id: str
    name: str
    group: str
    price: int
    cost: int
    shelf_life: int
    pack: int
    popular: float
    elasticity: float
    uplift: float
    dip: float
    trend: float = 0.0
    maker: str = ""
    cross: dict[str, float] = field(default_factory=dict)
    from_share: float = 0.0
    to_share: float = 2.0


PRODUCTS = (
    Product("fresh_milk", "Fresh milk 1 l", "milk", 129, 70, 7, 12, 70.0, -1.15, 0.25, 0.10, -0.02,
            cross={"hillside_milk": 0.45, "lactose_free_milk": 0.15}),
    Product("long_life_milk", "Long-life milk 1 l", "milk", 109, 58, 60, 12, 55.0, -1.70, 0.40, 0.30, -0.03,
            cross={"bluebell_milk": 0.50, "fresh_milk": 0.25}),
    Product("lactose_free_milk", "Lactose-free milk 1 l", "milk", 159, 81, 14, 10, 22.0, -1.30, 0.25, 0.10, 0.08,
            cross={"fresh_milk": 0.20}),
    Product("buttermilk", "Buttermilk 0.5 l", "milk", 89, 43, 5, 10, 12.0, -1.35, 0.30, 0.12, -0.03),
    Product("plain_yoghurt", "Plain yoghurt 500 g", "yoghurt", 119, 55, 21, 12, 34.0, -1.80, 0.30, 0.18, 0.02,
            cross={"hillside_yoghurt": 0.40, "fruit_yoghurt": 0.20, "skyr": 0.15}),
    Product("fruit_yoghurt", "Fruit yoghurt 150 g", "yoghurt", 69, 30, 21, 20, 60.0, -2.30, 0.45, 0.22, 0.0,
            cross={"hillside_yoghurt": 0.35, "plain_yoghurt": 0.15, "drinking_yoghurt": 0.15}),
    Product("drinking_yoghurt", "Drinking yoghurt 330 ml", "yoghurt", 99, 46, 14, 12, 26.0, -2.00, 0.35, 0.15, 0.05,
            cross={"fruit_yoghurt": 0.25}),
    Product("skyr", "Skyr 450 g", "yoghurt", 199, 93, 21, 6, 18.0, -2.20, 0.35, 0.15, 0.12,
            cross={"bluebell_skyr": 0.45, "plain_yoghurt": 0.20}, from_share=0.42),
    Product("gouda", "Gouda slices 200 g", "cheese", 249, 123, 45, 10, 30.0, -2.50, 0.40, 0.28, 0.01,
            cross={"hillside_gouda": 0.50, "mountain_cheese": 0.15}),
    Product("mozzarella", "Mozzarella 125 g", "cheese", 119, 55, 18, 12, 28.0, -2.20, 0.35, 0.15, 0.03,
            cross={"cream_cheese": 0.10}),
    Product("cream_cheese", "Cream cheese 200 g", "cheese", 169, 78, 28, 10, 24.0, -2.40, 0.40, 0.20, 0.0),
    Product("mountain_cheese", "Mountain cheese 250 g", "cheese", 399, 204, 60, 6, 8.0, -2.80, 0.30, 0.20, 0.04,
            cross={"gouda": 0.25}),
    Product("butter", "Butter 250 g", "butter_cream", 229, 131, 40, 20, 44.0, -1.40, 0.35, 0.30, 0.0,
            cross={"bluebell_butter": 0.50, "spreadable_butter": 0.20}),
    Product("spreadable_butter", "Spreadable butter 250 g", "butter_cream", 249, 133, 42, 12, 16.0, -1.70, 0.30, 0.22, 0.0,
            cross={"butter": 0.35}, to_share=0.75),
    Product("whipping_cream", "Whipping cream 200 g", "butter_cream", 95, 46, 16, 20, 32.0, -1.50, 0.30, 0.12, 0.01,
            cross={"sour_cream": 0.10}),
    Product("sour_cream", "Sour cream 200 g", "butter_cream", 79, 35, 18, 12, 20.0, -1.60, 0.30, 0.12, 0.02,
            cross={"whipping_cream": 0.15}),
    Product("hillside_milk", "Hillside milk 1 l", "milk", 119, 0, 7, 12, 60.0, -1.40, 0.25, 0.10, 0.0, "Hillside",
            cross={"fresh_milk": 0.35}),
    Product("bluebell_milk", "Bluebell long-life milk 1 l", "milk", 99, 0, 60, 12, 50.0, -1.80, 0.30, 0.20, 0.0, "Bluebell",
            cross={"long_life_milk": 0.40}),
    Product("hillside_yoghurt", "Hillside yoghurt 150 g", "yoghurt", 65, 0, 21, 20, 50.0, -2.10, 0.35, 0.15, 0.0, "Hillside",
            cross={"fruit_yoghurt": 0.35, "plain_yoghurt": 0.20}),
    Product("bluebell_skyr", "Bluebell skyr 450 g", "yoghurt", 189, 0, 21, 6, 14.0, -2.20, 0.35, 0.15, 0.0, "Bluebell",
            cross={"skyr": 0.40}, from_share=0.72),
    Product("hillside_gouda", "Hillside gouda 200 g", "cheese", 229, 0, 45, 10, 26.0, -2.30, 0.35, 0.20, 0.0, "Hillside",
            cross={"gouda": 0.45}),
    Product("bluebell_butter", "Bluebell butter 250 g", "butter_cream", 219, 0, 40, 20, 36.0, -1.60, 0.30, 0.20, 0.0,
            "Bluebell", cross={"butter": 0.45}),
)  # fmt: skip

IDS = tuple(product.product_id for product in PRODUCTS)
OWN = tuple(number for number, product in enumerate(PRODUCTS) if not product.maker)
"""Positions of the dairy's own products: the first ones."""

Floats = NDArray[np.float64]


def column(name: str) -> Floats:
    """Return a number of each product, in their order."""
    return np.array([getattr(product, name) for product in PRODUCTS], dtype=float)


def groups() -> NDArray[np.int64]:
    """Return the group of each product, as a position in ``GROUPS``."""
    return np.array([GROUPS.index(product.group) for product in PRODUCTS])


def crosses() -> Floats:
    """Return the elasticity of each product's demand (row) to each product's price (column), its own included.

    >>> float(crosses()[0, 0]), float(crosses()[0, IDS.index("hillside_milk")])
    (-1.15, 0.45)
    """
    out = np.diag(column("elasticity"))
    for row, product in enumerate(PRODUCTS):
        for other, elasticity in product.cross.items():
            out[row, IDS.index(other)] = elasticity
    return out
