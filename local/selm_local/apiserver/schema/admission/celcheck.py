"""Rules at admission: they compile, use oldSelf only where there can be one, and are not too dear.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/{validation,cel_validation}.go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from selm_local.apiserver.schema import errors
from selm_local.apiserver.schema.cel.compiler import CompiledRule
from selm_local.apiserver.schema.cel.decltype import MAX_REQUEST_BYTES
from selm_local.apiserver.schema.cel.rules import RuleNode, RuleSet
from selm_local.apiserver.schema.errors import FieldError
from selm_local.apiserver.schema.node import Node

RULE_COST_LIMIT: Final = 10_000_000
"""Most that one expression may cost by estimate, times how often it can run, in CEL cost units."""
CRD_COST_LIMIT: Final = 100_000_000
"""Most that all rules of one version's schema may cost together."""
_MAX_COST: Final = 2**64 - 1
_ADVICE: Final = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"


@dataclass
class CostReport:
    """Estimated costs of a schema's rules. `by_rule`: of each expression, by its path in the CRD."""

    total: int = 0
    by_rule: dict[str, int] = field(default_factory=dict)

    def observe(self, path: str, cost: int) -> None:
        self.total = min(self.total + cost, _MAX_COST)
        self.by_rule[path] = cost

    def most_expensive(self) -> list[str]:
        """The up to four expressions that cost a hundredth of the limit or more, dearest first."""
        dear = [path for path, cost in self.by_rule.items() if cost >= CRD_COST_LIMIT // 100]
        return sorted(dear, key=lambda path: -self.by_rule[path])[:4]


def check(root: Node, rule_set: RuleSet, path: str) -> tuple[list[FieldError], CostReport]:
    """Errors of the rules of a valid schema at `path`, and what they cost."""
    walk = _Walk()
    rules = rule_set.root
    walk.unseen(root, path, rules)
    if rules is not None:
        walk.node(rules, path, cardinality=1, uncorrelatable="")
    found, report = walk.found, walk.report
    if report.total > CRD_COST_LIMIT:
        for each in report.most_expensive():
            text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            found.append(errors.forbidden(each, text))
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        found.append(errors.forbidden(path, _too_dear(name, report.total, CRD_COST_LIMIT)))
    return found, report


class _Walk:
    def __init__(self) -> None:
        self.found: list[FieldError] = []
        self.report = CostReport()

    def unseen(self, node: Node, path: str, rules: RuleNode | None) -> None:
        """Refuses rules on values of which the schema says too little for CEL to see them."""
        if node.rules and (rules is None or not rules.rules):
            text = "Internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations"
            self.found.append(FieldError(f"{path}.x-kubernetes-validations", "InternalError", text))
        for name, schema in node.properties.items():
            self.unseen(schema, f"{path}.properties[{name}]", rules.properties.get(name) if rules else None)
        if node.additional is not None:
            self.unseen(node.additional, f"{path}.additionalProperties", rules.additional if rules else None)
        if node.items is not None:
            self.unseen(node.items, f"{path}.items", rules.items if rules else None)

    def node(self, rules: RuleNode, path: str, cardinality: int | None, uncorrelatable: str) -> None:
        """`cardinality`: how many of this node an object can hold, None: unbounded by the schema.

        `uncorrelatable`: the path of the first ancestor whose children cannot be matched with their old selves.
        """
        for i, compiled in enumerate(rules.rules):
            where = f"{path}.x-kubernetes-validations[{i}]"
            self._costs(compiled, where, cardinality, rules.min_size)
            self._problems(compiled, where, uncorrelatable)
        node, source = rules.node, rules.node.source
        loose = uncorrelatable or (path if node.map_type == "atomic" else "")
        for name, below in rules.properties.items():
            self.node(below, f"{path}.properties[{name}]", cardinality, loose)
        if rules.additional is not None:
            below_count = _times(cardinality, source.get("maxProperties"))
            self.node(rules.additional, f"{path}.additionalProperties", below_count, uncorrelatable)
        if rules.items is not None:
            loose = uncorrelatable or (path if node.list_type != "map" else "")
            self.node(rules.items, f"{path}.items", _times(cardinality, source.get("maxItems")), loose)

    def _costs(self, compiled: CompiledRule, where: str, cardinality: int | None, min_size: int) -> None:
        count = MAX_REQUEST_BYTES // (min_size + 1) if cardinality is None else cardinality
        if compiled.program is not None:
            cost = min(compiled.program.cost * count, _MAX_COST)
            if cost > RULE_COST_LIMIT:
                text = _too_dear("estimated rule cost", cost, RULE_COST_LIMIT)
                self.found.append(errors.forbidden(f"{where}.rule", text))
            self.report.observe(f"{where}.rule", cost)
        if compiled.message is not None:
            cost = compiled.message.cost
            if cost > RULE_COST_LIMIT:
                text = _too_dear("estimated messageExpression cost", cost, RULE_COST_LIMIT)
                self.found.append(errors.forbidden(f"{where}.messageExpression", text))
            self.report.observe(f"{where}.messageExpression", cost)

    def _problems(self, compiled: CompiledRule, where: str, uncorrelatable: str) -> None:
        rule = compiled.rule
        if compiled.problem:
            self.found.append(errors.invalid(f"{where}.rule", rule.go_json(), compiled.problem))
        if compiled.message_problem:
            self.found.append(errors.invalid(f"{where}.messageExpression", rule.go_json(), compiled.message_problem))
        if compiled.program is None:
            return
        if compiled.program.uses_old_self:
            if uncorrelatable:
                text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelatable}"
                self.found.append(errors.invalid(f"{where}.rule", rule.rule, text))
        elif rule.optional_old_self is not None:
            text = "may not be set if oldSelf is not used in rule"
            self.found.append(errors.invalid(f"{where}.optionalOldSelf", rule.optional_old_self, text))


def _times(cardinality: int | None, most: int | None) -> int | None:
    return None if cardinality is None or most is None else min(cardinality * max(most, 0), _MAX_COST)


def _too_dear(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x" if factor <= 100 else "more than 100x"
    return f"{name} exceeds budget by factor of {shown} {_ADVICE}"
