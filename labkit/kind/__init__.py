"""Arms on this machine, with Docker: kind writes the clusters, helm or cilium their network."""
