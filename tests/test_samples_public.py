"""Public data: found or downloaded by checksum, equal to the published facts, and prepared for the canonical tables."""

import datetime as dt
import functools
import gzip
import hashlib
import http.server
import io
import os
import runpy
import shutil
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from crmlib import features, warehouse
from crmlib.errors import DataError, EnvironmentFault, NotFoundError, UsageError
from crmlib.models import propensity
from crmlib.samples import berka, online_retail, public, published
from crmlib.samples.published import Published
from crmlib.warehouse import company, mapping

REAL = os.environ.get("CRM_REAL_DATA")
real_data = pytest.mark.skipif(not REAL, reason="CRM_REAL_DATA does not name the folder of the real data sets")
EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "two_files"
TEXT = b"client;balance\r\n1;10,50\r\n2;-3,00\r\n"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return buffer.getvalue()


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache, and no folder of real data."""
    monkeypatch.delenv("CRM_REAL_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve a folder over HTTP on this machine: the real download route, without the internet."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


# ------------------------------------------------------------------------------------------------ finding and downloading


def test_a_file_is_downloaded_once_and_then_found(site: tuple[str, Path], nowhere: Path) -> None:
    url, folder = site
    (folder / "a.csv").write_bytes(TEXT)
    entry = Published("set/a.csv", sha256(TEXT), f"{url}/a.csv")
    assert published.content(entry, cache=nowhere) == TEXT
    assert [path.name for path in (nowhere / "set").iterdir()] == ["a.csv"]
    (folder / "a.csv").unlink()
    assert published.content(entry, cache=nowhere) == TEXT


def test_a_file_in_nested_archives_is_unpacked_and_checked(site: tuple[str, Path], nowhere: Path) -> None:
    url, folder = site
    inner = zipped(bank__full_dot_csv=TEXT, bank__other_dot_csv=b"x")
    (folder / "outer.zip").write_bytes(zipped(inner_dot_zip=inner))
    entry = Published("set/full.csv", sha256(TEXT), f"{url}/outer.zip", ("inner.zip", "full.csv"))
    assert published.content(entry, cache=nowhere) == TEXT
    assert (nowhere / "set" / "full.csv").read_bytes() == TEXT


def test_a_gzipped_download_is_checked_by_its_content(site: tuple[str, Path], nowhere: Path) -> None:
    url, folder = site
    (folder / "a.csv.gz").write_bytes(gzip.compress(TEXT))
    assert published.content(Published("a.csv", sha256(TEXT), f"{url}/a.csv.gz"), cache=nowhere) == TEXT


@pytest.mark.parametrize("packed", ["plain", "zip", "gz"])
def test_a_download_with_another_checksum_is_refused_and_not_kept(
    packed: str, site: tuple[str, Path], nowhere: Path
) -> None:
    url, folder = site
    served = {"plain": TEXT, "zip": zipped(a_dot_csv=TEXT), "gz": gzip.compress(TEXT)}[packed]
    name = {"plain": "a.csv", "zip": "a.zip", "gz": "a.csv.gz"}[packed]
    (folder / name).write_bytes(served)
    entry = Published("a.csv", sha256(TEXT + b"3;1\r\n"), f"{url}/{name}", ("a.csv",) if packed == "zip" else ())
    with pytest.raises(
        DataError, match=r"/a\.(csv|zip).*: the sha256 checksum of a\.csv is not the published [0-9a-f]{64}"
    ):
        published.content(entry, cache=nowhere)
    assert not nowhere.exists()


def test_a_damaged_archive_or_another_one_is_refused(site: tuple[str, Path], nowhere: Path) -> None:
    url, folder = site
    (folder / "a.zip").write_bytes(b"<html>moved</html>")
    (folder / "b.zip").write_bytes(zipped(other_dot_csv=TEXT))
    for name in ("a.zip", "b.zip"):
        entry = Published("set/a.csv", sha256(TEXT), f"{url}/{name}", ("a.csv",))
        with pytest.raises(
            DataError, match=r"is not the published archive, it holds no a\.csv; get the file elsewhere"
        ):
            published.content(entry, cache=nowhere)


def test_a_failed_download_says_where_to_put_the_file(site: tuple[str, Path], nowhere: Path) -> None:
    url, _ = site
    remedy = r"could not be downloaded \(.+\); .* put it at set/a\.csv below the folder named by CRM_REAL_DATA"
    with pytest.raises(EnvironmentFault, match=remedy):
        published.content(Published("set/a.csv", sha256(TEXT), f"{url}/none.csv"), cache=nowhere)
    with pytest.raises(EnvironmentFault, match=remedy):  # nobody listens there
        published.content(Published("set/a.csv", sha256(TEXT), "http://127.0.0.1:9/a.csv"), cache=nowhere)


def test_a_file_without_an_address_says_what_to_do(nowhere: Path) -> None:
    with pytest.raises(
        NotFoundError, match=r"M3\.parquet: not found .* save M1 and M3 of the R package Mcomp .* CRM_REAL_DATA"
    ):
        public.forecasting_competition("M3", cache=nowhere)


def test_the_folder_of_real_data_comes_before_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in (("real", b"real"), ("cache", b"cache")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv.gz").write_bytes(gzip.compress(data))
    monkeypatch.setenv("CRM_REAL_DATA", str(tmp_path / "real"))
    assert published.content(Published("a.csv"), cache=tmp_path / "cache") == b"real"
    monkeypatch.setenv("CRM_REAL_DATA", str(tmp_path / "elsewhere"))
    assert published.content(Published("a.csv"), cache=tmp_path / "cache") == b"cache"
    monkeypatch.delenv("CRM_REAL_DATA")
    monkeypatch.setenv("CRM_DATA", str(tmp_path / "data"))
    assert published.cache_folder() == tmp_path / "data" / "samples" / "public"


def test_a_found_file_that_was_changed_is_refused(nowhere: Path) -> None:
    nowhere.mkdir()
    (nowhere / "a.csv").write_bytes(TEXT)
    (nowhere / "b.csv.gz").write_bytes(gzip.compress(TEXT)[:-9])
    with pytest.raises(DataError, match=r"a\.csv: the sha256 checksum of a\.csv is not the published"):
        published.content(Published("a.csv", sha256(b"")), cache=nowhere)
    with pytest.raises(DataError, match=r"b\.csv\.gz: not a whole gzip file"):
        published.content(Published("b.csv", sha256(TEXT)), cache=nowhere)


def test_a_cache_that_cannot_be_written_is_named(site: tuple[str, Path], nowhere: Path) -> None:
    url, folder = site
    (folder / "a.csv").write_bytes(TEXT)
    nowhere.write_text("a file where the folder should be")
    with pytest.raises(EnvironmentFault, match=r"cannot be written \(.+\); free space, or give another folder"):
        published.content(Published("set/a.csv", sha256(TEXT), f"{url}/a.csv"), cache=nowhere)


def test_unknown_tables_and_mappings_are_named() -> None:
    with pytest.raises(
        UsageError, match="there is no table 'bank' in this data set; there are bank-additional-full, bank-full"
    ):
        public.bank_marketing("bank")
    with pytest.raises(UsageError, match="there is no mapping for 'cdnow'; there are berka and online_retail"):
        public.mapping("cdnow")


def test_a_converted_table_of_another_shape_is_refused(nowhere: Path) -> None:
    path = nowhere / "australia_hierarchical" / "tourism.parquet"
    path.parent.mkdir(parents=True)
    pd.DataFrame({"Trips": [1.0, 2.0]}).to_parquet(path)
    with pytest.raises(
        DataError, match="australia_hierarchical tourism: rows 2, published 24320; this is not the published"
    ):
        public.australia(cache=nowhere)


def test_the_spreadsheet_of_online_retail_is_converted_once(
    site: tuple[str, Path], nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The route of the publisher's archive, on three lines: they are read, kept, and refused as too few."""
    url, folder = site
    lines = pd.DataFrame(
        {
            "InvoiceNo": [536365, "C536379", 536380],
            "StockCode": ["85123A", "D", 22960],
            "Description": ["WHITE HEART", "Discount", None],
            "Quantity": [6, -1, 2],
            "InvoiceDate": pd.to_datetime(["2010-12-01 08:26", "2010-12-01 09:41", "2010-12-01 09:41"]),
            "UnitPrice": [2.55, 27.5, 4.25],
            "CustomerID": [17850, 14527, None],
            "Country": "United Kingdom",
        }
    )
    sheet = io.BytesIO()
    lines.to_excel(sheet, index=False)
    (folder / "retail.zip").write_bytes(zipped(**{"Online Retail_dot_xlsx": sheet.getvalue()}))
    digest = "md5:" + hashlib.md5(sheet.getvalue(), usedforsecurity=False).hexdigest()
    entry = Published(public.RETAIL_SHEET.file, digest, f"{url}/retail.zip", public.RETAIL_SHEET.member)
    monkeypatch.setattr(public, "RETAIL_SHEET", entry)
    with pytest.raises(DataError, match="online_retail: rows 3, published 541909"):
        public.online_retail(cache=nowhere)
    kept = pd.read_parquet(nowhere / public.RETAIL_TABLE.file)
    assert kept["InvoiceNo"].tolist() == ["536365", "C536379", "536380"]
    assert kept["StockCode"].tolist() == ["85123A", "D", "22960"]
    assert (str(kept["CustomerID"].dtype), str(kept["Quantity"].dtype)) == ("Int32", "int32")
    assert kept["InvoiceDate"].tolist() == lines["InvoiceDate"].tolist()


