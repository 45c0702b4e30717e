"""What the operator makes in the cluster, as pure functions from a run to manifests."""
