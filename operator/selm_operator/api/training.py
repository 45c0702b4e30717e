"""`spec.training`: one pass of preference optimisation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selm_operator.api.base import Change, Default, Int, ListSet, Number, SpecModel, Text, Tokens
from selm_operator.api.objective import ObjectiveSpec
from selm_operator.api.phases import LearningRate
from selm_operator.api.pods import Resources
from selm_operator.api.tracking import ReportToSpec


class OptimizerSpec(SpecModel):
    """AdamW."""

    beta1: Annotated[Number, Field(ge=0, lt=1, description="the decay of the first moment."), Change.IMMUTABLE] = 0.9
    beta2: Annotated[Number, Field(ge=0, lt=1, description="the decay of the second moment."), Change.IMMUTABLE] = 0.999
    epsilon: Annotated[
        Number, Field(gt=0, le=1, description="the term added to the denominator."), Change.IMMUTABLE
    ] = 1e-8
    weight_decay: Annotated[Number, Field(ge=0, le=1, description="the decoupled weight decay."), Change.IMMUTABLE] = (
        0.0
    )


class CheckpointSpec(SpecModel):
    """Checkpoints within the phase."""

    interval_seconds: Annotated[Int, Field(ge=1, le=604_800, description="seconds between checkpoints.")] = 600
    keep: Annotated[Int, Field(ge=1, le=100, description="checkpoints that are kept.")] = 2


class GuardSpec(SpecModel):
    """When training is stopped because it has gone astray."""

    max_log_ratio: Annotated[
        Number | None,
        Field(
            gt=0,
            le=1_000_000,
            description="the nats by which the log-probability of the responses that the exploring term lowers may fall below the "
            "reference's, in the mean of an optimizer step: the explored ones, with GEB the rejected, with VPO calibrated on "
            "the chosen those.",
        ),
        Default("no limit"),
    ] = None


class LoraSpec(SpecModel):
    """Low-rank adapters instead of all weights."""

    rank: Annotated[Int, Field(ge=1, le=4096, description="the rank of the adapters.")] = 16
    alpha: Annotated[Number, Field(gt=0, le=65_536, description="the adapters' scale: alpha / rank.")] = 32.0
    dropout: Annotated[Number, Field(ge=0, lt=1, description="the dropout before the adapters.")] = 0.0
    target_modules: Annotated[
        tuple[Annotated[Text, Field(min_length=1, max_length=128)], ...],
        Field(max_length=64, description="names of the modules that get one; empty: all linear ones but the head."),
        ListSet(),
    ] = ()
    quantization: Annotated[
        Literal["None", "NF4"], Field(description="the number format of the frozen weights; NF4 is QLoRA.")
    ] = "None"
    export: Annotated[
        Literal["Merged", "Adapter"],
        Field(
            description="what is written: Merged is the whole model; Adapter is the adapter beside it, which fits the "
            "model that the iteration began with."
        ),
    ] = "Merged"


class OffloadSpec(SpecModel):
    """What of the training state lies in the host's memory."""

    optimizer: Annotated[Literal["None", "CPU"], Field(description="where the optimizer's state lies and steps.")] = (
        "None"
    )
    parameters: Annotated[
        Literal["None", "CPU"], Field(description="where parameters lie between uses; CPU needs zeroStage 3.")
    ] = "None"


