"""How long customers stay and why they leave: curves, tests, person-periods and hazards by reason."""
