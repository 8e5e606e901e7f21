"""A cheaper scorer that imitates a fitted propensity model: a straight line and a few deep trees for each product.

What a model knows can be taught to a smaller one by its answers instead of by outcomes (Bucila, Caruana & Niculescu-Mizil
2006; Hinton, Vinyals & Dean 2015, pages 1-4). The answers, log-odds of each product, are free of chance, so that large steps
do no harm: a dozen deep trees say most of what the model needs up to a hundred for. A straight line per product comes first,
for trees are poor at it. Customers count by the root of their chance: an ordering of buyers is lost where buyers are. Each
product has trees of its own, for each asks for splits of its own.

What is lost is measured on customers who neither taught nor calibrated. A product that would lose more than ``MOST_LOST`` of
AUC, or has too few buyers among them to tell, keeps its own trees.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xgboost as xgb
from scipy.special import expit

from crmlib.errors import DataError, NotFoundError
from crmlib.models import calibration, learner, linear, metrics, pairs, propensity
from crmlib.models.propensity import Fitted, PropensityModel

if TYPE_CHECKING:
    from crmlib.models.encode import Encoding
    from crmlib.models.registry import Registered

NAME = "propensity_fast"
COMMAND = "crm train --fast"
_FILES = "fast_booster.ubj", "fast_student.json", "fast_judged.parquet"
MOST_LOST = 0.002
_TAUGHT_ROWS, _JUDGED_ROWS = 300_000, 200_000
_JUDGED_BUYERS = 300  # the difference of two AUCs has a standard deviation of about .0015 then; of few, chance decides
_ROUNDS, _BINS = 16, 64
_GROWTH: dict[str, object] = {
    "tree_method": "hist",
    "multi_strategy": "one_output_per_tree",
    "objective": "reg:squarederror",  # replaced by the weighted one below
    "base_score": 0.0,
    "max_bin": _BINS,
    "max_depth": 7,
    "learning_rate": 0.5,
    "reg_lambda": 1.0,
    "min_child_weight": 5.0,
}
_RIDGE = 1.0
_PRIOR = calibration.Prior(
    mean=np.array([0.0, 1.0]), spread=np.array([1.0, 0.3]), deviation=np.array([0.2, 0.1])
)  # of the constant and the slope, before outcomes are seen


@dataclass(frozen=True)
class Student:
    """What imitates: a line and trees per product, those in units of ``scales``, and a calibration."""

    products: list[str]
    encoding: Encoding
    coefficients: np.ndarray
    booster: xgb.Booster
    scales: np.ndarray
    calibration: calibration.Calibration

    def raw(self, tree: np.ndarray) -> np.ndarray:
        """Return the log-odds as imitated (rows x products), before the calibration."""
        leaves = self.booster.inplace_predict(tree, predict_type="margin", validate_features=False)
        lines = linear.exact_margins(self.coefficients, self.encoding.linear_columns(tree))
        return lines + leaves.reshape(len(tree), -1) * self.scales

    def logits_of(self, tree: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the calibrated log-odds and their standard deviations (rows x products)."""
        return self.calibration.line([self.raw(tree)])