# ------------------------------------------------------------------------------------------------ the published facts


@real_data
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("loader", "name", "shape"),
    [
        (public.bank_marketing, "bank-additional-full", (41188, 21)),
        (public.bank_marketing, "bank-full", (45211, 17)),
        (public.cdnow, "purchases", (69659, 4)),
        (public.cdnow, "sample", (6919, 5)),
        (public.telco, "churn", (7043, 21)),
        (public.telco, "demographics", (7043, 9)),
        (public.telco, "location", (7043, 10)),
        (public.telco, "population", (1671, 3)),
        (public.telco, "services", (7043, 31)),
        (public.telco, "status", (7043, 12)),
        (public.berka, "account", (4500, 4)),
        (public.berka, "card", (892, 4)),
        (public.berka, "client", (5369, 3)),
        (public.berka, "disp", (5369, 4)),
        (public.berka, "district", (77, 16)),
        (public.berka, "loan", (682, 7)),
        (public.berka, "order", (6471, 6)),
        (public.forecasting_competition, "M1", (70457, 4)),
        (public.forecasting_competition, "M3", (236210, 4)),
        (public.australia, "tourism", (24320, 5)),
        (public.australia, "aus_retail", (64532, 5)),
        (public.febrl, "dataset1", (1000, 11)),
        (public.febrl, "dataset2", (5000, 11)),
        (public.febrl, "dataset3", (5000, 11)),
        (public.casdatasets_insurance, "eudirectlapse", (23060, 19)),
        (public.casdatasets_insurance, "freMPL1", (20600, 22)),
        (public.bayesm, "bank_choiceAtt", (14799, 16)),
        (public.bayesm, "bank_demo", (946, 4)),
        (public.bayesm, "cheese", (5555, 4)),
        (public.bayesm, "customerSat", (1811, 10)),
    ],
)
def test_each_table_has_its_published_shape(loader, name: str, shape: tuple[int, int], tmp_path: Path) -> None:
    assert loader(name, cache=tmp_path).shape == shape


