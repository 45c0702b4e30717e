"""`spec.evaluation`'s suites: benchmarks that are run of the base and after each iteration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from selm_operator.api.base import (
    FILE_PATTERN,
    URL_PATTERN,
    Bool,
    Change,
    Default,
    Int,
    ListMap,
    Revision,
    SourceUri,
    SpecModel,
    Text,
    Tokens,
)
from selm_operator.api.references import TokenSecretRef

Limit = Annotated[Int, Field(ge=1, le=1_000_000)]


class LMEvalTask(SpecModel):
    """A task of lm-evaluation-harness."""

    name: Annotated[
        Text, Field(min_length=1, max_length=128, description="the name of the task, as its YAML file has it.")
    ]
    metric: Annotated[
        Text | None,
        Field(min_length=1, max_length=64, description="the task's metric that counts; higher must be better."),
        Default("the first in the task's metric_list"),
    ] = None


class LMEvalSpec(SpecModel):
    """Tasks of lm-evaluation-harness."""

    uri: Annotated[
        SourceUri,
        Field(
            description="the place of the folder with the tasks' YAML files and their data: hf:// (a dataset "
            "repository), s3:// or file:// (a mounted volume)."
        ),
        Change.IMMUTABLE,
    ]
    revision: Annotated[
        Revision,
        Field(description="the branch, tag or commit; Preparation pins it to a digest."),
        Change.IMMUTABLE,
    ] = "main"
    tasks: Annotated[
        tuple[LMEvalTask, ...],
        Field(min_length=1, max_length=128, description="the tasks; the mean of their figures is the metric lmEval."),
        ListMap("name"),
        Change.IMMUTABLE,
    ]
    num_fewshot: Annotated[
        Annotated[Int, Field(ge=0, le=64)] | None,
        Field(description="examples in the prompt, for tasks whose file does not say 0."),
        Default("each task's own"),
        Change.IMMUTABLE,
    ] = None
    limit: Annotated[
        Limit | None,
        Field(description="documents of a task at most, from its first."),
        Default("all"),
        Change.IMMUTABLE,
    ] = None
    chat_template: Annotated[
        Bool,
        Field(description="whether prompts go through the model's chat template, examples as turns."),
        Change.IMMUTABLE,
    ] = False
    trust_remote_code: Annotated[
        Bool, Field(description="runs Python code of the folder, which tasks name by !function."), Change.IMMUTABLE
    ] = False
    batch_size: Annotated[Int, Field(ge=1, le=1024, description="sequences in one forward pass."), Change.SUSPENDED] = 8


class SuiteJudge(SpecModel):
    """The judge behind an OpenAI-compatible endpoint."""

    endpoint: Annotated[
        Text, Field(max_length=1024, pattern=URL_PATTERN, description="the endpoint's base URL."), Change.IMMUTABLE
    ]
    model: Annotated[
        Text,
        Field(min_length=1, max_length=253, description="the model's name that is sent to the endpoint."),
        Change.IMMUTABLE,
    ]
    max_tokens: Annotated[
        Tokens | None,
        Field(description="tokens of a judgement at most."),
        Default("16 for alpacaEval, 2048 for mtBench"),
        Change.IMMUTABLE,
    ] = None
    concurrency: Annotated[Int, Field(ge=1, le=256, description="requests in flight at most."), Change.SUSPENDED] = 8
    requests_per_minute: Annotated[
        Int | None,
        Field(ge=1, le=1_000_000, description="requests in a minute."),
        Default("no limit"),
        Change.SUSPENDED,
    ] = None
    token_budget: Annotated[
        Int | None,
        Field(
            ge=1,
            le=1_000_000_000_000,
            description="tokens, of prompts and judgements together, that one iteration's evaluation may use; when they "
            "are used up the run stops with what was judged kept.",
        ),
        Default("no limit"),
        Change.SUSPENDED,
    ] = None
    api_key_secret_ref: Annotated[
        TokenSecretRef | None,
        Field(description="the Secret with the endpoint's key."),
        Default("none"),
        Change.SUSPENDED,
    ] = None


class AlpacaEvalSpec(SpecModel):
    """AlpacaEval 2.0: outputs compared with a baseline's by a judge, and the win rate at equal lengths."""

    uri: Annotated[
        SourceUri,
        Field(
            description="the place of a JSON or JSON-lines file with instruction, output (the baseline's) and, where it "
            "is known, instruction_difficulty: hf://owner/name/file, s3:// or file:// (a mounted volume)."
        ),
        Change.IMMUTABLE,
    ]
    revision: Annotated[
        Revision,
        Field(description="the branch, tag or commit; Preparation pins it to a digest."),
        Change.IMMUTABLE,
    ] = "main"
    limit: Annotated[
        Limit | None, Field(description="instructions at most, from the first."), Default("all"), Change.IMMUTABLE
    ] = None
    max_tokens: Annotated[Tokens, Field(description="tokens of an output at most."), Change.IMMUTABLE] = 2048
    template: Annotated[
        Text | None,
        Field(
            max_length=1024,
            pattern=FILE_PATTERN,
            description="the place of a file with the judge's prompt as a Jinja template of instruction, output_1 and "
            "output_2, whose answer is m or M, in s3:// or file:// (a mounted volume).",
        ),
        Default("the built-in prompt"),
        Change.IMMUTABLE,
    ] = None
    judge: Annotated[SuiteJudge, Field(description="the judge behind an OpenAI-compatible endpoint.")]


class MTBenchSpec(SpecModel):
    """MT-Bench: questions of two turns, each answer graded from 1 to 10 by a judge."""

    uri: Annotated[
        SourceUri,
        Field(
            description="the place of a JSON or JSON-lines file with question_id, category, turns (two) and, for math, "
            "reasoning and coding, reference (two answers): hf://owner/name/file, s3:// or file:// (a mounted volume)."
        ),
        Change.IMMUTABLE,
    ]
    revision: Annotated[
        Revision,
        Field(description="the branch, tag or commit; Preparation pins it to a digest."),
        Change.IMMUTABLE,
    ] = "main"
    max_tokens: Annotated[Tokens, Field(description="tokens of an answer at most."), Change.IMMUTABLE] = 1024
    judge: Annotated[SuiteJudge, Field(description="the judge behind an OpenAI-compatible endpoint.")]
