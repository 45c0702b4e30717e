"""The rules of each kind."""

from selm_local.apiserver import resources as r
from selm_local.apiserver.kinds import apps, core, events, policies
from selm_local.apiserver.kinds.base import Decoded, DecodeError, Strategy
from selm_local.apiserver.kinds.builtin import BuiltIn
from selm_local.apiserver.kinds.claims import PersistentVolumeClaims
from selm_local.apiserver.kinds.crds import CustomResourceDefinitions
from selm_local.apiserver.kinds.jobs import Jobs
from selm_local.apiserver.kinds.pods import Pods
from selm_local.apiserver.kinds.quotas import ResourceQuotas
from selm_local.apiserver.kinds.services import Services

__all__ = ["DecodeError", "Decoded", "Strategy", "built_in_strategy"]

_STRATEGIES: dict[r.Resource, type[BuiltIn]] = {
    r.CONFIG_MAPS: core.ConfigMaps,
    r.SECRETS: core.Secrets,
    r.SERVICE_ACCOUNTS: core.ServiceAccounts,
    r.NAMESPACES: core.Namespaces,
    r.NODES: core.Nodes,
    r.SERVICES: Services,
    r.RESOURCE_QUOTAS: ResourceQuotas,
    r.DEPLOYMENTS: apps.Deployments,
    r.REPLICA_SETS: apps.ReplicaSets,
    r.POD_DISRUPTION_BUDGETS: policies.PodDisruptionBudgets,
    r.NETWORK_POLICIES: policies.NetworkPolicies,
    r.LEASES: core.Leases,
    r.ROLES: core.RoleLike,
    r.CLUSTER_ROLES: core.RoleLike,
    r.ROLE_BINDINGS: core.RoleBindingLike,
    r.CLUSTER_ROLE_BINDINGS: core.RoleBindingLike,
    r.PRIORITY_CLASSES: core.PriorityClasses,
    r.EVENTS: events.CoreEvents,
    r.EVENTS_V1: events.NewEvents,
    r.PERSISTENT_VOLUME_CLAIMS: PersistentVolumeClaims,
    r.PODS: Pods,
    r.JOBS: Jobs,
    r.CRDS: CustomResourceDefinitions,
}


def built_in_strategy(resource: r.Resource) -> Strategy:
    """The rules of one of Kubernetes' own kinds."""
    return _STRATEGIES.get(resource, BuiltIn)(resource)
