"""A cluster of Linux network namespaces: nodes, pods, Services and names on one machine, with real packets."""
