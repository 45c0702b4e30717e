"""Input digests: what a phase's output is a function of, and nothing else.

Two phases with equal input digests may stand for each other. So a digest covers the contents that come in, the
rows, the sampling or the objective as in force, and the seed. It leaves out names, places, how the work is spread
(shards, nodes, ranks, tensor parallelism, ZeRO stage, micro-batches, checkpoints, resources, image), by which way weights
reach an engine, the number of iterations, and for generation and scoring everything that only training reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from selm_runtime.artifacts.commit import portion_name
from selm_runtime.artifacts.manifest import Manifest, content_digest, digest_of
from selm_runtime.contract import JudgeConfig, Phase, PhaseConfig, SuiteJudgeConfig
from selm_runtime.errors import InvalidInput
from selm_runtime.train.batches import own_in_batch
from selm_runtime.train.objectives import explored_policy, needs_of, settings_that_count

Manifests = Mapping[tuple[Phase, int], Manifest]

HELD_OUT = "rows/held-out.parquet"
SUITES = "suites/"
"""Before the logical names of the files that Preparation imports for suites."""
EVALUATION_FIGURES = 2
"""Raised when Evaluation reports more of the same inputs, so that an evaluation without it is not taken over."""
WORSE_ONLY = frozenset({"MaxMax", "MaxRandom"})
"""Pairing rules that take a worse one where several are best; before, they dropped such prompts (or some of them)."""
EXECUTION_VERSION = 2
"""Raised when the same code and tests may get another score: 2 since the limit of time is the declared one."""


def required_manifests(config: PhaseConfig) -> tuple[tuple[Phase, int], ...]:
    """The committed phases that this phase's output depends on."""
    t = config.iteration
    if config.phase is Phase.PREPARATION:
        return ()
    if config.phase is Phase.PUSH:  # whatever is committed stands in the card
        return tuple((done.phase, done.iteration) for done in config.committed if done.phase is not Phase.PUSH)
    needed = [
        (Phase.PREPARATION, 0),
        starting_model(config) if config.phase is not Phase.EVALUATION else model_after(t),
    ]
    if config.phase is Phase.GENERATION and "Reference" in config.generation.policies:
        needed.append(reference_model(config))
    if config.phase is Phase.SCORING:
        needed.append((Phase.GENERATION, t))
    if config.phase is Phase.TRAINING:
        if needs_of(config).reference:
            needed.append(reference_model(config))
        if config.training.pairs == "Online":
            needed.append((Phase.SCORING, t))
        needed += [(Phase.SCORING, past) for past in _past(config) if past not in config.offline_iterations]
    if config.phase is Phase.EVALUATION:
        needed += [(Phase.EVALUATION, earlier) for earlier in range(t)]
        if config.manifest_of(Phase.SCORING, t) is not None:
            needed.append((Phase.SCORING, t))
    return tuple(dict.fromkeys(needed))


def input_digest(config: PhaseConfig, manifests: Mapping[tuple[Phase, int], Manifest]) -> str:
    """`sha256:<hex>` of what the phase's output depends on; `manifests` holds the `required_manifests`.

    Raises InvalidInput where one of them is missing.
    """
    for phase, iteration in required_manifests(config):
        if (phase, iteration) not in manifests:
            raise InvalidInput(
                "MissingArtifact",
                f"{config.phase} of iteration {config.iteration} needs {phase} of iteration {iteration}, "
                "which is not among the phases committed so far",
            )
    covered = {
        Phase.PREPARATION: _preparation,
        Phase.GENERATION: _generation,
        Phase.SCORING: _scoring,
        Phase.TRAINING: _training,
        Phase.EVALUATION: _evaluation,
        Phase.PUSH: _push,
    }[config.phase](config, manifests)
    return digest_of({"contract": config.contract_version, "phase": config.phase.value, **covered})


