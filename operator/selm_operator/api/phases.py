"""The groups of the spec that generation and evaluation obey, and types that several groups share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from selm_operator.api.base import (
    Bool,
    Change,
    Default,
    Int,
    Iteration,
    Label,
    ListSet,
    Number,
    SpecModel,
    Tokens,
)
from selm_operator.api.pods import Resources
from selm_operator.api.suites import AlpacaEvalSpec, LMEvalSpec, MTBenchSpec

Alpha = Annotated[Number, Field(ge=0, le=1000)]
Beta = Annotated[Number, Field(gt=0, le=1000)]
LearningRate = Annotated[Number, Field(gt=0, le=1)]
Temperature = Annotated[Number, Field(ge=0, le=10)]
SamplesPerPrompt = Annotated[Int, Field(ge=1, le=64)]
Shards = Annotated[Int, Field(ge=1, le=1024)]


class GenerationSpec(SpecModel):
    """Responses from the policy."""

    temperature: Annotated[
        Temperature, Field(description="the sampling temperature; 0 is greedy."), Change.IMMUTABLE
    ] = 0.0
    top_p: Annotated[
        Number, Field(gt=0, le=1, description="the probability mass of nucleus sampling."), Change.IMMUTABLE
    ] = 1.0
    max_tokens: Annotated[Tokens, Field(description="tokens of a response at most."), Change.IMMUTABLE] = 1024
    samples_per_prompt: Annotated[
        SamplesPerPrompt, Field(description="responses for each prompt and policy."), Change.IMMUTABLE
    ] = 1
    policies: Annotated[
        tuple[Literal["Current", "Reference"], ...],
        Field(
            min_length=1,
            max_length=2,
            description="the policies that answer; Reference beside Current for two-policy objectives.",
        ),
        ListSet(),
        Change.IMMUTABLE,
    ] = ("Current",)
    reproducible: Annotated[
        Bool,
        Field(description="whether each chunk is one engine call over fixed prompts with seeds of their own."),
        Change.IMMUTABLE,
    ] = True
    shards: Annotated[Shards, Field(description="pods that share the prompts."), Change.SUSPENDED] = 1
    engines_per_pod: Annotated[
        Int | None,
        Field(ge=1, le=64, description="engine processes of a pod, which take chunks from the pod's own queue."),
        Default("the GPUs in generation.resources.limits over tensorParallelSize, else 1"),
        Change.SUSPENDED,
    ] = None
    tensor_parallel_size: Annotated[
        Int, Field(ge=1, le=64, description="GPUs that one engine spans."), Change.SUSPENDED
    ] = 1
    weights: Annotated[
        Literal["Cache", "Stream"],
        Field(
            description="how a model's weights reach the engine: through the node's cache, or streamed from the store without "
            "lying on a disk, where the pod has one engine on one GPU and the cache does not hold them already."
        ),
        Change.SUSPENDED,
    ] = "Cache"
    engine_args: Annotated[
        dict[str, Any],
        Field(default_factory=dict, description="further arguments of vLLM's engine, by its own names."),
        Change.SUSPENDED,
    ]
    resources: Annotated[
        Resources | None,
        Field(description="the compute resources of a shard's pod, as in a container."),
        Default("none"),
        Change.SUSPENDED,
    ] = None

    @property
    def resolved_engines_per_pod(self) -> int:
        """Engine processes of a pod: as written, else as many as its GPUs hold, else 1."""
        if self.engines_per_pod is not None:
            return self.engines_per_pod
        return max(1, (self.resources.gpus if self.resources else 0) // self.tensor_parallel_size)


class SelectBySpec(SpecModel):
    """The metric that picks the best iteration."""

    metric: Annotated[
        Literal["WinRate", "MeanReward", "PreferenceAccuracy", "LMEval", "AlpacaEval", "MTBench"],
        Field(description="the metric; MeanReward needs a scalar scorer, a suite needs its group."),
        Change.IMMUTABLE,
    ] = "WinRate"
    scorer: Annotated[
        Label | None,
        Field(description="a name in scoring.scorers."),
        Default("all of them, summed by weight"),
        Change.IMMUTABLE,
    ] = None
    against: Annotated[Literal["Base", "Previous"], Field(description="the opponent of WinRate."), Change.IMMUTABLE] = (
        "Base"
    )


class StopWhenSpec(SpecModel):
    """When a run ends before its last iteration. Asked once an iteration, when its evaluation is committed."""

    iterations_without_gain: Annotated[
        Iteration | None,
        Field(description="iterations in a row that selectBy finds no better than the best before them."),
        Default("never"),
        Change.ALWAYS,
    ] = None
    max_kl: Annotated[
        Annotated[Number, Field(gt=0, le=1_000_000)] | None,
        Field(
            alias="maxKL",
            description="the metric kl, the divergence from the base in nats a response, that is not to be exceeded.",
        ),
        Default("no bound"),
        Change.ALWAYS,
    ] = None


class EvaluationSpec(SpecModel):
    """What is measured after each iteration, and of the base."""

    select_by: Annotated[SelectBySpec, Field(description="the metric that picks the best iteration.")] = SelectBySpec()
    stop_when: Annotated[
        StopWhenSpec,
        Field(description="when the run ends early; raising iterations takes it further."),
    ] = StopWhenSpec()
    control: Annotated[
        Bool,
        Field(
            description="whether a second run, <name>-control, does the same with alpha 0; it is made when iteration 1 is "
            "scored, whose responses and pairs it takes over."
        ),
        Change.IMMUTABLE,
    ] = False
    lm_eval: Annotated[
        LMEvalSpec | None,
        Field(description="tasks of lm-evaluation-harness."),
        Default("none are run"),
        Change.KEYED,
    ] = None
    alpaca_eval: Annotated[
        AlpacaEvalSpec | None, Field(description="AlpacaEval 2.0."), Default("it is not run"), Change.KEYED
    ] = None
    mt_bench: Annotated[MTBenchSpec | None, Field(description="MT-Bench."), Default("it is not run"), Change.KEYED] = (
        None
    )
    resources: Annotated[
        Resources | None,
        Field(description="the compute resources of the pod, as in a container."),
        Default("none"),
        Change.SUSPENDED,
    ] = None
