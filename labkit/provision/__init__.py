"""What every provider of clusters shares: the plan, its cost, what was done so far, and the kubeconfig."""