@real_data
@pytest.mark.real_data
def test_published_totals_are_reproduced(tmp_path: Path) -> None:
    assert (public.bank_marketing()["y"] == "yes").sum() == 4640
    assert (public.bank_marketing("bank-full")["y"] == "yes").sum() == 5289
    purchases, sample = public.cdnow(), public.cdnow("sample")
    assert (purchases["users_id"].nunique(), purchases["cds"].sum()) == (23570, 167881)
    assert round(purchases["amt"].sum(), 2) == 2500315.63
    assert (str(purchases["date"].min().date()), str(sample["date"].max().date())) == ("1997-01-01", "1998-06-30")
    assert sample["users_id"].nunique() == 2357
    assert (public.telco()["Churn"] == "Yes").sum() == 1869
    assert public.bank_churn()["Exited"].sum() == 2037
    assert public.berka("loan")["status"].value_counts().to_dict() == {"C": 403, "A": 203, "D": 45, "B": 31}
    assert public.hillstrom().groupby("segment")["visit"].mean().round(6).to_dict() == {
        "Mens E-Mail": 0.182757,
        "No E-Mail": 0.106167,
        "Womens E-Mail": 0.151400,
    }
    assert public.forecasting_competition("M3")["unique_id"].nunique() == 3003
    assert public.casdatasets_insurance()["lapse"].sum() == 2954
    assert public.febrl("dataset1")["rec_id"].str.contains("dup").sum() == 500
    assert not list(tmp_path.iterdir())


