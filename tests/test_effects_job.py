"""The job `crm effects` on a small sample dairy: what it saves, what it finds of the planted truth; the document's example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crmlib import samples
from crmlib.errors import DataError
from crmlib.runs import effects_jobs, jobs
from crmlib.runs.stages import Stages
from crmlib.store import score_sets
from crmlib.warehouse import build, snapshot

PAGE = Path(__file__).parents[1] / "docs" / "price_and_promotion.md"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("effects")
    sample = samples.dairy(outlets=16, years=2, seed=5, folder=data / "samples" / "dairy")
    jobs.load(list(sample.files), sample.mapping, data=data, company=sample.company, stages=Stages())
    effects_jobs.effects(data, stages=Stages())
    return data


def read(home: Path, name: str) -> pd.DataFrame:
    return score_sets.beside(home, score_sets.newest(home, "price_effects"), name)


def truth(home: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(home / "samples" / "dairy" / "truth" / name)


def test_effects_found_are_those_planted(home: Path) -> None:
    table = score_sets.read(home, score_sets.newest(home, "price_effects"))
    planted = truth(home, "effects").set_index("product_id")
    for measure, column in (("price_elasticity", "elasticity"), ("promotion_uplift", "uplift")):
        rows = table[(table["measure"] == measure) & (table["region"] == "") & (table["method"] == "pooled")]
        rows = rows[rows["product_id"] != ""]
        true = rows["product_id"].map(planted[column])
        assert len(rows) >= 18
        assert ((rows["low"] <= true) & (true <= rows["high"])).mean() >= 0.8


def test_past_promotions_agree_with_the_planted_pieces(home: Path) -> None:
    both = read(home, "promotions").merge(
        truth(home, "promotions"), on=["promotion_id", "product_id", "region"], validate="one_to_one"
    )
    assert len(both) > 200
    assert np.corrcoef(both["uplift_pieces"], both["uplift"])[0, 1] > 0.95
    assert both["uplift_pieces"].sum() == pytest.approx(both["uplift"].sum(), rel=0.15)
    assert np.isfinite(both["profit_minor"]).all()
    assert (both["profit_low_minor"] <= both["profit_high_minor"]).all()
    assert set(read(home, "left_out")["code"]) <= {"not_ended", "no_series_or_effect"}


def test_sales_analysis_is_saved_and_adds_up(home: Path) -> None:
    share, mix = read(home, "share"), read(home, "mix")
    assert share.groupby(["period", "product_group", "region"])["value_share"].sum().to_numpy() == pytest.approx(1.0)
    parts = mix[[f"{name}_minor" for name in ("price", "volume", "mix", "new", "gone")]].sum(axis=1)
    np.testing.assert_allclose(parts, mix["change_minor"], atol=1e-3)
    assert {"own", "Hillside", "Bluebell"} == set(mix["maker"])
    assert read(home, "price_position")["index"].between(30, 300).all()
    assert read(home, "usual_weeks").groupby("series_id").size().eq(effects_jobs.USUAL).all()


def test_the_usual_week_has_the_interval_of_one_more_week() -> None:
    """Eight weeks tell their spread only roughly: Student's t of seven degrees of freedom, and the mean's own error."""
    weeks = pd.date_range("2025-01-06", periods=8, freq="W-MON")
    keys = {"series_id": "a", "product_id": "a", "product_group": "g", "region": "r", "period": weeks}
    table = pd.DataFrame({**keys, "quantity": [90.0, 110.0] * 4, "promotion": 0.0, "weight": 1.0})
    row = effects_jobs._usual_weeks(table).iloc[0]
    assert row["mean"] == 100
    assert row["high_95"] - 100 == pytest.approx(2.364624 * table["quantity"].std() * np.sqrt(9 / 8), rel=1e-6)
    assert 100 - row["low_80"] == pytest.approx(1.414924 * table["quantity"].std() * np.sqrt(9 / 8), rel=1e-6)


def test_a_company_without_outlets_is_told_so(tmp_path: Path) -> None:
    frames = {
        "holdings": pd.DataFrame(
            {"holding_id": ["h"], "customer_id": "c", "product_id": "p", "opened_on": "2025-01-01"}
        )
    }
    build.from_frames(tmp_path / "v.duckdb", frames)
    with pytest.raises(
        DataError, match=r"outlet_sales holds no sales as of 2025-01-01 \(found 0 rows, need 1\): .* load them"
    ):
        effects_jobs._series(snapshot.open_file(tmp_path / "v.duckdb").snapshot("2025-01-01"))


def test_the_documents_example() -> None:
    known: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)[0], known)
    changed = known["changed"]
    assert changed.loc[0, ["ratio", "ratio_low", "ratio_high"]].astype(float).round(2).tolist() == [1.67, 1.51, 1.86]
    assert changed["mean"].tolist()[1:] == [1000.0] * 3
