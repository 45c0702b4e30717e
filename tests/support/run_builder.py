"""Fluent builders of SELMRuns for tests: `make_run().with_iterations(3).offline(1).obj()`."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]


class RunBuilder:
    """A small valid SELMRun; every method returns the builder."""

    def __init__(self, name: str) -> None:
        self.run: Json = {
            "apiVersion": "selm.dev/v1alpha1",
            "kind": "SELMRun",
            "metadata": {"name": name, "namespace": "default", "uid": f"{name}-uid", "generation": 1},
            "spec": {
                "iterations": 1,
                "model": {"uri": "s3://selm/models/tiny"},
                "data": {"uri": "s3://selm/data/prefs.jsonl", "portions": 3},
                "scoring": {"scorers": [{"name": "short", "rules": [{"type": "Length", "target": 20}]}]},
                "evaluation": {"selectBy": {"metric": "MeanReward"}},
                "artifacts": {"uri": "s3://selm/runs", "credentialsSecretRef": {"name": "s3"}},
            },
        }

    @property
    def spec(self) -> Json:
        spec: Json = self.run["spec"]
        return spec

    def with_iterations(self, iterations: int) -> RunBuilder:
        self.spec["iterations"] = iterations
        return self

    def with_shards(self, generation: int, scoring: int = 1) -> RunBuilder:
        self.spec.setdefault("generation", {})["shards"] = generation
        self.spec["scoring"]["shards"] = scoring
        return self

    def with_nodes(self, nodes: int, gpus: int = 0) -> RunBuilder:
        training = self.spec.setdefault("training", {})
        training["nodes"] = nodes
        if gpus:
            training["resources"] = {"limits": {"nvidia.com/gpu": gpus}}
        return self

    def offline(self, iteration: int) -> RunBuilder:
        return self.scheduled(iteration, pairs="Offline")

    def scheduled(self, iteration: int, **values: Any) -> RunBuilder:
        self.spec.setdefault("schedule", []).append({"iteration": iteration, **values})
        return self

    def suspended(self) -> RunBuilder:
        self.spec["suspend"] = True
        return self

    def with_retry(self, **values: int) -> RunBuilder:
        self.spec.setdefault("retry", {}).update(values)
        return self

    def with_spec(self, **groups: Any) -> RunBuilder:
        """Groups of the spec, merged one level deep."""
        for name, value in groups.items():
            if isinstance(value, dict):
                self.spec.setdefault(name, {}).update(value)
            else:
                self.spec[name] = value
        return self

    def obj(self) -> Json:
        return copy.deepcopy(self.run)


def make_run(name: str = "tiny") -> RunBuilder:
    """A run of one iteration, one shard, one rank, scored by a rule."""
    return RunBuilder(name)
