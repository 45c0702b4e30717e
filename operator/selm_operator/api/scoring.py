"""`spec.scoring`: scorers and pairing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selm_operator.api.base import (
    FILE_PATTERN,
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
    Number,
    Revision,
    SourceUri,
    SpecModel,
    Text,
    Tokens,
)
from selm_operator.api.phases import Shards, Temperature
from selm_operator.api.pods import Resources
from selm_operator.api.references import ApiKeySecretRef

Weight = Annotated[Number, Field(ge=-1000, le=1000)]

_MODEL_PLACE = "the place of the model: hf://, s3:// or file:// (a mounted volume)."
_MODEL_REVISION = "the branch, tag or commit; Preparation pins it to a digest."


class PairRMScorer(SpecModel):
    """A PairRM pairwise ranker."""

    uri: Annotated[SourceUri, Field(description=_MODEL_PLACE)]
    revision: Annotated[Revision | None, Field(description=_MODEL_REVISION), AbsentMeans("main")] = None


class ObjectiveWeight(SpecModel):
    """One output of a multi-objective reward model."""

    label: Annotated[
        Text,
        Field(min_length=1, max_length=128, description="the output's label in the model's config.json (id2label)."),
    ]
    weight: Annotated[Weight, Field(description="the weight of the output in the score.")]


class RewardModelScorer(SpecModel):
    """A scalar reward model with a sequence-classification head."""

    uri: Annotated[SourceUri, Field(description=_MODEL_PLACE)]
    revision: Annotated[Revision | None, Field(description=_MODEL_REVISION), AbsentMeans("main")] = None
    trust_remote_code: Annotated[
        Bool | None, Field(description="runs code of the model's repository."), AbsentMeans(False)
    ] = None
    objectives: Annotated[
        tuple[ObjectiveWeight, ...] | None,
        Field(
            min_length=1,
            max_length=64,
            description="the weights of a multi-objective model's outputs, whose weighted sum is the score.",
        ),
        ListMap("label"),
        Default("the model's only output, or its own combination (ArmoRM's gating)"),
    ] = None
    engine: Annotated[
        Literal["Transformers", "VLLM"] | None,
        Field(
            description="who runs the model: transformers, or vLLM's pooling runner, for one output and an architecture "
            "that vLLM has."
        ),
        AbsentMeans("Transformers"),
    ] = None


class JudgeScorer(SpecModel):
    """An LLM judge: behind an OpenAI-compatible endpoint, or the policy itself; it compares or grades responses."""

    endpoint: Annotated[
        Text | None,
        Field(max_length=1024, pattern=URL_PATTERN, description="the endpoint's base URL."),
        Default("none"),
        Change.IMMUTABLE,
    ] = None
    model: Annotated[
        Text | None,
        Field(max_length=253, description="the model's name that is sent to the endpoint."),
        Default("none"),
        Change.IMMUTABLE,
    ] = None
    policy: Annotated[
        Literal["Current", "Base"] | None,
        Field(
            description="the policy that judges in place of an endpoint (self-rewarding): the one that made the "
            "responses, or the run's base. In evaluation it is the base, so that iterations compare."
        ),
        Default("none"),
        Change.IMMUTABLE,
    ] = None
    mode: Annotated[
        Literal["Pairwise", "Grade"] | None,
        Field(description="whether two responses are compared, in both orders, or each one is graded by a number."),
        AbsentMeans("Pairwise"),
        Change.IMMUTABLE,
    ] = None
    template: Annotated[
        Text | None,
        Field(
            max_length=1024,
            pattern=FILE_PATTERN,
            description="the place of a file with the prompt as a Jinja template, in s3:// or file:// (a mounted volume).",
        ),
        Default("the built-in prompt of the mode"),
        Change.IMMUTABLE,
    ] = None
    verdict_pattern: Annotated[
        Text | None,
        Field(
            max_length=1024,
            description="the regular expression whose last match is the verdict, in its only group: A, B or C (a tie) "
            "for Pairwise, a number for Grade.",
        ),
        Default("[[A]], [[B]], [[C]]; for Grade, Score: and a number"),
        Change.IMMUTABLE,
    ] = None
    max_tokens: Annotated[
        Tokens | None, Field(description="tokens of a judgement at most."), AbsentMeans(1024), Change.IMMUTABLE
    ] = None
    temperature: Annotated[
        Temperature | None, Field(description="the judge's sampling temperature."), AbsentMeans(0.0), Change.IMMUTABLE
    ] = None
    concurrency: Annotated[
        Int | None,
        Field(ge=1, le=256, description="requests of a pod in flight at most."),
        AbsentMeans(8),
        Change.SUSPENDED,
    ] = None
    requests_per_minute: Annotated[
        Int | None,
        Field(ge=1, le=1_000_000, description="requests of a pod in a minute."),
        Default("no limit"),
        Change.SUSPENDED,
    ] = None
    token_budget: Annotated[
        Int | None,
        Field(
            ge=1,
            le=1_000_000_000_000,
            description="tokens, of prompts and judgements together, that one phase of an iteration may use; when they "
            "are used up the run stops with what was judged kept.",
        ),
        Default("no limit"),
        Change.SUSPENDED,
    ] = None
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
    memory_mebibytes: Annotated[
        Int | None,
        Field(ge=32, le=65_536, description="the limit of one execution's address space, in MiB."),
        AbsentMeans(512),
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
            "rank-3), the next lower (MaxMax) or a random worse one (MaxRandom), BestWorst by the mean probability of winning "
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