@real_data
@pytest.mark.real_data
def test_online_retail_is_the_published_table() -> None:
    lines = public.online_retail()
    assert (lines["StockCode"].nunique(), lines["Country"].nunique()) == (4070, 38)
    assert (lines["CustomerID"].isna().sum(), lines["Description"].isna().sum()) == (135080, 1454)


# ------------------------------------------------------------------------------------------------ preparation of Berka


def test_birth_numbers_code_the_sex() -> None:
    found = berka.birth(pd.Series(["706213", "450204", "406009", "250101"]))
    assert found["birth_date"].tolist() == ["1970-12-13", "1945-02-04", "1940-10-09", "1925-01-01"]
    assert found["gender"].tolist() == ["female", "male", "female", "male"]


@given(st.dates(dt.date(1900, 1, 1), dt.date(1999, 12, 31)), st.booleans())
def test_birth_numbers_decode_to_what_was_coded(day: dt.date, female: bool) -> None:
    number = f"{day:%y}{day.month + 50 * female:02d}{day:%d}"
    found = berka.birth(pd.Series([number])).iloc[0]
    assert found.tolist() == [day.isoformat(), "female" if female else "male"]


def small_bank() -> dict[str, pd.DataFrame]:
    """Return two accounts: 1 of client 1 with a card and loan, where 2 disposes; 2 of client 3."""
    trans = [  # trans_id, account, date, type, operation, amount, balance, k_symbol, bank, account_to
        (1, 1, 930105, "PRIJEM", "VKLAD", 100.0, 100.0, "", None, None),
        (2, 1, 930131, "VYDAJ", "VYBER", 30.0, 72.5, "", None, None),  # the file's order is not that of the day
        (3, 1, 930131, "PRIJEM", "", 2.5, 102.5, "UROK", None, None),
        (4, 1, 930215, "VYDAJ", "PREVOD NA UCET", 20.0, 52.5, "SIPO", "AB", "77"),
        (5, 1, 930315, "VYDAJ", "PREVOD NA UCET", 20.0, 32.5, "SIPO", "AB", "77"),
        (6, 2, 930310, "VYBER", "VYBER", 5.0, -5.0, " ", None, None),
    ]
    columns = [
        "trans_id",
        "account_id",
        "date",
        "type",
        "operation",
        "amount",
        "balance",
        "k_symbol",
        "bank",
        "account",
    ]
    return {
        "trans": pd.DataFrame(trans, columns=columns).replace({"": None}),
        "account": pd.DataFrame(
            {"account_id": [1, 2], "district_id": [1, 2], "frequency": "", "date": [930105, 930301]}
        ),
        "client": pd.DataFrame(
            {"client_id": [1, 2, 3], "birth_number": ["706213", "450204", "300101"], "district_id": [2, 1, 1]}
        ),
        "disp": pd.DataFrame(
            {
                "disp_id": [1, 2, 3],
                "client_id": [1, 2, 3],
                "account_id": [1, 1, 2],
                "type": ["OWNER", "DISPONENT", "OWNER"],
            }
        ),
        "district": pd.DataFrame({"A1": [1, 2], "A2": ["Praha", "Beroun"], "A3": ["Prague", "Bohemia"]}),
        "card": pd.DataFrame({"card_id": [5], "disp_id": [2], "type": ["gold"], "issued": ["930401 00:00:00"]}),
        "loan": pd.DataFrame(
            {
                "loan_id": [7, 8],
                "account_id": [1, 2],
                "date": [930131, 930301],
                "amount": [1200, 2400],
                "duration": [1, 12],
                "payments": [1200.0, 200.0],
                "status": ["A", "C"],
            }
        ),
        "order": pd.DataFrame(
            {
                "order_id": [9, 10],
                "account_id": [1, 1],
                "bank_to": ["AB", "CD"],
                "account_to": ["77", "88"],
                "amount": [20.0, 5.0],
                "k_symbol": ["SIPO", " "],
            }
        ),
    }