def _preparation(config: PhaseConfig, _: Manifests) -> dict[str, Any]:
    # As declared, since revisions are resolved by the phase itself: enough to tell a later attempt that what is
    # committed is its own. Other runs find imports by their resolved digests instead.
    return {
        "model": _dump(config.model),
        "data": config.data.model_dump(mode="json", exclude=set() if config.data.selection else {"selection"}),
        "scorers": [
            {"name": scorer.name, **model.model_dump(mode="json", exclude={"engine"})}  # who runs it is no import
            for scorer in config.scoring.scorers
            for model in (scorer.reward_model, scorer.pair_rm)
            if model is not None
        ],
        "templates": {
            scorer.name: scorer.judge.template
            for scorer in config.scoring.scorers
            if scorer.judge is not None and scorer.judge.template is not None
        },
        **_declared_suites(config),
    }


def _declared_suites(config: PhaseConfig) -> dict[str, Any]:
    """What Preparation imports for suites; nothing where none is run, so that such runs keep their digests."""
    lm_eval = config.evaluation.lm_eval
    declared = {} if lm_eval is None else {"lmEval": lm_eval.model_dump(mode="json", exclude={"batch_size"})}
    alpaca = config.evaluation.alpaca_eval
    if alpaca is not None:
        declared["alpacaEval"] = alpaca.model_dump(mode="json", include={"uri", "revision", "limit", "template"})
    mt_bench = config.evaluation.mt_bench
    if mt_bench is not None:
        declared["mtBench"] = mt_bench.model_dump(mode="json", include={"uri", "revision"})
    return {"suites": declared} if declared else {}


def _generation(config: PhaseConfig, manifests: Manifests) -> dict[str, Any]:
    return {
        "iteration": config.iteration,  # seeds differ between iterations
        "seed": config.seed,
        "rows": _file(manifests, portion_name(config)),
        "policy": _model(manifests, starting_model(config)),
        "reference": _model(manifests, reference_model(config)) if "Reference" in config.generation.policies else None,
        "sampling": _sampling(config),
        "prompts": _prompt_limits(config),
        "goal": _goal(config),
    }


def _scoring(config: PhaseConfig, manifests: Manifests) -> dict[str, Any]:
    return {
        "iteration": config.iteration,
        "seed": config.seed,
        "rows": _file(manifests, portion_name(config)),
        "responses": manifests[Phase.GENERATION, config.iteration].content_digest,
        "tokenizer": _tokenizer(manifests, starting_model(config)),
        "scorers": _scorers(config, manifests),
        "pairing": _pairing(config),
        "lengthPenalty": config.scoring.length_penalty,
        "lengths": _lengths(config),
    }


def _training(config: PhaseConfig, manifests: Manifests) -> dict[str, Any]:
    training = config.training
    return {
        "iteration": config.iteration,
        "seed": config.seed,
        "policy": _model(manifests, starting_model(config)),
        "reference": _model(manifests, reference_model(config)) if needs_of(config).reference else None,
        "pairs": _pairs(config, manifests, config.iteration, online=training.pairs == "Online"),
        "past": [_pairs(config, manifests, t, online=t not in config.offline_iterations) for t in _past(config)],
        "own": [training.offline_share, _file(manifests, portion_name(config))] if own_in_batch(training) else None,
        "source": training.pairs,
        "objective": settings_that_count(config),
        "explores": explored_policy(config),
        "goal": [_goal(config), _file(manifests, portion_name(config))] if _goal(config) else None,
        "lora": None if training.lora is None else _dump(training.lora),
        "optimizer": _dump(training.optimizer),
        "lengths": _lengths(config),
        **({"compile": True} if training.compile else {}),  # other last bits; without it digests are what they were
        **{
            name: getattr(training, name)
            for name in (
                "learning_rate",
                "lr_scheduler",
                "warmup_ratio",
                "max_grad_norm",
                "precision",
                "batch_size",
                "epochs",
            )
        },
    }


