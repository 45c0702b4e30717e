"""Preparation's course: data, models, selection, portions, commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from selm_runtime.artifacts.manifest import FileEntry
from selm_runtime.artifacts.store import NotFound, Store
from selm_runtime.contract import PairRMConfig, PhaseConfig, ScorerModelConfig
from selm_runtime.data.fit import rows_kept
from selm_runtime.data.overlap import Overlap, copy_without, keys_of
from selm_runtime.data.rows import common_columns, copy_rows, held_out_rows, portion_ranges
from selm_runtime.data.tokens import load_tokenizer
from selm_runtime.data.turns import check_turns
from selm_runtime.engine import check_engine_args
from selm_runtime.errors import STORE_UNAVAILABLE, InvalidInput, TemporaryFailure
from selm_runtime.inputs import HELD_OUT
from selm_runtime.phase import PhaseContext
from selm_runtime.prepare.checks import DataFacts, check_data, check_model, check_score_columns, score_columns
from selm_runtime.prepare.data import Dataset, SplitRows, read_split, resolve_data
from selm_runtime.prepare.judging import bring_judges, check_tests
from selm_runtime.prepare.models import Role, Wanted, import_model, publish_import, read_config
from selm_runtime.prepare.rows import Rows, answered_by, asked_by, ruled_by, scored_by
from selm_runtime.prepare.selection import publish_fit, select_rows
from selm_runtime.prepare.sources import resolve_model
from selm_runtime.prepare.suites import bring_suites
from selm_runtime.prepare.tokenizer import check_dialogue, check_tokenizer, policy_render, template_render
from selm_runtime.score.pair_rm_network import check_pair_rm_weights
from selm_runtime.score.reward_model import check_head
from selm_runtime.score.scorers import check_imported, check_scoring
from selm_runtime.train.compiler import check_compile, made_for_gpus
from selm_runtime.train.quantized import check_quantization
from selm_runtime.train.trackers import require_libraries


def prepare(ctx: PhaseContext) -> None:
    """Commit `rows/portion-<n>.parquet`, `rows/held-out.parquet`, `model/*`, `scorers/<name>/*`, `suites/<suite>/*` and,
    with a selection, `fit/log-probs.parquet`.

    The manifest's facts hold the pins, the rows of each portion and of the held-out set, and whether the data has
    pairs. Raises InvalidInput for everything that no later attempt could mend.
    """
    with ctx.reporter.stage("data") as data_stage:
        check_split_names(ctx.config)
        require_libraries(ctx.config)
        check_compile(ctx.config.training, on_gpu=made_for_gpus())
        check_engine_args(ctx.config.generation.engine_args)
        probe(ctx.store, f"{ctx.folder.place}/{ctx.folder.within}/probe")
        sources = _resolve(ctx)
        dataset = resolve_data(ctx)
        train, held_out = _read_data(ctx, dataset)
        data = dataset.facts()
        suites = bring_suites(ctx)
        rows, facts, overlap = _separate(ctx, train, held_out, suites.prompts)
        check_data(ctx.config, facts)
        everything = Rows(ctx, [rows, held_out_path(ctx)], [train, *([] if held_out is None else [held_out])])
        check_scoring(ctx.config.scoring, common_columns(everything.paths))
        check_score_columns(ctx.config, common_columns([rows]))
        check_tests(ctx.config.scoring, everything.paths)
        everything.check(ruled_by(ctx.config.scoring))
        everything.check(scored_by(score_columns(ctx.config)), [rows])
        data_stage |= {"rows": sum(facts.portions), "overlap": facts.overlap}
    with ctx.reporter.stage("models"):
        files = bring_judges(ctx, everything) | suites.files
        policy, *judging = sources
        imports = [import_model(ctx, policy, partial(check_policy, ctx.config, everything, facts.format))]
        imports += [
            import_model(
                ctx,
                model,
                partial(check_scorer, ctx.config, everything, model),
                partial(check_weights, model),
            )
            for model in judging
        ]
    adopted: list[FileEntry] = [entry for imported in imports for entry in imported.entries]
    selection = ctx.config.data.selection
    selected = select_rows(ctx, selection, imports[0], rows) if selection is not None else None
    if selected is not None:
        rows = selected.rows
        files |= selected.files
        adopted += selected.adopted
    files |= _cut(ctx, rows, facts.portions)
    scorers = {imported.prefix.split("/")[1]: dict(imported.facts) for imported in imports[1:]}
    manifest = ctx.folder.commit(
        files,
        rows=sum(facts.portions),
        metrics={
            "rows": sum(facts.portions),
            "heldOutRows": facts.held_out,
            "evaluationOverlap": facts.overlap,
            **({} if selected is None else {"leftOutBySelection": facts.left_out}),
        },
        facts={
            "model": dict(imports[0].facts),
            "data": {**data, "format": facts.format},
            "scorers": scorers,
            "portions": list(facts.portions),
            "heldOutRows": facts.held_out,
            "evaluationOverlap": facts.overlap,
            **({"suites": _with_overlap(suites.facts, overlap)} if suites.facts else {}),
            "hasOfflinePairs": facts.has_pairs,
            "heldOutHasPairs": facts.held_out_has_pairs,
            **({} if selected is None else {"selection": selected.facts}),
        },
        adopted=adopted,
    )
    for imported in imports:
        publish_import(ctx, imported, manifest)
    if selected is not None:
        publish_fit(ctx, selected, manifest)


def check_policy(config: PhaseConfig, rows: Rows, data_format: str, local: Path) -> None:
    """The model's lengths, its tokenizer and the modules that are to get adapters, by its small files; and whether its
    chat template takes every row's prompt, and writes responses of several turns as they are.
    """
    model = read_config(local, "spec.model")
    check_model(config, model)
    check_tokenizer(local, model, trust_remote_code=config.model.trust_remote_code)
    render = policy_render(local, trust_remote_code=config.model.trust_remote_code)
    rows.check([asked_by(render, config.data, "spec.model")])
    if config.evaluation.mt_bench is not None:
        check_dialogue(render)
    if data_format == "MultiTurn":
        tokenizer = load_tokenizer(local, trust_remote_code=config.model.trust_remote_code)
        rows.check([partial(check_turns, tokenizer)])
    adapters = config.training.lora
    if adapters is not None:
        check_quantization(adapters, config.training.zero_stage)
    # Imported here: most of Preparation's pure parts need no torch.
    from selm_runtime.train import lora, probe

    shapes = probe.by_shapes(
        local, max_length=config.training.max_length, trust_remote_code=config.model.trust_remote_code
    )
    if shapes is not None and adapters is not None and adapters.target_modules:
        lora.check_targets(shapes.causal_lm.base_model, adapters)


def check_scorer(config: PhaseConfig, rows: Rows, wanted: Wanted, local: Path) -> None:
    """Whether a scorer's model can score, by its small files, and a reward model's chat template takes every row."""
    check_imported(config.scoring, wanted.prefix, local)
    if wanted.role == "RewardModel":
        rows.check([answered_by(template_render(local, wanted.field), wanted.field)])


def check_weights(wanted: Wanted, local: Path, names: Collection[str]) -> None:
    """Whether a scorer's weights, by their names, are what its role needs. Imports torch."""
    if wanted.role == "PairRM":
        check_pair_rm_weights(read_config(local, wanted.field), names, wanted.field)
    else:
        check_head(local, names, wanted.field, trust_remote_code=wanted.trust_remote_code)


