"""Propensity boosters trained by several machines: XGBoost's own Dask integration over features in Parquet files.

The cluster grows the same booster as one machine does (``boost``), but on every customer, whose rows never meet in one
memory: each worker reads its parts of the files, and XGBoost adds up the histograms. The regression beside it learns from
a sample here. Files must lie where every worker reads them under the same name, and the workers need this package.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xgboost as xgb

from crmlib.errors import CrmError, DataError, EnvironmentFault, NotFoundError
from crmlib.models import boost, encode, learner, pairs
from crmlib.models.boost import Target
from crmlib.models.encode import Encoding
from crmlib.models.learner import Learner

if TYPE_CHECKING:
    import distributed

# ruff: noqa: PLC0415 - the packages of the extra "dask" are imported by those who use it

CONNECT_SECONDS = 30
LABELS = ["customer_id", "as_of", "product_id", "bought"]


@dataclass(frozen=True)
class Part:
    """One row group of a file of features, ``number`` in the order of all: what a worker takes at a time."""

    number: int
    file: str
    group: int
    rows: int
    labels: tuple[str, ...]
    products: tuple[str, ...]
    seed: int

    def read(self) -> tuple[pd.DataFrame, np.ndarray]:
        """Return the features and the outcomes (rows x products, and the pooled one where there are several).

        A part may have nobody who could buy anything; where that is so of all parts, ``train`` says so.
        """
        features = pq.ParquetFile(self.file).read_row_group(self.group).to_pandas()
        low, high = features["customer_id"].min(), features["customer_id"].max()
        between = (pc.field("customer_id") >= low) & (pc.field("customer_id") <= high)
        labels = pq.read_table(list(self.labels), columns=LABELS, filters=between).to_pandas()
        bought = pairs.matrix_of_part(labels, features, self.products)
        return features, bought if len(self.products) == 1 else np.column_stack([bought, bought.max(axis=1)])

    def held_out(self) -> np.ndarray:
        """Return which rows only judge when to stop; the same wherever it is asked."""
        return np.random.default_rng([self.seed, self.number]).random(self.rows) < learner.HELD_OUT


def train(
    address: str,
    features: Sequence[Path],
    labels: Sequence[Path],
    *,
    products: Sequence[str] | None = None,
    seed: int = 0,
) -> Learner:
    """Return the learner of all products, its booster grown on all customers by the Dask cluster at an address.

    In: Parquet files of features of one or more dates (customer_id, as_of, then features, as of ``crm features``) and of
    labels (customer_id, as_of, product_id, bought, as of ``propensity.purchases``), whose files are sorted by customer_id
    so that little of them is read for each part. ``products`` are all that somebody bought unless named.

    Raises NotFoundError for a missing file, DataError for files that cannot be used, EnvironmentFault where there is no
    cluster, no worker, or a worker that lacks the files or this package.
    """
    chosen = tuple(products or sold(labels))
    parts = _parts(features, labels, chosen, seed)
    with _client(address) as client, _sentences(address):
        given = client.gather(client.map(_drawn, parts, share=learner.MAX_ROWS / sum(part.rows for part in parts)))
        drawn = [one for one in given if len(one[1])]
        if not drawn:
            raise DataError(
                "no label belongs to a row of the features; make both as of the same date for the same customers"
            )
        table, bought, weights = (_joined([one[place] for one in drawn]) for place in range(3))
        encoding = encode.fit(table)
        start = learner.log_odds_of(sum(one[3] for one in drawn), sum(one[4] for one in drawn))
        booster, rounds = _grow(client, parts, encoding, start[None], seed=seed)
    design = encoding.linear_matrix(encoding.tree_matrix(table))
    held_out = np.random.default_rng(seed).random(len(table)) < learner.HELD_OUT
    coefficients, penalty = learner.regression(design, Target(bought, weights, start[None]), held_out, refit=True)
    return Learner(encoding, booster, coefficients, start, rounds, penalty)


def sold(labels: Iterable[Path]) -> list[str]:
    """Return the products that somebody bought by the files of labels, in order; errors as of ``train``."""
    files = [str(file) for file in labels]
    with _readable(files):
        found = pq.read_table(files, columns=["product_id"], filters=pc.field("bought"))["product_id"]
    names = sorted({str(name) for name in pc.unique(found).to_pylist()})
    if not names:
        raise DataError(f"{', '.join(files)}: nobody bought anything by these labels; take another period")
    return names


def _parts(features: Sequence[Path], labels: Sequence[Path], products: tuple[str, ...], seed: int) -> list[Part]:
    """Return the row groups of the files of features."""
    found: list[Part] = []
    given = tuple(str(Path(file).absolute()) for file in labels)
    for file in features:
        path = str(Path(file).absolute())
        with _readable([path]):
            meta = pq.read_metadata(path)
        for group in range(meta.num_row_groups):
            found.append(Part(len(found), path, group, meta.row_group(group).num_rows, given, products, seed))
    if not found:
        raise DataError("there are no features to learn from; name at least one Parquet file that has rows")
    return found


@contextmanager
def _readable(files: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{error.filename or ', '.join(files)}: there is no such file; check the name") from error
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        said = str(error).splitlines()[0]
        raise DataError(f"{', '.join(files)}: not usable ({said}); make it again") from error


def _drawn(part: Part, share: float) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return a sample of a part (features, outcomes, weights), and how many bought and could have, by outcome."""
    features, bought = part.read()
    limit = max(1, round(part.rows * min(share, 1.0)))
    rows, weights = learner.sample(bought, limit, np.random.default_rng([part.seed, part.number, 1]))
    return features.iloc[rows], bought[rows], weights, (bought == 1).sum(axis=0), (bought >= 0).sum(axis=0)