def _past(config: PhaseConfig) -> range:
    """The earlier iterations whose pairs are trained on, too."""
    return range(1, config.iteration) if needs_of(config).past else range(0)


def _pairs(config: PhaseConfig, manifests: Manifests, iteration: int, *, online: bool) -> str:
    if online:
        return manifests[Phase.SCORING, iteration].content_digest
    return _file(manifests, portion_name(config, iteration))


def _evaluation(config: PhaseConfig, manifests: Manifests) -> dict[str, Any]:
    scoring = manifests.get((Phase.SCORING, config.iteration))
    return {
        "figures": EVALUATION_FIGURES,
        "iteration": config.iteration,
        "seed": config.seed,
        "heldOut": _file(manifests, HELD_OUT),
        "model": _model(manifests, model_after(config.iteration)),
        "base": _model(manifests, model_after(0)),
        "reference": config.training.reference,  # the explored log-ratio is taken against it
        "pairs": scoring.content_digest if scoring is not None else None,
        "earlier": [_outcome(manifests[Phase.EVALUATION, earlier]) for earlier in range(config.iteration)],
        "sampling": _sampling(
            config, leaving_out={"samples_per_prompt", "policies", "reproducible"}
        ),  # one response a row
        "scorers": _scorers(config, manifests),
        "lengthPenalty": config.scoring.length_penalty,
        "selectBy": _dump(config.evaluation.select_by),
        "goal": _goal(config),
        "precision": config.training.precision,
        "lengths": _lengths(config),
        **_suites(config, manifests),
    }


def _suites(config: PhaseConfig, manifests: Manifests) -> dict[str, Any]:
    """What decides the suites' figures beside the model; nothing where none is run."""
    lm_eval, preparation = config.evaluation.lm_eval, manifests[Phase.PREPARATION, 0]
    found: dict[str, Any] = {}
    if lm_eval is not None:
        places = {"uri", "revision", "batch_size"}
        settings = lm_eval.model_dump(mode="json", exclude=places)
        found["lmEval"] = [settings, preparation.content_under(f"{SUITES}lm-eval/")]
    alpaca = config.evaluation.alpaca_eval
    if alpaca is not None:
        content = preparation.content_under(f"{SUITES}alpaca-eval/")
        found["alpacaEval"] = [alpaca.max_tokens, _suite_judge(alpaca.judge), content]
    mt_bench = config.evaluation.mt_bench
    if mt_bench is not None:
        content = preparation.content_under(f"{SUITES}mt-bench/")
        found["mtBench"] = [mt_bench.max_tokens, _suite_judge(mt_bench.judge), content]
    return {"suites": found} if found else {}


def _suite_judge(judge: SuiteJudgeConfig) -> dict[str, Any]:
    """How fast and how much may be asked decides nothing."""
    return judge.model_dump(mode="json", exclude={"concurrency", "requests_per_minute", "token_budget"})


def _push(config: PhaseConfig, manifests: Manifests) -> dict[str, Any]:
    committed = sorted([iteration, phase.value, manifest.digest] for (phase, iteration), manifest in manifests.items())
    return {
        "iteration": config.iteration,
        "push": None if config.push is None else config.push.model_dump(mode="json", exclude={"plain_http"}),
        "keeps": config.retention == "KeepLast",
        "committed": committed,
    }


def model_after(iteration: int) -> tuple[Phase, int]:
    """Who holds the model after an iteration; 0: the base."""
    return (Phase.TRAINING, iteration) if iteration > 0 else (Phase.PREPARATION, 0)


def starting_model(config: PhaseConfig) -> tuple[Phase, int]:
    """Who holds the policy that the iteration starts from: the last Training, or Preparation (the base)."""
    return model_after(config.iteration - 1)


def reference_model(config: PhaseConfig) -> tuple[Phase, int]:
    """Who holds the iteration's reference: the policy that it starts from (`Previous`) or the base (`Initial`)."""
    return starting_model(config) if config.training.reference == "Previous" else model_after(0)


