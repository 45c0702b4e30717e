"""`spec.training.objective`: the loss, and the parameters of those losses that have some of their own.

A group of parameters is named after its objective and may stand only beside it. Where it is absent, its defaults hold.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selm_operator.api.base import Change, Default, Number, SpecModel
from selm_operator.api.phases import Alpha, Beta

LabelNoise = Annotated[Number, Field(ge=0, lt=0.5)]
Margin = Annotated[Number, Field(ge=0, le=1000)]
Norm = Literal["TokenMean", "Sum"]


class XPOSpec(SpecModel):
    """Parameters of XPO."""

    kind: Annotated[
        Literal["Sigmoid", "IPO"], Field(description="the preference part: the logistic loss or IPO's square.")
    ] = "Sigmoid"


class VPOSpec(SpecModel):
    """Parameters of VPO."""

    sign: Annotated[
        Literal["Online", "Offline"],
        Field(description="Online lowers the likelihood of the calibration's responses (optimism), Offline raises it."),
    ] = "Online"
    calibration: Annotated[
        Literal["Explored", "Chosen"],
        Field(description="the responses that calibrate the value: the explored or the chosen ones."),
    ] = "Explored"


class IPOSpec(SpecModel):
    """Parameters of IPO."""

    norm: Annotated[Norm, Field(description="log-ratios as means over a response's tokens or as sums.")] = "TokenMean"


class SimPOSpec(SpecModel):
    """Parameters of SimPO."""

    gamma: Annotated[Margin, Field(description="the target margin between the rewards of chosen and rejected.")] = 1.0


class RobustDPOSpec(SpecModel):
    """Parameters of RobustDPO."""

    epsilon: Annotated[LabelNoise, Field(description="the share of pairs whose labels are flipped.")] = 0.1


class ConservativeDPOSpec(SpecModel):
    """Parameters of ConservativeDPO."""

    epsilon: Annotated[LabelNoise, Field(description="the share of pairs whose labels are flipped.")] = 0.1


class AlphaDPOSpec(SpecModel):
    """Parameters of AlphaDPO."""

    gamma: Annotated[Margin, Field(description="the fixed part of the target margin, in units of beta.")] = 0.6
    alpha: Annotated[Margin, Field(description="the weight of the adaptive part of the target margin.")] = 0.2


class NSDPOSpec(SpecModel):
    """Parameters of NSDPO."""

    gamma: Annotated[Number, Field(gt=0, le=1, description="the discount of a pair for each iteration of age.")] = 0.95


class RPOSpec(SpecModel):
    """Parameters of RPO."""

    lambda_: Annotated[Margin, Field(alias="lambda", description="the weight of the likelihood of the chosen.")] = 1.0
    norm: Annotated[
        Norm, Field(description="the likelihood as a mean over the response's tokens, or as their sum times beta.")
    ] = "TokenMean"


class GEBSpec(SpecModel):
    """Parameters of GEB."""

    divergence: Annotated[
        Literal["ForwardKL", "KL", "Hellinger"],
        Field(description="the divergence from the reference, in the preference part and in the bonus."),
    ] = "ForwardKL"
    bonus: Annotated[
        Literal["Inverse", "Complement", "Atanh"],
        Field(description="the decreasing function of the rejected response's probability that the bonus is made of."),
    ] = "Inverse"
    probability: Annotated[
        Literal["Sequence", "TokenMean"],
        Field(description="the probability of the whole response, or the geometric mean over its tokens."),
    ] = "Sequence"


_DEFAULTS = "the defaults of its fields"


class ObjectiveSpec(SpecModel):
    """The loss."""

    type: Annotated[
        Literal[
            "SELM",
            "DPO",
            "XPO",
            "VPO",
            "SEPOPO",
            "IPO",
            "Hinge",
            "SimPO",
            "RobustDPO",
            "ConservativeDPO",
            "AlphaDPO",
            "NSDPO",
            "RPO",
            "GEB",
        ],
        Field(description="the loss that is minimised."),
        Change.IMMUTABLE,
    ] = "SELM"
    alpha: Annotated[
        Alpha,
        Field(description="the weight of the exploring term, for objectives that have one; 0 switches it off."),
        Change.IMMUTABLE,
    ] = 0.001
    beta: Annotated[Beta, Field(description="the strength of the anchor to the reference."), Change.IMMUTABLE] = 0.01
    optimism_weighting: Annotated[
        Literal["AlphaBeta", "Alpha"],
        Field(description="the factor of the exploring term: alpha times beta (equation 4.2) or alpha (Algorithm 1)."),
        Change.IMMUTABLE,
    ] = "AlphaBeta"
    explored: Annotated[
        Literal["First", "Mean"],
        Field(description="the response that the exploring term takes where there are several."),
        Change.IMMUTABLE,
    ] = "First"
    xpo: Annotated[
        XPOSpec | None,
        Field(description="parameters of XPO, only with that type."),
        Default(_DEFAULTS),
        Change.IMMUTABLE,
    ] = None
    vpo: Annotated[
        VPOSpec | None,
        Field(description="parameters of VPO, only with that type."),
        Default(_DEFAULTS),
        Change.IMMUTABLE,
    ] = None
    ipo: Annotated[
        IPOSpec | None,
        Field(description="parameters of IPO, only with that type."),
        Default(_DEFAULTS),
        Change.IMMUTABLE,
    ] = None
    sim_po: Annotated[
        SimPOSpec | None,
        Field(alias="simPO", description="parameters of SimPO, only with that type."),
        Default(_DEFAULTS),
        Change.IMMUTABLE,
    ] = None
    robust_dpo: Annotated[
        RobustDPOSpec | None,
        Field(alias="robustDPO", description="parameters of RobustDPO, only with that type."),
        Default(_DEFAULTS),
        Change.IMMUTABLE,
    ] = None
    conservative_dpo: Annotated[
        ConservativeDPOSpec | None,
        Field(alias="conservativeDPO", description="parameters of ConservativeDPO, only with that type."),
        Default(_DEFAULTS),
        Change.IMMUTABLE,
    ] = None
    alpha_dpo: Annotated[
        AlphaDPOSpec | None,
        Field(alias="alphaDPO", description="parameters of AlphaDPO, only with that type."),
        Default(_DEFAULTS),
        Change.IMMUTABLE,
    ] = None
    ns_dpo: Annotated[
        NSDPOSpec | None,
        Field(alias="nsDPO", description="parameters of NSDPO, only with that type."),
        Default(_DEFAULTS),
        Change.IMMUTABLE,
    ] = None
    rpo: Annotated[
        RPOSpec | None,
        Field(description="parameters of RPO, only with that type."),
        Default(_DEFAULTS),
        Change.IMMUTABLE,
    ] = None
    geb: Annotated[
        GEBSpec | None,
        Field(description="parameters of GEB, only with that type."),
        Default(_DEFAULTS),
        Change.IMMUTABLE,
    ] = None

    @property
    def reads_alpha(self) -> bool:
        """Whether the loss has a term that `alpha` weighs."""
        return self.type in ("SELM", "XPO", "VPO", "SEPOPO", "GEB")

    @property
    def alpha_explores(self) -> bool:
        """Whether `alpha` weighs a term on the policy's own responses; VPO calibrated on the chosen needs none."""
        return not (self.type == "VPO" and self.vpo is not None and self.vpo.calibration == "Chosen")