@dataclass(frozen=True)
class Distilled:
    """A model and its imitation, which answers for every product but those that would lose too much.

    Attributes: ``judged``, a row per product: product_id, customers, buyers, auc, auc_fast, lost, scorer ("fast" or
    "full"); ``rest``, the part of the model for the others, None where there are none.
    """

    products: list[str]
    student: Student
    rest: Fitted | None
    judged: pd.DataFrame = field(repr=False)

    @property
    def encoding(self) -> Encoding:
        """How feature tables become numbers."""
        return self.student.encoding

    def score(self, features: pd.DataFrame, candidates: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the same table as ``PropensityModel.score``, with "propensity_fast" as the model."""
        return propensity.table(self, features, candidates, name=NAME)

    @property
    def lost(self) -> float:
        """The AUC lost in the mean of all products; those that keep their own trees lose nothing."""
        return float(self.judged["lost"].where(self.judged["scorer"] == "fast", 0.0).mean())

    def logits_of(self, tree: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the calibrated log-odds and their standard deviations (rows x products)."""
        found = self.student.logits_of(tree)
        if self.rest is not None:
            places = [self.products.index(name) for name in self.rest.products]
            for mine, own in zip(found, self.rest.logits_of(tree), strict=True):
                mine[:, places] = own
        return found

    def write(self, folder: Path) -> Sequence[str]:
        """Write what the imitation consists of into a folder, its model's own (``registry.save``); return the names."""
        student = self.student
        content: dict[str, Any] = {
            "format_version": 1,
            "coefficients": student.coefficients.tolist(),
            "scales": student.scales.tolist(),
            "calibration": {name: values.tolist() for name, values in vars(student.calibration).items()},
        }
        booster, numbers, judged = (folder / name for name in _FILES)
        booster.write_bytes(student.booster.save_raw("ubj"))
        numbers.write_text(json.dumps(content), encoding="utf-8")
        self.judged.to_parquet(judged, index=False)
        return _FILES


def distil(
    model: PropensityModel,
    features: pd.DataFrame,
    *,
    calibrate: tuple[pd.DataFrame, pd.DataFrame],
    seed: int = 0,
    nthread: int | None = None,
) -> Distilled:
    """Return a cheaper scorer taught by a model's answers about the customers in ``features``.

    ``calibrate``: features and labels (``purchases``) of a later date, as given to ``PropensityModel.fit``; of a random half
    of those customers the outcomes calibrate the student, on the other half it is compared with its model. Raises DataError for
    a model of one outcome, whose trees there is nothing to put together of.
    """
    fitted = model.fitted_
    check(fitted.products)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(features))[:_TAUGHT_ROWS])
    student = _taught(fitted, features.iloc[rows], seed=seed, nthread=nthread)
    bought = pairs.matrix(calibrate[1], calibrate[0], fitted.products)
    judges = rng.random(len(bought)) < 0.5
    used, weights = learner.sample(np.where(judges[:, None], -1, bought), _JUDGED_ROWS, rng)
    student = _calibrated(student, calibrate[0].iloc[used], bought[used], weights)
    asked = np.sort(rng.permutation(np.flatnonzero(judges))[:_JUDGED_ROWS])
    return _joined(fitted, student, _judged(fitted, student, calibrate[0].iloc[asked], bought[asked]))


def check(products: Sequence[str]) -> None:
    """Raise DataError where there are too few products for an imitation to be cheaper than its model."""
    if len(products) < 2:
        raise DataError(
            "a model of one outcome is as quick as any imitation of it; train and score without --fast, with the model itself"
        )


def _taught(fitted: Fitted, features: pd.DataFrame, *, seed: int, nthread: int | None) -> Student:
    encoding = fitted.encoding
    tree = encoding.tree_matrix(features)
    answers = _logit(fitted, tree)
    weights = np.sqrt(expit(answers))
    weights /= weights.mean(axis=0)
    design = np.column_stack([encoding.linear_matrix(tree).astype(np.float64), np.ones(len(tree))])
    coefficients = np.column_stack([_line(design, *one) for one in zip(answers.T, weights.T, strict=True)])
    left = answers - design @ coefficients
    scales = np.maximum(np.sqrt((weights * left**2).mean(axis=0)), 1e-9)
    booster = _grown(tree, left / scales, weights, seed=seed, nthread=nthread)
    none = calibration.Calibration(*[np.zeros(0)] * 4)
    return Student(fitted.products, encoding, coefficients, booster, scales, none)