def probe(store: Store, key: str) -> None:
    """Write, read, list and delete one object: a missing bucket or refused rights are known before a GPU is paid for."""
    written = b"selm"
    store.put(key, written)
    try:
        read = store.get(key)
    except NotFound:
        read = b""
    if read != written or not any(info.key == key for info in store.list(key)):
        raise TemporaryFailure(
            STORE_UNAVAILABLE, f"spec.artifacts.uri: {store.uri_of(key)} was written, but is not read back or listed"
        )
    store.delete([key])


def check_split_names(config: PhaseConfig) -> None:
    """Raises InvalidInput where the rows for evaluation are those for training."""
    held_out = config.data.held_out
    if held_out is not None and held_out.split == config.data.split:
        raise InvalidInput(
            "InvalidSplit",
            f"spec.data.heldOut.split: found {held_out.split!r}, the split that is trained on; allowed is another one, or "
            "no heldOut, which holds back the split's last rows",
        )


def _resolve(ctx: PhaseContext) -> list[Wanted]:
    """The model, then each scorer's, found and pinned."""
    config = ctx.config
    source = resolve_model(config.model.uri, config.model.revision, config.artifacts, field="spec.model")
    resolved = [
        Wanted(source, "CausalLM", "model/", "spec.model", config.model.revision, config.model.trust_remote_code)
    ]
    for index, scorer in enumerate(config.scoring.scorers):
        kinds: list[tuple[str, Role, PairRMConfig | ScorerModelConfig | None]] = [
            ("rewardModel", "RewardModel", scorer.reward_model),
            ("pairRM", "PairRM", scorer.pair_rm),
        ]
        for name, role, model in kinds:
            if model is not None:
                field = f"spec.scoring.scorers[{index}].{name}"
                source = resolve_model(model.uri, model.revision, config.artifacts, field=field)
                code = scorer.reward_model is not None and scorer.reward_model.trust_remote_code
                prefix = f"scorers/{scorer.name}/"
                resolved.append(Wanted(source, role, prefix, field, model.revision, code))
    return resolved