def test_berka_holdings_belong_to_whom_the_source_says() -> None:
    given = small_bank()
    copies = {name: table.copy() for name, table in given.items()}
    made = berka.prepare(given)
    for name, table in given.items():
        pd.testing.assert_frame_equal(table, copies[name])
    assert made["accounts"][["holding", "client_id"]].to_numpy().tolist() == [["account-1", 1], ["account-2", 3]]
    assert made["cards"].to_dict("records") == [
        {"holding": "card-5", "client_id": 2, "product": "card_gold", "opened_on": "1993-04-01"}
    ]
    assert made["customers"]["since"].tolist() == ["1993-01-05", "1993-01-05", "1993-03-01"]
    assert made["customers"][["city", "branch"]].to_numpy().tolist() == [["Beroun", 1], ["Praha", 1], ["Praha", 2]]


def test_the_outcome_of_a_loan_is_its_closing_only() -> None:
    loans = berka.prepare(small_bank())["loans"].set_index("holding")
    assert loans.loc["loan-7", ["matures_on", "closed_on", "closed_reason"]].tolist() == [
        "1993-02-28",
        "1993-02-28",
        "repaid",
    ]
    assert loans.loc["loan-8", "matures_on"] == "1994-03-01"
    assert loans.loc["loan-8", ["closed_on", "closed_reason"]].isna().all()


def test_an_order_starts_with_its_first_transfer_or_is_left_out() -> None:
    orders = berka.prepare(small_bank())["orders"]
    assert orders[["holding", "product", "opened_on"]].to_numpy().tolist() == [
        ["order-9", "order_household", "1993-02-15"]
    ]


def test_what_leaves_the_account_is_negative() -> None:
    moved = berka.prepare(small_bank())["transactions"]
    assert moved["amount"].tolist() == [100.0, -30.0, 2.5, -20.0, -20.0, -5.0]
    assert moved["code"].tolist() == ["VKLAD", "VYBER", "UROK", "SIPO", "SIPO", "VYBER"]
    assert moved["counterparty"].tolist()[3] == "AB 77"


def test_month_end_balances_follow_the_chain_and_not_the_order_of_the_file() -> None:
    found = berka.balances(small_bank()["trans"])
    assert found[["account_id", "balance_date", "balance"]].to_numpy().tolist() == [
        [1, "1993-01-31", 72.5],
        [1, "1993-02-28", 52.5],
    ]  # March, the last month of a table that was cut, is left out


