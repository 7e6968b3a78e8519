"""The commands of `eo` and how they hang together. Each lives with its kind: looking, acting, running,
judging, analysing, estimating."""

from __future__ import annotations

import typer

from energy_orchestrator.cli import (
    acting,
    alike,
    analysing,
    costing,
    describing,
    estimating,
    judging,
    looking,
    options,
    planning,
    running,
    saving,
)

EPILOG = (
    "Exit codes: 0 ok, 1 a negative answer (a broken log, a rollout or verdict that is not Successful), 2 wrong input, "
    "3 a needed part does not answer, 4 denied, 5 not found, 6 conflict with the present state. "
    "Settings: eo.toml or --config, then EO_* variables, then flags."
)
app = typer.Typer(
    name="eo",
    help="Energy Orchestrator: joules of every workload, and changes that save them.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    # Errors that people read are printed by `main`; the rest are faults and keep a plain traceback.
    pretty_exceptions_enable=False,
)


@app.callback()
def _root(config: options.Config = None) -> None:
    options.choose_config(config)


app.command()(running.up)
app.command()(running.doctor)
app.command()(looking.nodes)
looking.workloads.command("cost")(costing.cost)
looking.workloads.command("sci")(costing.sci)
app.add_typer(looking.workloads, name="workloads")
looking.recommendations.command("describe")(describing.describe)
looking.recommendations.command("plan")(planning.plan)
app.add_typer(looking.recommendations, name="recommendations")
app.command()(acting.approve)
app.command()(acting.refuse)
app.command()(acting.propose)
looking.rollouts.command("abort")(acting.abort)
looking.rollouts.command("retry")(acting.retry)
app.add_typer(looking.rollouts, name="rollouts")
app.command()(acting.pause)
app.command()(acting.resume)
app.add_typer(saving.savings, name="savings")
app.add_typer(looking.audit, name="audit")
app.command("import-runs")(acting.import_runs)
app.command()(judging.judge)
app.command()(analysing.analyze)
app.add_typer(alike.fingerprints, name="fingerprints")
app.add_typer(estimating.estimator, name="estimator")