def _read_data(ctx: PhaseContext, dataset: Dataset) -> tuple[SplitRows, SplitRows | None]:
    data = ctx.config.data
    train = read_split(ctx, dataset, data.split, field="spec.data.split")
    if data.held_out is None:
        return train, None
    held_out = read_split(
        ctx,
        dataset,
        data.held_out.split,
        field="spec.data.heldOut.split",
        first=train.rows,  # row ids are unique over the run
        limit=data.held_out.limit,
    )
    return train, held_out


def _with_overlap(facts: Mapping[str, Any], overlap: Overlap) -> dict[str, Any]:
    """Each suite's facts with the rows that are not trained on, for the suite asks the same."""
    return {name: {**its, "overlap": overlap.by_set[name]} for name, its in facts.items()}


def held_out_path(ctx: PhaseContext) -> Path:
    """Where the held-out rows lie in this process."""
    return ctx.scratch / "held-out.parquet"


def _separate(
    ctx: PhaseContext, train: SplitRows, held_out: SplitRows | None, asked: Mapping[str, frozenset[bytes]]
) -> tuple[Path, DataFacts, Overlap]:
    """The file of the rows for training, none of which is evaluated on, what is known of the data, and what was left
    out.

    `asked`: the keys of the suites' prompts. How many rows a selection keeps is known before it says which.
    """
    apart = held_out_path(ctx)
    first_held_out = train.rows
    if held_out is None:
        first_held_out -= held_out_rows(train.rows)
        copy_rows(train.path, range(first_held_out, train.rows), apart)
    else:
        held_out.path.rename(apart)
    own = ctx.scratch / "training-rows.parquet"
    overlap = copy_without(train.path, first_held_out, {HELD_OUT: keys_of(apart), **asked}, own)
    found = first_held_out - overlap.rows
    selection = ctx.config.data.selection
    kept = found if selection is None else rows_kept(found, selection.keep)
    facts = DataFacts(
        portions=[len(portion) for portion in portion_ranges(kept, ctx.config.data.portions)],
        held_out=train.rows - first_held_out if held_out is None else held_out.rows,
        has_pairs=train.has_pairs,
        held_out_has_pairs=train.has_pairs if held_out is None else held_out.has_pairs,
        format=train.format,
        overlap=overlap.rows,
        left_out=found - kept,
    )
    return own, facts, overlap


def _cut(ctx: PhaseContext, rows: Path, portions: Sequence[int]) -> dict[str, Path]:
    """The files of rows by logical name: the portions in the rows' order, with their numbers of rows, and the held-out."""
    files: dict[str, Path] = {}
    start = 0
    for number, count in enumerate(portions, start=1):
        path = ctx.scratch / f"portion-{number:04d}.parquet"
        copy_rows(rows, range(start, start + count), path)
        files[f"rows/portion-{number:04d}.parquet"] = path
        start += count
    return {**files, HELD_OUT: held_out_path(ctx)}