def _line(design: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    weighted = design * weights[:, None]
    return np.linalg.solve(weighted.T @ design + _RIDGE * np.eye(design.shape[1]), weighted.T @ answers)


def _grown(tree: np.ndarray, wanted: np.ndarray, weights: np.ndarray, *, seed: int, nthread: int | None) -> xgb.Booster:
    wanted, weights = wanted.astype(np.float32), weights.astype(np.float32)

    def squares(found: np.ndarray, _: xgb.DMatrix) -> tuple[np.ndarray, np.ndarray]:
        return weights * (found.reshape(wanted.shape) - wanted), weights

    data = xgb.QuantileDMatrix(tree, label=wanted, max_bin=_BINS, nthread=nthread)
    return xgb.train({**_GROWTH, "seed": seed, "nthread": nthread or 0}, data, _ROUNDS, obj=squares, verbose_eval=False)


def _in_blocks(call: Callable[[np.ndarray], np.ndarray], tree: np.ndarray) -> np.ndarray:
    starts = range(0, len(tree), learner.CHUNK)
    return np.concatenate([call(tree[first : first + learner.CHUNK]) for first in starts])


def _logit(scorer: propensity.Scorer, tree: np.ndarray) -> np.ndarray:
    return _in_blocks(lambda part: scorer.logits_of(part)[0], tree)


def _calibrated(student: Student, features: pd.DataFrame, bought: np.ndarray, weights: np.ndarray) -> Student:
    raw = _in_blocks(student.raw, student.encoding.tree_matrix(features))
    samples = []
    for place in range(len(student.products)):
        able = bought[:, place] >= 0
        inputs = np.column_stack([np.ones(int(able.sum())), raw[able, place]])
        samples.append(calibration.Sample(inputs, bought[able, place] == 1, weights[able], 0.0))
    return replace(student, calibration=calibration.fit(samples, _PRIOR))


def _judged(fitted: Fitted, student: Student, features: pd.DataFrame, bought: np.ndarray) -> pd.DataFrame:
    """Return how well the model and its imitation tell buyers from others, and who is to score each product."""
    tree = student.encoding.tree_matrix(features)
    full, fast = _logit(fitted, tree), _logit(student, tree)
    rows = []
    for place, name in enumerate(student.products):
        able = bought[:, place] >= 0
        yes = bought[able, place] == 1
        told = yes.any() and not yes.all()
        two = [metrics.auc(yes, each[able, place]).value if told else np.nan for each in (full, fast)]
        kept = "fast" if yes.sum() >= _JUDGED_BUYERS and two[0] - two[1] <= MOST_LOST else "full"
        rows.append((name, int(able.sum()), int(yes.sum()), *two, two[0] - two[1], kept))
    return pd.DataFrame(rows, columns=["product_id", "customers", "buyers", "auc", "auc_fast", "lost", "scorer"])


def _joined(fitted: Fitted, student: Student, judged: pd.DataFrame) -> Distilled:
    slow = judged.loc[judged["scorer"] == "full", "product_id"].tolist()
    return Distilled(fitted.products, student, fitted.only(slow) if slow else None, judged)


# ---------------------------------------------------------------- files


def load(saved: Registered) -> Distilled:
    """Return the imitation that was saved with a model; raises NotFoundError where there is none.

    ``registry.load`` has checked its files, as it does all of a model's.
    """
    if not (saved.folder / _FILES[0]).exists():
        raise NotFoundError(
            f"model version {saved.version} has no cheaper scorer; train with `{COMMAND}`, or score without --fast"
        )
    return read(saved.folder, saved.model)


def read(folder: Path, model: PropensityModel) -> Distilled:
    """Return what ``write`` wrote; ``model`` is the one that was imitated."""
    files = [folder / name for name in _FILES]
    content = json.loads(files[1].read_text(encoding="utf-8"))
    booster = xgb.Booster()
    booster.load_model(bytearray(files[0].read_bytes()))
    arrays = {name: np.array(values) for name, values in content["calibration"].items()}
    fitted = model.fitted_
    student = Student(
        fitted.products,
        fitted.encoding,
        np.array(content["coefficients"]),
        booster,
        np.array(content["scales"]),
        calibration.Calibration(**arrays),
    )
    return _joined(fitted, student, pd.read_parquet(files[2]))
