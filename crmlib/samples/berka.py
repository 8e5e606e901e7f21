"""Preparation of the Berka tables for the canonical schema: what a mapping cannot say, because it needs several rows.

What is decoded: sex and birth date from ``birth_number`` (month + 50 for women); the customer of an account is its owner;
a client is a customer since the first account he may use. Amounts get a sign. Month-end balances come from the running
balance. A permanent order has no date in the source: it starts with the first transfer to its counter-account, and an
order without any transfer in the transactions at hand is left out. The status of a loan is known at its end only, so
it becomes the closing of the contract; running loans stay open.
"""

from __future__ import annotations

import pandas as pd

TRANSACTIONS = 1_056_320
"""Rows of the whole transaction table; a shorter one was cut, and its last day is incomplete."""

_ORDERS = {"SIPO": "household", "POJISTNE": "insurance", "LEASING": "leasing", "UVER": "loan", "": "other"}
_PRODUCTS = [
    ("account", "Current account", "accounts", ""),
    ("card_junior", "Junior card", "cards", "account"),
    ("card_classic", "Classic card", "cards", "account"),
    ("card_gold", "Gold card", "cards", "account"),
    ("loan", "Loan", "loans", "account"),
    *[(f"order_{kind}", f"Permanent order: {kind}", "payments", "account") for kind in _ORDERS.values()],
]


