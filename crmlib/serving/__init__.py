"""The server of the dashboards: pages, kernels, who may come in."""
