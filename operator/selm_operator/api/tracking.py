"""`spec.training.reportTo`: experiment trackers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from selm_operator.api.base import URL_PATTERN, Default, SpecModel, Text
from selm_operator.api.references import TokenSecretRef

Name = Annotated[Text, Field(min_length=1, max_length=128)]
Url = Annotated[Text, Field(max_length=1024, pattern=URL_PATTERN)]


class WandbSpec(SpecModel):
    """A Weights & Biases project."""

    project: Annotated[Name, Field(description="the name of the project.")]
    entity: Annotated[Name | None, Field(description="the user or team."), Default("the key's own")] = None
    base_url: Annotated[
        Url | None, Field(alias="baseURL", description="the URL of the server."), Default("wandb.ai")
    ] = None
    api_key_secret_ref: Annotated[
        TokenSecretRef | None,
        Field(description="the Secret with the API key."),
        Default("WANDB_API_KEY of a pod template, else none: the run is written offline, into the store"),
    ] = None


class MlflowSpec(SpecModel):
    """An MLflow experiment."""

    tracking_uri: Annotated[Url, Field(alias="trackingURI", description="the URL of the tracking server.")]
    experiment: Annotated[Name, Field(description="the name of the experiment.")]
    token_secret_ref: Annotated[
        TokenSecretRef | None, Field(description="the Secret with the server's token."), Default("none")
    ] = None


class ReportToSpec(SpecModel):
    """Experiment trackers."""

    wandb: Annotated[WandbSpec | None, Field(description="a Weights & Biases project."), Default("none")] = None
    mlflow: Annotated[MlflowSpec | None, Field(description="an MLflow experiment."), Default("none")] = None
