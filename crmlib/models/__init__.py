"""What will the customers do: propensity, how good it is, why, and where it is kept."""

import os

# XGBoost's threads otherwise wait for each other by spinning. Where anything else runs on the machine, training then
# takes several times the CPU (measured: 75 s against 17 s beside one other process). Read when libgomp is first loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
