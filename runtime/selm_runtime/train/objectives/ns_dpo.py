"""NS-DPO: preferences that drift, older pairs discounted (arXiv 2407.18676).

Minimised, for each pair:  gamma^age (-log sigma(r_w - r_l)),  age: iterations since the pair was made. Training takes
the pairs of all iterations so far. The weights are not divided by their sum, as the published code does within a
micro-batch: the loss would depend on how pairs are spread.
"""

from __future__ import annotations

from selm_runtime.contract import NSDPOConfig, ObjectiveConfig
from selm_runtime.train.objectives.base import Evaluated, Objective, Record, dpo_rewards, evaluated, log_sigmoid


def evaluate(record: Record, config: ObjectiveConfig) -> Evaluated:
    if record.age is None:
        raise ValueError("the NSDPO objective needs the pairs' age, and there is none")
    chosen, rejected = dpo_rewards(record, config)
    discount = (config.ns_dpo or NSDPOConfig()).gamma ** record.age
    return evaluated(record, discount * -log_sigmoid(chosen - rejected), (chosen, rejected))


OBJECTIVE = Objective("NSDPO", evaluate, needs_age=True)