def _joined(pieces: list[Any]) -> Any:
    if isinstance(pieces[0], pd.DataFrame):
        return pd.concat(pieces, ignore_index=True)
    return np.concatenate(pieces)


def _grow(
    client: distributed.Client, parts: list[Part], encoding: Encoding, start: np.ndarray, *, seed: int
) -> tuple[xgb.Booster, np.ndarray]:
    """Return the booster grown on the rows that are not held out, and the rounds of each outcome."""
    from xgboost import dask as dxgb

    outcomes = start.shape[1]
    both = [_arrays(parts, encoding, outcomes, held_out=held_out) for held_out in (False, True)]
    given = {"feature_types": encoding.tree_types, "enable_categorical": True, "max_bin": boost.PARAMETERS["max_bin"]}
    data = dxgb.DaskQuantileDMatrix(client, *both[0], **given)
    judge = dxgb.DaskQuantileDMatrix(client, *both[1], **given, ref=data)
    watch = _Watch(start)
    parameters, most = boost.settings(outcomes)
    found = dxgb.train(
        client,
        {**parameters, "seed": seed},
        data,
        most,
        obj=watch.objective,
        evals=[(judge, "held_out")],
        custom_metric=watch.metric,
        callbacks=[watch],
        verbose_eval=False,
    )
    booster: xgb.Booster = found["booster"]
    best = np.array(json.loads(booster.attr("best") or "[]"), dtype=np.int64)
    booster.set_attr(best=None)
    return booster, best + 1


def _arrays(parts: list[Part], encoding: Encoding, outcomes: int, *, held_out: bool) -> tuple[Any, Any]:
    """Return the tree matrix and the outcomes of all parts as Dask arrays whose blocks the workers make."""
    import dask
    from dask import array as da

    blocks: tuple[list[Any], list[Any]] = ([], [])
    for part in parts:
        rows = int((part.held_out() == held_out).sum())
        made = dask.delayed(_matrices, nout=2)(part, encoding, held_out)
        for place, width in ((0, len(encoding.columns)), (1, outcomes)):
            blocks[place].append(da.from_delayed(made[place], (rows, width), np.float32))
    return da.concatenate(blocks[0]), da.concatenate(blocks[1])


