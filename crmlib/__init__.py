"""An analytical CRM workbench: from a company's files to a marketer's call list.

The modules a notebook needs are reachable flat: ``from crmlib import features, metrics, plots, propensity, warehouse``.
They are imported on first use, so that a dashboard pays only for what it shows.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

# Threads of the linear algebra library wait by spinning: on matrices as thin as ours they cost twelve times what they
# save as soon as anything else runs (measured: a logistic regression of 20,000 rows, 0.79 against 0.07 CPU seconds).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# XGBoost's threads spin too while they wait for each other: beside one other process training took several times the CPU
# (measured: 75 against 17 s, and 32 against 7 s). Read when libgomp is first loaded, so it is said here, before anything else.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# jsonschema, which papermill and plotly's renderers bring in, offers to check the format "iri" with this package, and that
# one compiles a grammar when it is imported: 1.5 s of every notebook and of its runner, for a format none of them has.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

__version__ = "0.1.0"

_MODULES = {
    "audiences": "crmlib.decisions.audiences",
    "call_list": "crmlib.decisions.call_list",
    "campaigns": "crmlib.decisions.campaigns",
    "churn": "crmlib.models.churn",
    "customer_value": "crmlib.models.customer_value",
    "demand": "crmlib.models.demand",
    "desk": "crmlib.decisions.desk",
    "effect_words": "crmlib.views.effect_words",
    "eligibility": "crmlib.decisions.eligibility",
    "experiments": "crmlib.decisions.experiments",
    "export": "crmlib.decisions.export",
    "features": "crmlib.features",
    "field_worth": "crmlib.decisions.field_worth",
    "lab": "crmlib.runs.lab",
    "lifecycle": "crmlib.models.lifecycle",
    "lifetime": "crmlib.models.lifetime",
    "live": "crmlib.models.live",
    "loyalty": "crmlib.models.loyalty",
    "match": "crmlib.decisions.match",
    "matrices": "crmlib.decisions.matrices",
    "metrics": "crmlib.models.metrics",
    "offers": "crmlib.decisions.offers",
    "orders": "crmlib.decisions.orders",
    "panels": "crmlib.views.panels",
    "plots": "crmlib.views.plots",
    "plots_effects": "crmlib.views.plots_effects",
    "points": "crmlib.models.points",
    "policy": "crmlib.decisions.policy",
    "policy_value": "crmlib.models.policy_value",
    "promotion_plan": "crmlib.decisions.promotion_plan",
    "propensity": "crmlib.models.propensity",
    "qini": "crmlib.models.qini",
    "registry": "crmlib.models.registry",
    "replenishment": "crmlib.models.replenishment",
    "retention": "crmlib.decisions.retention",
    "sales": "crmlib.models.sales",
    "samples": "crmlib.samples",
    "secrets": "crmlib.runs.secrets",
    "segments": "crmlib.models.segments",
    "staffing": "crmlib.decisions.staffing",
    "survival": "crmlib.models.survival",
    "uplift": "crmlib.models.uplift",
    "value": "crmlib.decisions.value",
    "visits": "crmlib.decisions.visits",
    "warehouse": "crmlib.warehouse",
    "work_list": "crmlib.decisions.work_list",
}

__all__ = ["__version__", *_MODULES]  # noqa: PLE0604

if TYPE_CHECKING:
    from crmlib import features, samples, warehouse
    from crmlib.decisions import (
        audiences,
        call_list,
        campaigns,
        desk,
        eligibility,
        experiments,
        export,
        field_worth,
        match,
        matrices,
        offers,
        orders,
        policy,
        promotion_plan,
        retention,
        staffing,
        value,
        visits,
        work_list,
    )
    from crmlib.models import (
        churn,
        customer_value,
        demand,
        lifecycle,
        lifetime,
        live,
        loyalty,
        metrics,
        points,
        policy_value,
        propensity,
        qini,
        registry,
        replenishment,
        sales,
        segments,
        survival,
        uplift,
    )
    from crmlib.runs import lab, secrets
    from crmlib.views import effect_words, panels, plots, plots_effects


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module crmlib has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