def last_of_chain(rows: pd.DataFrame) -> float:
    """Return the balance of a day that no other row of the day starts from; NaN where rounding hides it."""
    before = [round(100 * (balance - amount)) for balance, amount in zip(rows["balance"], rows["amount"], strict=True)]
    ends = []
    for balance in rows["balance"]:
        near = [start for start in before if abs(start - round(100 * balance)) <= 15]
        if near:
            before.remove(near[0])
        else:
            ends.append(balance)
    return ends[0] if len(ends) == 1 else float("nan")


@real_data
@pytest.mark.real_data
def test_month_end_balances_of_berka_agree_with_a_naive_walk_through_each_day() -> None:
    trans = public.berka("trans")
    found = berka.balances(trans)
    found = found[found["account_id"] % 5 == 0]
    rows = trans.assign(amount=trans["amount"].where(trans["type"] == "PRIJEM", -trans["amount"]))
    rows = rows[rows["account_id"].isin(found["account_id"])]
    rows["month"] = (pd.to_datetime("19" + rows["date"].astype("str")) + pd.offsets.MonthEnd(0)).dt.strftime("%Y-%m-%d")
    rows = rows[rows["date"] == rows.groupby(["account_id", "month"])["date"].transform("max")]
    naive = pd.Series({key: last_of_chain(day) for key, day in rows.groupby(["account_id", "month"])})
    naive = naive.reindex(pd.MultiIndex.from_frame(found[["account_id", "balance_date"]]))
    clear = naive.notna().to_numpy()
    assert clear.mean() > 0.99
    assert len(found) > 1500
    np.testing.assert_array_equal(found["balance"].to_numpy()[clear], naive.to_numpy()[clear])


# ------------------------------------------------------------------------------------------------ preparation of Online Retail


def test_online_retail_lines_keep_cancellations_and_anonymous_buyers() -> None:
    lines = pd.DataFrame(
        {
            "InvoiceNo": ["1", "1", "C2", "A3", "4"],
            "StockCode": ["85123A", "85123A", "85123A", "B", "POST"],
            "Description": ["HEART ", "HEART", "heart", "Adjust bad debt", None],
            "Quantity": np.array([2, 2, -2, 1, 1], dtype="int32"),
            "InvoiceDate": pd.to_datetime([f"2011-07-{day} 08:00" for day in ("01", "01", "02", "03", "04")]),
            "UnitPrice": [1.005, 1.005, 1.0, -11062.06, 18.0],
            "CustomerID": pd.array([7, 7, 7, None, 7], dtype="Int32"),
            "Country": ["Cyprus", "Cyprus", "Austria", "United Kingdom", "Austria"],
        }
    )
    copy = lines.copy()
    made = online_retail.prepare(lines)
    pd.testing.assert_frame_equal(lines, copy)
    assert made["lines"]["line"].tolist() == ["1-1", "1-2", "C2-1", "A3-1", "4-1"]
    assert made["lines"]["amount"].tolist() == [-201, -201, 200, 1106206, -1800]
    assert made["lines"]["kind"].tolist() == ["purchase", "purchase", "cancellation", "correction", "purchase"]
    people = made["customers"].set_index("customer")
    assert people.loc["7", "country"].tolist() == ["Cyprus", "Austria"]
    assert people.loc["7", "valid_from"].tolist() == [pd.Timestamp("2011-07-01"), pd.Timestamp("2011-07-02")]
    assert people.loc["anonymous", "closed_on"] == people.loc["anonymous", "since"] == pd.Timestamp("2011-07-03")
    assert people.loc["7", "closed_on"].isna().all()
    assert made["products"].set_index("stock_code")[["name", "group"]].to_dict("index") == {
        "85123A": {"name": "HEART", "group": "goods"},
        "B": {"name": "Adjust bad debt", "group": "charges"},
        "POST": {"name": "POST", "group": "charges"},
    }


