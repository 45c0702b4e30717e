"""The groups of the spec that the GPU phases obey: generation, scoring, training, evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from selm_operator.api.base import (
    URL_PATTERN,
    AbsentMeans,
    Atomic,
    Bool,
    Change,
    Column,
    Default,
    Int,
    Label,
    ListMap,
    ListSet,
    Number,
    Revision,
    SourceUri,
    SpecModel,
    Text,
)
from selm_operator.api.pods import Resources
from selm_operator.api.references import ApiKeySecretRef

Alpha = Annotated[Number, Field(ge=0, le=1000)]
Beta = Annotated[Number, Field(gt=0, le=1000)]
LearningRate = Annotated[Number, Field(gt=0, le=1)]
Temperature = Annotated[Number, Field(ge=0, le=10)]
SamplesPerPrompt = Annotated[Int, Field(ge=1, le=64)]
Shards = Annotated[Int, Field(ge=1, le=1024)]
Tokens = Annotated[Int, Field(ge=1, le=1_048_576)]
Weight = Annotated[Number, Field(ge=-1000, le=1000)]

_MODEL_PLACE = "the place of the model: hf://, s3:// or file:// (a mounted volume)."
_MODEL_REVISION = "the branch, tag or commit; Preparation pins it to a digest."


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


class PairRMScorer(SpecModel):
    """A PairRM pairwise ranker."""

    uri: Annotated[SourceUri, Field(description=_MODEL_PLACE)]
    revision: Annotated[Revision | None, Field(description=_MODEL_REVISION), AbsentMeans("main")] = None


class RewardModelScorer(SpecModel):
    """A scalar reward model with a sequence-classification head."""

    uri: Annotated[SourceUri, Field(description=_MODEL_PLACE)]
    revision: Annotated[Revision | None, Field(description=_MODEL_REVISION), AbsentMeans("main")] = None
    trust_remote_code: Annotated[
        Bool | None, Field(description="runs code of the model's repository."), AbsentMeans(False)
    ] = None


class JudgeScorer(SpecModel):
    """An LLM judge behind an OpenAI-compatible endpoint; it compares two responses in both orders."""

    endpoint: Annotated[
        Text, Field(max_length=1024, pattern=URL_PATTERN, description="the endpoint's base URL."), Change.IMMUTABLE
    ]
    model: Annotated[
        Text, Field(max_length=253, description="the model's name that is sent to the endpoint."), Change.IMMUTABLE
    ]
    api_key_secret_ref: Annotated[
        ApiKeySecretRef | None,
        Field(description="the Secret with the endpoint's key."),
        Default("none"),
        Change.SUSPENDED,
    ] = None


class Rule(SpecModel):
    """A declared rule: a number in 0 to 1 for each response."""

    type: Annotated[
        Literal["Length", "Regex", "Format", "Repetition"],
        Field(
            description="what is measured: nearness to a number of words, a match, good form, or the share of distinct "
            "word trigrams."
        ),
    ]
    weight: Annotated[Weight | None, Field(description="the weight in the sum over rules."), AbsentMeans(1.0)] = None
    pattern: Annotated[
        Text | None,
        Field(
            max_length=1024,
            description="the regular expression of Regex (matches somewhere) and Format (matches the whole); {value} "
            "stands for the column's text.",
        ),
    ] = None
    target: Annotated[Number | None, Field(ge=0, le=1_048_576, description="the best number of words, for Length.")] = (
        None
    )
    column: Annotated[
        Text | None,
        Field(
            max_length=253,
            description="the column of the data's row that the rule reads: Length's target, or the text for Regex and "
            "Format.",
        ),
    ] = None


class ExecutionScorer(SpecModel):
    """The response's code run against tests in a sandbox."""

    tests_column: Annotated[
        Column | None, Field(description="the column of the data with the tests."), AbsentMeans("tests")
    ] = None
    timeout_seconds: Annotated[
        Int | None, Field(ge=1, le=3600, description="the limit of one execution, in seconds."), AbsentMeans(10)
    ] = None


