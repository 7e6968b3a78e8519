"""`python -m energy_orchestrator.cli`: the same as `eo`."""

from energy_orchestrator.cli import main

main()