# ------------------------------------------------------------------------------------------------ mappings and the example


@pytest.mark.parametrize("name", ["berka", "online_retail"])
def test_mappings_and_company_files_are_readable(name: str) -> None:
    path = public.mapping(name)
    assert mapping.read(path).sections
    assert company.read(path.with_name(f"{name}.company.toml")).consent_when_missing == "granted"


def test_the_files_of_the_example_are_what_its_script_writes(tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLE / "make_files.py"))["main"](tmp_path)
    for path in sorted(tmp_path.iterdir()):
        assert path.read_bytes() == (EXAMPLE / path.name).read_bytes(), path.name
    assert sum(path.stat().st_size for path in EXAMPLE.iterdir() if path.is_file()) < 200_000


def test_the_example_has_enough_to_train_on() -> None:
    purchases = pd.read_csv(EXAMPLE / "purchases.csv", sep=";", decimal=",", encoding="cp1250")
    customers = pd.read_csv(EXAMPLE / "customers.csv", sep=";", decimal=",", encoding="cp1250")
    day = pd.to_datetime(purchases["bought_on"], format="%d.%m.%Y")
    assert len(customers) >= 600
    assert (day.max() - day.min()).days > 24 * 30
    assert not purchases.duplicated(["client_no", "product"]).any()
    assert set(purchases["client_no"]) <= set(customers["client_no"])
    last_year = purchases.loc[day >= "2025-01-01", "product"].value_counts()
    assert len(last_year) >= 3
    assert last_year.min() >= 75
    settings = tomllib.loads((EXAMPLE / "company.toml").read_text(encoding="utf-8"))
    assert settings["consent_when_missing"] == company.read(EXAMPLE / "company.toml").consent_when_missing == "granted"


# ------------------------------------------------------------------------------------------------ through the loader


def load_into(data: Path, files: list[Path], plan: Path, settings: Path) -> tuple[warehouse.Warehouse, pd.DataFrame]:
    """Load files into a new data folder and return the version and the counts by table, all of which must add up."""
    data.mkdir()
    shutil.copy(settings, data / "company.toml")
    counts = warehouse.load(files, plan, data=data, recorded_at=dt.datetime(2026, 1, 2)).counts.set_index("table")
    assert (counts["accepted"] + counts["quarantined"] + counts["unchanged"]).tolist() == counts["input"].tolist()
    return warehouse.open(data / "warehouse"), counts


def test_the_example_loads_with_its_marks_and_dates(tmp_path: Path) -> None:
    files = sorted(EXAMPLE.glob("*.csv"))
    wh, counts = load_into(tmp_path / "data", files, EXAMPLE / "mapping.toml", EXAMPLE / "company.toml")
    rows = {path.stem: len(path.read_bytes().splitlines()) - 1 for path in files}
    wanted = {"customers": rows["customers"], "holdings": rows["purchases"], "products": rows["products"]}
    assert counts["accepted"].to_dict() == wanted
    first = wh.table("customers").set_index("customer_id").loc["1001"]
    assert (first["gender"], first["city"], first["income_minor"]) == ("female", "Brünn", 534244)
    assert first["birth_date"] == pd.Timestamp("1944-01-05")
    assert wh.table("products").set_index("product_id")["margin_minor"].to_dict() == {
        "SAV": 4000,
        "CARD": 9550,
        "CAR": 31000,
        "HOME": 12000,
        "TRAV": 1890,
    }
    assert (wh.company.name, wh.company.consent_when_missing) == ("Two-file savings bank", "granted")
    assert len(wh.snapshot("2024-12-31").table("holdings")) < rows["purchases"]