def _model(manifests: Manifests, where: tuple[Phase, int]) -> str:
    return manifests[where].content_under("model/")


def _tokenizer(manifests: Manifests, where: tuple[Phase, int]) -> str:
    entries = manifests[where].under("model/")
    return content_digest(entry for entry in entries if not entry.name.endswith((".safetensors", ".index.json")))


def _file(manifests: Manifests, name: str) -> str:
    try:
        return manifests[Phase.PREPARATION, 0].file(name).sha256
    except KeyError as error:
        raise InvalidInput("MissingArtifact", str(error.args[0])) from error


def _outcome(manifest: Manifest) -> list[Any]:
    return [manifest.content_digest, manifest.metrics, manifest.facts]


def _sampling(config: PhaseConfig, *, leaving_out: Set[str] = frozenset()) -> dict[str, Any]:
    spread = {"shards", "engines_per_pod", "tensor_parallel_size"}
    return config.generation.model_dump(mode="json", exclude=spread | {"weights"} | leaving_out)


def _scorers(config: PhaseConfig, manifests: Manifests) -> list[dict[str, Any]]:
    preparation = manifests[Phase.PREPARATION, 0]
    return [
        {
            "name": scorer.name,
            "weight": scorer.weight,
            "rules": None if scorer.rules is None else [_dump(rule) for rule in scorer.rules],
            "model": None
            if scorer.reward_model is None and scorer.pair_rm is None
            else preparation.content_under(f"scorers/{scorer.name}/"),
            "kind": "pairRM" if scorer.pair_rm is not None else None,
            "objectives": None
            if scorer.reward_model is None or scorer.reward_model.objectives is None
            else {objective.label: objective.weight for objective in scorer.reward_model.objectives},
            "judge": None if scorer.judge is None else _judge(config, manifests, scorer.name, scorer.judge),
            "execution": None
            if scorer.execution is None
            else {**_dump(scorer.execution), "version": EXECUTION_VERSION},
            # Only where it is not the usual one: what was scored before there was a choice stays found.
            **(
                {"engine": scorer.reward_model.engine}
                if scorer.reward_model is not None and scorer.reward_model.engine != "Transformers"
                else {}
            ),
        }
        for scorer in config.scoring.scorers
    ]


def _pairing(config: PhaseConfig) -> dict[str, Any]:
    """The rule and its settings; marked where equal scores may give other pairs than they once did."""
    pairing = config.scoring.pairing
    return {**_dump(pairing), **({"ties": "WorseOnly"} if pairing.rule in WORSE_ONLY else {})}


def _judge(config: PhaseConfig, manifests: Manifests, name: str, judge: JudgeConfig) -> dict[str, Any]:
    """What decides a judge's verdicts; how fast and how much may be asked does not."""
    asked = {"template", "concurrency", "requests_per_minute", "token_budget"}
    template = None if judge.template is None else manifests[Phase.PREPARATION, 0].content_under(f"scorers/{name}/")
    own: list[Any] = []
    if judge.policy is not None:
        base = judge.policy == "Base" or config.phase is Phase.EVALUATION
        own = [_model(manifests, model_after(0) if base else starting_model(config)), config.generation.engine_args]
    return {**judge.model_dump(mode="json", exclude=asked), "template": template, "own": own}


def _prompt_limits(config: PhaseConfig) -> list[Any]:
    return [config.training.max_prompt_length, config.training.truncation]


def _goal(config: PhaseConfig) -> dict[str, Any] | None:
    """What is asked for in prompts."""
    augmented = config.data.reward_augmented
    return None if augmented is None else _dump(augmented)


def _lengths(config: PhaseConfig) -> list[Any]:
    return [config.training.max_length, *_prompt_limits(config)]


def _dump(model: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = model.model_dump(mode="json")
    return dumped
