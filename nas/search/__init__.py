"""The search over architectures, by Optuna's samplers."""