@real_data
@pytest.mark.real_data
def test_berka_loads_whole_and_keeps_its_published_counts(tmp_path: Path) -> None:
    plan = public.mapping("berka")
    files = public.berka_files(tmp_path / "files")
    wh, counts = load_into(tmp_path / "data", files, plan, plan.with_name("berka.company.toml"))
    assert counts["quarantined"].sum() == 0
    assert counts.loc[["branches", "customers"], "accepted"].tolist() == [77, 5369]
    holdings = wh.table("holdings")
    kinds = holdings["product_id"].str.partition("_")[0].value_counts()
    assert kinds[["account", "card", "loan"]].to_dict() == {"account": 4500, "card": 892, "loan": 682}
    assert holdings["closed_reason"].value_counts().to_dict() == {"repaid": 203, "defaulted": 31}
    trans = public.berka("trans")
    moved = wh.table("transactions")
    assert len(moved) == len(trans)
    signed = trans["amount"].where(trans["type"] == "PRIJEM", -trans["amount"])
    assert moved["amount_minor"].sum() == round(100 * signed.sum())
    assert moved["category"].notna().all()
    # A loan that was repaid in 1996 was running in 1995, and nobody knew how it would end.
    loan = wh.snapshot("1995-12-31").table("holdings").set_index("holding_id").loc["loan-5316"]
    assert (loan["amount_minor"], loan["closed_reason"]) == (16_596_000, pytest.approx(np.nan, nan_ok=True))
    assert loan["matures_on"] == pd.Timestamp("1996-07-11")


@real_data
@pytest.mark.real_data
def test_online_retail_loads_whole_and_keeps_its_published_totals(tmp_path: Path) -> None:
    plan = public.mapping("online_retail")
    files = public.online_retail_files(tmp_path / "files")
    wh, counts = load_into(tmp_path / "data", files, plan, plan.with_name("online_retail.company.toml"))
    assert counts.loc["transactions", ["accepted", "quarantined"]].tolist() == [541_909, 0]
    lines = wh.table("transactions")
    assert (lines["order_id"].nunique(), lines["product_id"].nunique()) == (25_900, 4070)
    assert lines["customer_id"].nunique() == 4372 + 1
    assert (lines["customer_id"] == online_retail.ANONYMOUS).sum() == 135_080
    assert lines["amount_minor"].sum() == pytest.approx(-974_774_793.4, abs=1000)  # each line is rounded to the penny
    assert (lines.loc[lines["category"] == "cancellation", "quantity"] < 0).all()
    times = lines["occurred_at"].dt.strftime("%Y-%m-%d %H:%M")
    assert (times.min(), times.max()) == ("2010-12-01 08:26", "2011-12-09 12:50")
    summer = public.online_retail().query("InvoiceDate >= '2011-06-01'")["InvoiceDate"].min()
    assert lines.loc[lines["occurred_at"] >= "2011-06-01", "occurred_at"].min() == summer - pd.Timedelta(hours=1)
    people = wh.snapshot("2011-02-28").table("customers").set_index("customer_id")
    assert people.loc["12370", "region"] == "Austria"
    assert people.loc[online_retail.ANONYMOUS, "closed_on"] == pd.Timestamp("2010-12-01")


def test_the_example_can_be_trained_and_scored(tmp_path: Path) -> None:
    """Three successive dates, as `crm train` takes them; what was planted is found on the last."""
    files = sorted(EXAMPLE.glob("*.csv"))
    wh, _ = load_into(tmp_path / "data", files, EXAMPLE / "mapping.toml", EXAMPLE / "company.toml")
    dates = [wh.snapshot(day) for day in ("2025-03-31", "2025-06-30", "2025-09-29")]
    train, tune, test = [(features.build(at), propensity.purchases(wh, after=at, within_days=90)) for at in dates]
    model = propensity.PropensityModel(seed=7).fit(*train, calibrate=tune)
    found = model.score(test[0]).merge(test[1], on=["customer_id", "product_id"], validate="one_to_one")
    assert found["product_id"].nunique() == 5
    assert roc_auc_score(found["bought"], found["score"]) > 0.7
