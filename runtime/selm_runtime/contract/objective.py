"""The objective and the parameters of its kinds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from selm_runtime.contract.base import ContractModel


class XPOConfig(ContractModel):
    kind: Literal["Sigmoid", "IPO"] = "Sigmoid"


class VPOConfig(ContractModel):
    sign: Literal["Online", "Offline"] = "Online"
    calibration: Literal["Explored", "Chosen"] = "Explored"


class IPOConfig(ContractModel):
    norm: Literal["TokenMean", "Sum"] = "TokenMean"


class SimPOConfig(ContractModel):
    gamma: float = 1.0


class RobustDPOConfig(ContractModel):
    epsilon: float = 0.1


class ConservativeDPOConfig(ContractModel):
    epsilon: float = 0.1


class AlphaDPOConfig(ContractModel):
    gamma: float = 0.6
    alpha: float = 0.2


class NSDPOConfig(ContractModel):
    gamma: float = 0.95


class RPOConfig(ContractModel):
    lambda_: float = Field(default=1.0, alias="lambda")
    norm: Literal["TokenMean", "Sum"] = "TokenMean"


class GEBConfig(ContractModel):
    divergence: Literal["ForwardKL", "KL", "Hellinger"] = "ForwardKL"
    bonus: Literal["Inverse", "Complement", "Atanh"] = "Inverse"
    probability: Literal["Sequence", "TokenMean"] = "Sequence"


OBJECTIVE_PARAMETERS = {
    "XPO": "xpo",
    "VPO": "vpo",
    "IPO": "ipo",
    "SimPO": "simPO",
    "RobustDPO": "robustDPO",
    "ConservativeDPO": "conservativeDPO",
    "AlphaDPO": "alphaDPO",
    "NSDPO": "nsDPO",
    "RPO": "rpo",
    "GEB": "geb",
}
"""Objectives that have parameters of their own, and the field of `spec.training.objective` that holds them."""


class ObjectiveConfig(ContractModel):
    """The objective as in force in this iteration; the exploring term's `alpha` is 0 where `pairs` is Offline.

    Of the groups of parameters exactly the type's own is there, with its defaults where it was left out, so that
    equal meanings are equal configs. What the parameters do: `selm_runtime.train.objectives`.
    """

    type: Literal[
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
    ]
    alpha: float
    beta: float
    optimism_weighting: Literal["AlphaBeta", "Alpha"] = "AlphaBeta"
    explored: Literal["First", "Mean"] = "First"
    xpo: XPOConfig | None = None
    vpo: VPOConfig | None = None
    ipo: IPOConfig | None = None
    sim_po: SimPOConfig | None = Field(default=None, alias="simPO")
    robust_dpo: RobustDPOConfig | None = Field(default=None, alias="robustDPO")
    conservative_dpo: ConservativeDPOConfig | None = Field(default=None, alias="conservativeDPO")
    alpha_dpo: AlphaDPOConfig | None = Field(default=None, alias="alphaDPO")
    ns_dpo: NSDPOConfig | None = Field(default=None, alias="nsDPO")
    rpo: RPOConfig | None = None
    geb: GEBConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _own_parameters(cls, data: Any) -> Any:
        """Give the type's group its defaults where it is absent."""
        if not isinstance(data, dict) or data.get("type") not in OBJECTIVE_PARAMETERS:
            return data
        alias = OBJECTIVE_PARAMETERS[data["type"]]
        name = next(name for name, field in cls.model_fields.items() if (field.alias or name) == alias)
        if data.get(alias) is not None or data.get(name) is not None:
            return data
        return {**{key: value for key, value in data.items() if key not in (alias, name)}, alias: {}}

    @model_validator(mode="after")
    def _no_others_parameters(self) -> ObjectiveConfig:
        own = OBJECTIVE_PARAMETERS.get(self.type)
        for name, field in type(self).model_fields.items():
            alias = field.alias or name
            if alias in OBJECTIVE_PARAMETERS.values() and alias != own and getattr(self, name) is not None:
                raise ValueError(f"{alias} is given, but the objective is {self.type}; allowed is {own or 'neither'}")
        return self