class TrainingSpec(SpecModel):
    """One pass of preference optimisation."""

    objective: Annotated[ObjectiveSpec, Field(description="the loss.")] = ObjectiveSpec()
    reference: Annotated[
        Literal["Previous", "Initial"],
        Field(description="the reference policy: the previous iteration's or the initial model."),
        Change.IMMUTABLE,
    ] = "Previous"
    learning_rate: Annotated[LearningRate, Field(description="the peak learning rate."), Change.IMMUTABLE] = 5e-7
    lr_scheduler: Annotated[
        Literal["Cosine", "Linear", "Constant"], Field(description="the course of the learning rate."), Change.IMMUTABLE
    ] = "Cosine"
    warmup_ratio: Annotated[
        Number, Field(ge=0, le=1, description="the share of the steps that warm up."), Change.IMMUTABLE
    ] = 0.1
    optimizer: Annotated[OptimizerSpec, Field(description="AdamW's parameters.")] = OptimizerSpec()
    max_grad_norm: Annotated[
        Number,
        Field(ge=0, le=1_000_000, description="the norm that gradients are clipped to; 0 does not clip."),
        Change.IMMUTABLE,
    ] = 1.0
    precision: Annotated[
        Literal["BFloat16", "Float32"],
        Field(description="the number format of the forward and backward pass."),
        Change.IMMUTABLE,
    ] = "BFloat16"
    batch_size: Annotated[
        Tokens,
        Field(description="pairs of an optimizer step, over all ranks; a last partial batch is dropped and counted."),
        Change.IMMUTABLE,
    ] = 256
    max_tokens_per_micro_batch: Annotated[
        Int, Field(ge=1, le=16_777_216, description="tokens of a rank's micro-batch at most."), Change.SUSPENDED
    ] = 8192
    max_length: Annotated[Tokens, Field(description="tokens of prompt and response at most."), Change.IMMUTABLE] = 1024
    max_prompt_length: Annotated[Tokens, Field(description="tokens of the prompt at most."), Change.IMMUTABLE] = 512
    truncation: Annotated[
        Literal["KeepEnd", "KeepStart"],
        Field(description="the end of a too long prompt that is kept."),
        Change.IMMUTABLE,
    ] = "KeepEnd"
    epochs: Annotated[Int, Field(ge=1, le=100, description="passes over the iteration's pairs."), Change.IMMUTABLE] = 1
    offline_share: Annotated[
        Number,
        Field(ge=0, lt=1, description="the share of each batch that comes from the data's own pairs (HPO)."),
        Change.IMMUTABLE,
    ] = 0.0
    lora: Annotated[
        LoraSpec | None,
        Field(description="low-rank adapters instead of all weights."),
        Default("none: all weights"),
        Change.IMMUTABLE,
    ] = None
    guard: Annotated[
        GuardSpec, Field(description="when training is stopped because it has gone astray."), Change.SUSPENDED
    ] = GuardSpec()
    offload: Annotated[
        OffloadSpec, Field(description="what of the training state lies in the host's memory."), Change.SUSPENDED
    ] = OffloadSpec()
    compile: Annotated[
        bool,
        Field(
            description="whether the decoder's layers are compiled by torch.compile, and packs filled up to a few lengths; "
            "needs zeroStage up to 2 and a compiler in the image."
        ),
        Change.SUSPENDED,
    ] = False
    report_to: Annotated[
        ReportToSpec | None,
        Field(description="experiment trackers that metrics are sent to, beside the artifacts."),
        Default("none"),
        Change.SUSPENDED,
    ] = None
    nodes: Annotated[Int, Field(ge=1, le=1024, description="pods of the training Job."), Change.SUSPENDED] = 1
    ranks_per_node: Annotated[
        Int | None,
        Field(ge=1, le=64, description="processes of a pod."),
        Default("the GPUs in resources.limits, else 1"),
        Change.SUSPENDED,
    ] = None
    resources: Annotated[
        Resources | None,
        Field(description="the compute resources of a node's pod, as in a container."),
        Default("none"),
        Change.SUSPENDED,
    ] = None
    zero_stage: Annotated[
        Int, Field(ge=0, le=3, description="DeepSpeed's ZeRO stage; with BFloat16 0 is run as 1."), Change.SUSPENDED
    ] = 3
    checkpoint: Annotated[
        CheckpointSpec,
        Field(description="checkpoints within the phase; all are removed when it commits."),
        Change.SUSPENDED,
    ] = CheckpointSpec()
    termination_grace_period_seconds: Annotated[
        Int,
        Field(ge=0, le=86_400, description="seconds for the last checkpoint when a pod is stopped."),
        Change.SUSPENDED,
    ] = 600

    @property
    def resolved_ranks_per_node(self) -> int:
        """Processes of a training pod: as written, else the GPUs in the limits, else 1."""
        if self.ranks_per_node is not None:
            return self.ranks_per_node
        return max(1, self.resources.gpus if self.resources else 0)
