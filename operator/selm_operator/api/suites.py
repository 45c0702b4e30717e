"""`spec.evaluation`'s suites: benchmarks that are run of the base and after each iteration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from selm_operator.api.base import (
    Bool,
    Change,
    Default,
    Int,
    ListMap,
    Revision,
    SourceUri,
    SpecModel,
    Text,
)

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
