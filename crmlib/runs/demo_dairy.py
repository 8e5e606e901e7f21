"""The main job on the made-up dairy: load, forecast, effects, order proposals, deliveries due, staffing, notebooks."""

from __future__ import annotations

from pathlib import Path

from crmlib.runs import demand_jobs, jobs, replenishment_jobs
from crmlib.runs.lanes import lane
from crmlib.runs.stages import Stages, shown
from crmlib.samples import Sample

_NOTEBOOKS = ("09_demand_forecast", "10_price_and_promotion", "11_replenishment")


def run(sample: Sample, *, data: Path, seed: int, stages: Stages) -> None:
    """Load the sample dairy and do with it all that a wholesaler does."""
    jobs.load(list(sample.files), sample.mapping, data=data, company=sample.company, stages=stages)
    # What does not wait for the forecast runs beside it, in a process of its own.
    with lane(data) as beside:
        effects, staffing = beside("effects"), beside("staffing")
        demand_jobs.demand(data, stages=stages, seed=seed)
        replenishment_jobs.orders(data, stages=stages, seed=seed)
        replenishment_jobs.replenishment(data, stages=stages, seed=seed)
        with stages.stage("beside", "prices, promotions and calls, made beside the forecast") as stage:
            for line in [*effects.result(), *staffing.result()]:
                stage.say(line)
        with stages.stage("notebooks", "executed through papermill") as stage:
            for notebook in [beside("run", name) for name in _NOTEBOOKS]:
                notebook.result()
            stage.say(f"{len(_NOTEBOOKS)} executed copies in {shown(data / 'runs')}")