def _matrices(part: Part, encoding: Encoding, held_out: bool) -> tuple[np.ndarray, np.ndarray]:
    features, bought = part.read()
    rows = np.flatnonzero(part.held_out() == held_out)
    return encoding.tree_matrix(features.iloc[rows]), bought[rows].astype(np.float32)


class _Watch(xgb.callback.TrainingCallback):
    """The masked objective of a worker's own rows, and the decision, alike on every worker, when an outcome stops.

    As in ``boost``: an outcome whose loss on all workers' held-out rows has not improved for some rounds grows no more.
    """

    def __init__(self, start: np.ndarray) -> None:
        super().__init__()
        outcomes = start.shape[1]
        self.start, self.round = start, 0
        self.best, self.growing = np.full(outcomes, -1), np.ones(outcomes, dtype=bool)
        self.lowest = np.zeros(outcomes)
        self.own: Target | None = None
        self.judge: Target | None = None

    def _target(self, data: xgb.DMatrix) -> Target:
        """Return the outcomes that XGBoost keeps with a worker's rows."""
        bought = data.get_label().reshape(-1, len(self.best)).astype(np.int8)
        return Target(bought, np.ones(len(bought), dtype=np.float32), self.start)

    def objective(self, margins: np.ndarray, data: xgb.DMatrix) -> tuple[np.ndarray, np.ndarray]:
        self.own = self.own or self._target(data)
        gradient, curvature = self.own.slope_and_curvature(margins)
        return gradient * self.growing, curvature * self.growing

    def metric(self, margins: np.ndarray, data: xgb.DMatrix) -> tuple[str, float]:
        if self.judge is None:
            self.judge = self._target(data)
            self.lowest = _summed(self.judge.losses(np.zeros(self.judge.bought.shape)))
        losses = _summed(self.judge.losses(margins))
        better = losses < self.lowest
        self.lowest = np.where(better, losses, self.lowest)
        self.best = np.where(better, self.round, self.best)
        return "loss", float(losses.sum())

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: object) -> bool:
        self.round = epoch + 1
        self.growing &= self.best >= epoch - boost.PATIENCE
        return not self.growing.any()

    def after_training(self, model: xgb.Booster) -> xgb.Booster:
        model.set_attr(best=json.dumps(self.best.tolist()))
        return model


def _summed(losses: np.ndarray) -> np.ndarray:
    return xgb.collective.allreduce(losses.astype(np.float64), xgb.collective.Op.SUM)


@contextmanager
def _client(address: str) -> Iterator[distributed.Client]:
    """Connect to a scheduler with at least one worker."""
    try:
        import distributed
        from xgboost import dask as _dask  # noqa: F401 - said now, not when half of the work is done
    except ImportError as error:
        raise EnvironmentFault(f"{error.name} is not installed; write `pip install 'crmlib[dask]'`") from error
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise EnvironmentFault(
            f"{address}: no connection to a Dask scheduler; check the address, which looks like tcp://HOST:8786"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise EnvironmentFault(f"{address}: the Dask scheduler has no worker; start some") from error
        yield client


@contextmanager
def _sentences(address: str) -> Iterator[None]:
    """Say in one sentence what a worker could not do."""
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except CrmError:
        raise
    # What is seen of a worker's death depends on what it did then: a task of its own, or its share of a tree.
    except (KilledWorker, CommClosedError, CancelledError, xgb.core.XGBoostError) as error:
        raise EnvironmentFault(
            f"{address}: a worker was lost or failed ({str(error).strip().splitlines()[0][:200]}); look at the workers' logs, "
            "give them more memory where they ran out of it, and train again"
        ) from error
    except FileNotFoundError as error:
        raise EnvironmentFault(
            f"{address}: a worker finds no {error.filename or error}; put the files where every worker reads them under the "
            "same name"
        ) from error
    except ModuleNotFoundError as error:
        raise EnvironmentFault(
            f"{address}: a worker has no {error.name}; install the same crmlib on every worker"
        ) from error