def prepare(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables that the mapping ``berka.toml`` reads, by name, from those of ``public.berka``.

    Out: branches (77, one per district), customers (5,369, one per client), products (10), accounts (4,500), cards
    (892), loans (682), orders (those with a transfer), balances (one per account and month) and transactions (all).
    Money is in crowns, dates are ISO texts. The tables given are not changed.
    """
    owners = tables["disp"].query("type == 'OWNER'").set_index("account_id")["client_id"]
    accounts = tables["account"].assign(opened_on=_dates(tables["account"]["date"]))
    return {
        "branches": _branches(tables["district"]),
        "customers": _customers(tables, accounts),
        "products": pd.DataFrame(_PRODUCTS, columns=["product", "name", "group", "requires"]),
        "accounts": pd.DataFrame(
            {
                "holding": _holding("account", accounts["account_id"]),
                "client_id": accounts["account_id"].map(owners),
                "product": "account",
                "opened_on": accounts["opened_on"],
                "district_id": accounts["district_id"],
            }
        ),
        "cards": _cards(tables["card"], tables["disp"]),
        "loans": _loans(tables["loan"], owners),
        "orders": _orders(tables["order"], tables["trans"], owners),
        "balances": balances(tables["trans"]).assign(client_id=lambda rows: rows["account_id"].map(owners)),
        "transactions": _transactions(tables["trans"], owners),
    }


def birth(birth_number: pd.Series) -> pd.DataFrame:
    """Return birth_date (ISO text) and gender from numbers YYMMDD in which women have 50 added to the month.

    >>> birth(pd.Series(["706213", "450204"])).to_numpy().tolist()
    [['1970-12-13', 'female'], ['1945-02-04', 'male']]
    """
    numbers = birth_number.astype("int64")
    female = numbers // 100 % 100 > 50
    dates = _dates(numbers - 5000 * female)
    return pd.DataFrame({"birth_date": dates, "gender": female.map({True: "female", False: "male"})})


def balances(trans: pd.DataFrame) -> pd.DataFrame:
    """Return account_id, balance_date (a month's last day) and balance (crowns) after the last transaction of a month.

    The file keeps no order within a day, so the last running balance of a day is the one nearest to the sum of all
    amounts so far; they differ by rounding only. The last, incomplete month of a cut table is left out.
    """
    rows = trans[["account_id", "date", "balance"]].assign(amount=_signed(trans))
    rows["sum"] = rows.groupby("account_id")["amount"].cumsum()
    rows["sum"] = rows.groupby(["account_id", "date"])["sum"].transform("last")
    last = rows[rows["date"] == rows.groupby(["account_id", rows["date"] // 100])["date"].transform("max")]
    nearest = (last["balance"] - last["sum"]).abs().groupby([last["account_id"], last["date"]]).idxmin()
    month = pd.to_datetime("19" + last["date"].astype("str")) + pd.offsets.MonthEnd(0)
    out = last.assign(balance_date=month.dt.strftime("%Y-%m-%d")).loc[
        nearest, ["account_id", "balance_date", "balance"]
    ]
    if len(trans) < TRANSACTIONS:
        out = out[out["balance_date"] < out["balance_date"].max()]
    return out.assign(holding=_holding("account", out["account_id"])).reset_index(drop=True)


def _dates(numbers: pd.Series) -> pd.Series:
    return pd.to_datetime("19" + numbers.astype("str").str.zfill(6), format="%Y%m%d").dt.strftime("%Y-%m-%d")


def _holding(kind: str, numbers: pd.Series) -> pd.Series:
    return kind + "-" + numbers.astype("str")


def _signed(trans: pd.DataFrame) -> pd.Series:
    """Return the amounts with what leaves the account negative; VYBER stands for VYDAJ in 651 old rows."""
    return trans["amount"].where(trans["type"] == "PRIJEM", -trans["amount"])


def _branches(district: pd.DataFrame) -> pd.DataFrame:
    return district[["A1", "A2", "A3"]].set_axis(["district_id", "city", "region"], axis=1)


def _customers(tables: dict[str, pd.DataFrame], accounts: pd.DataFrame) -> pd.DataFrame:
    used = tables["disp"].merge(accounts, on="account_id", validate="many_to_one", suffixes=("", "_account"))
    first = used.sort_values("opened_on").drop_duplicates("client_id").set_index("client_id")
    client = tables["client"]
    home = _branches(tables["district"]).set_index("district_id")
    return pd.DataFrame(
        {
            "client_id": client["client_id"],
            **birth(client["birth_number"]),
            "city": client["district_id"].map(home["city"]),
            "region": client["district_id"].map(home["region"]),
            "since": client["client_id"].map(first["opened_on"]),
            "branch": client["client_id"].map(first["district_id"]),
        }
    )


def _cards(card: pd.DataFrame, disp: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "holding": _holding("card", card["card_id"]),
            "client_id": card["disp_id"].map(disp.set_index("disp_id")["client_id"]),
            "product": "card_" + card["type"],
            "opened_on": _dates(card["issued"].str[:6]),
        }
    )


def _loans(loan: pd.DataFrame, owners: pd.Series) -> pd.DataFrame:
    opened = pd.to_datetime(_dates(loan["date"]))
    months = opened.dt.to_period("M") + loan["duration"].to_numpy()
    day = opened.dt.day.where(opened.dt.day <= months.dt.days_in_month, months.dt.days_in_month)
    ends = (months.dt.start_time + pd.to_timedelta(day - 1, unit="D")).dt.strftime("%Y-%m-%d")
    reason = loan["status"].map({"A": "repaid", "B": "defaulted"})
    return pd.DataFrame(
        {
            "holding": _holding("loan", loan["loan_id"]),
            "client_id": loan["account_id"].map(owners),
            "product": "loan",
            "opened_on": opened.dt.strftime("%Y-%m-%d"),
            "matures_on": ends,
            "closed_on": ends.where(reason.notna()),
            "closed_reason": reason,
            "amount": loan["amount"],
        }
    )


def _orders(order: pd.DataFrame, trans: pd.DataFrame, owners: pd.Series) -> pd.DataFrame:
    transfers = trans[trans["operation"] == "PREVOD NA UCET"]
    to = ["account_id", "bank", "account"]
    first = transfers.groupby(to, as_index=False)["date"].min()
    dated = order.rename(columns={"bank_to": "bank", "account_to": "account"}).merge(
        first, on=to, how="inner", validate="one_to_one"
    )
    return pd.DataFrame(
        {
            "holding": _holding("order", dated["order_id"]),
            "client_id": dated["account_id"].map(owners),
            "product": "order_" + dated["k_symbol"].fillna("").str.strip().map(_ORDERS),
            "opened_on": _dates(dated["date"]),
            "amount": dated["amount"],
        }
    )


def _transactions(trans: pd.DataFrame, owners: pd.Series) -> pd.DataFrame:
    symbol = trans["k_symbol"].fillna("").str.strip()
    return pd.DataFrame(
        {
            "trans_id": trans["trans_id"],
            "client_id": trans["account_id"].map(owners),
            "holding": _holding("account", trans["account_id"]),
            "date": _dates(trans["date"]),
            "amount": _signed(trans),
            "code": symbol.where(symbol != "", trans["operation"]),
            "operation": trans["operation"],
            "counterparty": (trans["bank"] + " " + trans["account"]).where(trans["account"].notna()),
        }
    )