class Scorer(SpecModel):
    """A scorer: a name and exactly one kind."""

    name: Annotated[Label, Field(description="the name of the scorer, unique in the list.")]
    weight: Annotated[
        Weight | None, Field(description="the weight in the sum over scorers."), AbsentMeans(1.0), Change.IMMUTABLE
    ] = None
    pair_rm: Annotated[
        PairRMScorer | None, Field(alias="pairRM", description="a PairRM pairwise ranker."), Change.IMMUTABLE
    ] = None
    reward_model: Annotated[
        RewardModelScorer | None,
        Field(description="a scalar reward model with a sequence-classification head."),
        Change.IMMUTABLE,
    ] = None
    judge: Annotated[
        JudgeScorer | None,
        Field(description="an LLM judge behind an OpenAI-compatible endpoint; it compares two responses."),
        Change.KEYED,
    ] = None
    rules: Annotated[
        tuple[Rule, ...] | None,
        Field(min_length=1, max_length=32, description="the declared rules whose weighted sum is a scalar score."),
        Atomic(),
        Change.IMMUTABLE,
    ] = None
    execution: Annotated[
        ExecutionScorer | None,
        Field(description="the response's code run against tests in a sandbox; the share that pass is the score."),
        Change.IMMUTABLE,
    ] = None


ResponseTreatment = Literal["Candidate", "RejectOnly", "Exclude"]


class PairingSpec(SpecModel):
    """How a pair is chosen among the candidates."""

    rule: Annotated[
        Literal["BestWorst", "MaxRandom", "MaxMax", "MaxMinProbability", "TwoPolicy"],
        Field(
            description="the rule that picks chosen and rejected: the best against the worst (BestWorst, the paper's "
            "rank-3), the second (MaxMax) or a random other (MaxRandom), BestWorst by the mean probability of winning "
            "(MaxMinProbability), or one response of each policy (TwoPolicy)."
        ),
        Change.IMMUTABLE,
    ] = "BestWorst"
    offline: Annotated[
        Literal["Include", "Exclude"],
        Field(
            description="whether the data's own pair is among the candidates; Exclude needs two samples or policies."
        ),
        Change.IMMUTABLE,
    ] = "Include"
    min_margin: Annotated[
        Number,
        Field(ge=0, le=1_000_000, description="the smallest difference of scores that makes a pair."),
        Change.IMMUTABLE,
    ] = 0.0
    length_control: Annotated[
        Number | None,
        Field(
            ge=0,
            lt=0.5,
            description="the share of the prompt's range of scores within which the shortest response is as good as the "
            "best, and the longest as bad as the worst; for BestWorst and MaxMinProbability.",
        ),
        Default("no control"),
        Change.IMMUTABLE,
    ] = None
    empty: Annotated[
        ResponseTreatment,
        Field(description="whether responses without text may be chosen, can only be rejected, or are left out."),
        Change.IMMUTABLE,
    ] = "Candidate"
    truncated: Annotated[
        ResponseTreatment,
        Field(description="the same for responses that ran into generation.maxTokens."),
        Change.IMMUTABLE,
    ] = "Candidate"


class ScoringSpec(SpecModel):
    """Scores of the candidates, and the pairs made from them."""

    scorers: Annotated[
        tuple[Scorer, ...],
        Field(min_length=1, max_length=8, description="the scorers, summed by weight."),
        ListMap("name"),
        Change.KEYED,
    ]
    length_penalty: Annotated[
        Number,
        Field(ge=0, le=1000, description="what each token of a response takes off its score."),
        Change.IMMUTABLE,
    ] = 0.0
    pairing: Annotated[PairingSpec, Field(description="how a pair is chosen among the candidates.")] = PairingSpec()
    shards: Annotated[Shards, Field(description="pods that share the candidates."), Change.SUSPENDED] = 1
    resources: Annotated[
        Resources | None,
        Field(description="the compute resources of a shard's pod, as in a container."),
        Default("none"),
        Change.SUSPENDED,
    ] = None


class SelectBySpec(SpecModel):
    """The metric that picks the best iteration."""

    metric: Annotated[
        Literal["WinRate", "MeanReward", "PreferenceAccuracy"],
        Field(description="the metric; MeanReward needs a scalar scorer."),
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


class EvaluationSpec(SpecModel):
    """What is measured after each iteration, and of the base."""

    select_by: Annotated[SelectBySpec, Field(description="the metric that picks the best iteration.")] = SelectBySpec()
    resources: Annotated[
        Resources | None,
        Field(description="the compute resources of the pod, as in a container."),
        Default("none"),
        Change.SUSPENDED,
    ] = None
