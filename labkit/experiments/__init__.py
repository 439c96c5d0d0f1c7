"""Changes of a cluster, always undone: the workload, and the steps that a run brings an arm into."""
