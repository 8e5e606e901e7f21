"""What will the customers do: propensity, how good it is, why, and where it is kept."""
