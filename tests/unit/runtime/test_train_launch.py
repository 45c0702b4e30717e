"""The pod's entry: how ranks' ends become the pod's, and what is refused before any rank exists."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from selm_runtime.artifacts.cache import ModelCache
from selm_runtime.artifacts.commit import PhaseFolder
from selm_runtime.artifacts.store import open_store
from selm_runtime.contract import Phase, PhaseConfig, PhaseError
from selm_runtime.errors import InvalidInput, PeerLost, TemporaryFailure
from selm_runtime.phase import PhaseContext, StopFlag
from selm_runtime.reporting import Reporter
from selm_runtime.train.agent import RANK_FAILED, exit_code_of
from selm_runtime.train.data import PairCounts, bring_pairs
from selm_runtime.train.job import Outcome
from selm_runtime.train.launch import await_name, let_peer_end, raise_for, rendezvous_of
from selm_runtime.train.pairs import Pair, PairTable, is_own, pair_id, reversed_id, row_of, write_pairs
from support.train_world import TrainWorld

DONE = Outcome(exit_code=0)


def failed(code: int, message: str = "because") -> Outcome:
    return Outcome(exit_code=code, error=PhaseError(reason="Reason", message=message))


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        pytest.param([-signal.SIGKILL], RANK_FAILED, id="a killed rank counts"),
        pytest.param([76, -signal.SIGSEGV], RANK_FAILED, id="a crash explains the lost peers"),
        pytest.param([1, 64], RANK_FAILED, id="an exception counts"),
        pytest.param([76, 64], 64, id="refused input explains the lost peers"),
        pytest.param([76, 75], 75, id="a rank that was asked to go explains the lost peers"),
        pytest.param([76, 76], 76, id="lost peers alone do not count"),
    ],
)
def test_what_failed_ranks_amount_to(codes: list[int], expected: int) -> None:
    assert exit_code_of(codes) == expected


@pytest.mark.parametrize(
    ("code", "outcomes", "error", "says"),
    [
        pytest.param(64, [failed(76), failed(64, "row 3")], InvalidInput, "row 3", id="the refusing rank's words"),
        pytest.param(75, [failed(75, "preempted")], TemporaryFailure, "preempted", id="temporary"),
        pytest.param(76, [failed(76, "gone")], PeerLost, "gone", id="peer lost"),
        pytest.param(76, [None], PeerLost, "said why", id="no rendezvous, no rank, no words"),
        pytest.param(1, [failed(1, "out of memory"), None], RuntimeError, "out of memory", id="a crash with words"),
        pytest.param(1, [None, failed(76)], RuntimeError, "killed", id="a kill leaves no word"),
        pytest.param(0, [DONE, None], RuntimeError, "killed", id="an agent that says 0 without its ranks' word"),
        pytest.param(-9, [DONE], RuntimeError, "-9", id="the agent was killed"),
    ],
)
def test_how_a_node_ends(code: int, outcomes: list[Outcome | None], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        raise_for(code, outcomes)


def test_a_node_whose_ranks_all_ended_well_ends_well() -> None:
    raise_for(0, [DONE, DONE])


def test_one_node_meets_itself_and_several_meet_at_pod_0(world: TrainWorld) -> None:
    address, port = rendezvous_of(world.config())
    assert address == "127.0.0.1"
    assert port > 0
    with pytest.raises(InvalidInput, match=r"training\.rendezvous"):
        rendezvous_of(world.config(nodes=2))
    two = world.config(nodes=2, rendezvous={"masterAddress": "pod-0.svc", "masterPort": 29500})
    assert rendezvous_of(two) == ("pod-0.svc", 29500)


def context(stop: StopFlag) -> PhaseContext:
    return cast(PhaseContext, SimpleNamespace(stop=stop))


def job(address: str) -> Any:
    return SimpleNamespace(master_address=address, master_port=1, peers_seconds=0)


def test_a_name_that_never_resolves_is_a_lost_peer() -> None:
    with pytest.raises(PeerLost, match=r"nowhere\.invalid"):
        await_name(context(StopFlag()), job("nowhere.invalid"))
    await_name(context(StopFlag()), job("localhost"))


def test_a_pod_that_is_asked_to_go_while_it_waits_for_the_name_goes() -> None:
    stop = StopFlag()
    stop.request()
    with pytest.raises(TemporaryFailure):
        await_name(context(stop), job("nowhere.invalid"))


@pytest.mark.parametrize(
    ("nodes", "asked_after", "waits"),
    [
        pytest.param(2, None, 15.0, id="until the peer had its time"),
        pytest.param(2, 3.0, 3.0, id="until the Job asks this pod to go"),
        pytest.param(1, None, 0.0, id="not at all where all ranks are here"),
    ],
)
def test_a_pod_that_lost_a_peer_lets_that_pod_end_first(
    nodes: int, asked_after: float | None, waits: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, stop = [100.0], StopFlag()

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if asked_after is not None and clock[0] >= 100.0 + asked_after:
            stop.request()

    monkeypatch.setattr("selm_runtime.train.launch.time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    config = SimpleNamespace(training=SimpleNamespace(nodes=nodes))
    let_peer_end(cast(PhaseContext, SimpleNamespace(stop=stop, config=config)))
    assert clock[0] - 100.0 == pytest.approx(waits, abs=0.2)


def load(world: TrainWorld, config: PhaseConfig, into: Path) -> tuple[list[Pair], PairCounts]:
    file = into / f"{config.training.max_length}.parquet"
    counts = bring_pairs(world.phase_folder(config), world.folder / "base", file)
    return list(PairTable(file, explored=True).values()), counts


class AskedToGo:
    """Lets so many units of work pass."""

    def __init__(self, after: int) -> None:
        self.left = after

    def check(self) -> None:
        if self.left == 0:
            raise TemporaryFailure("Preempted", "asked to go")
        self.left -= 1


def test_a_request_to_go_is_obeyed_between_pairs(world: TrainWorld, tmp_path: Path) -> None:
    config = world.config()
    with pytest.raises(TemporaryFailure, match="asked to go"):
        bring_pairs(world.phase_folder(config), world.folder / "base", tmp_path / "pairs", AskedToGo(7).check)


def test_a_request_to_go_is_obeyed_between_the_files_of_a_model(world: TrainWorld, tmp_path: Path) -> None:
    config = world.config()
    folder = PhaseFolder(
        open_store(config.artifacts),
        config,
        input_digest="sha256:" + "1" * 64,
        writer="test",
        reporter=Reporter(config.phase, config.iteration, 0),
        between=AskedToGo(2).check,
    )
    manifest = folder.manifest(Phase.PREPARATION, 0)
    assert len(manifest.under("model/")) > 2
    cache = ModelCache(tmp_path, folder.fetch)
    with pytest.raises(TemporaryFailure, match="asked to go"):
        cache.model(manifest)
    cache.close()
    assert not [path for path in tmp_path.iterdir() if path.is_dir() and not path.suffix], "half a model is none"


def test_online_pairs_come_from_all_of_scorings_chunks_in_row_order(world: TrainWorld, tmp_path: Path) -> None:
    pairs, _ = load(world, world.config(), tmp_path)
    assert [pair.row for pair in pairs] == list(range(18))
    assert all(len(pair.explored) == 1 and pair.online and pair.age == 0 for pair in pairs)
    assert {(pair.chosen_score, pair.rejected_score) for pair in pairs} == {(1.0, 0.0)}


def test_offline_pairs_are_the_portions_own_with_one_bos_one_eos_and_nothing_explored(
    world: TrainWorld, tmp_path: Path
) -> None:
    pairs, _ = load(world, world.config(pairs="Offline"), tmp_path)
    assert len(pairs) == 18
    for pair in pairs:
        assert pair.explored == ()
        assert (pair.online, pair.chosen_score) == (False, None)
        assert pair.prompt[0] == 1
        assert pair.prompt.count(1) == 1
        assert all(response[-1] == 2 and response.count(2) == 1 for response in (pair.chosen, pair.rejected))


def test_every_sequence_the_explored_one_too_is_cut_to_the_configured_lengths(
    world: TrainWorld, tmp_path: Path
) -> None:
    short, counts = load(world, world.config(maxPromptLength=5, maxLength=9), tmp_path)
    whole, uncut = load(world, world.config(), tmp_path)
    for pair, full in zip(short, whole, strict=True):
        assert pair.prompt == full.prompt[-5:]
        for ours, all_of_it in zip(
            (pair.chosen, pair.rejected, *pair.explored), (full.chosen, full.rejected, *full.explored), strict=True
        ):
            assert ours == all_of_it[: 9 - len(pair.prompt)]
    assert uncut.truncated == 0
    assert counts.truncated == sum(pair != full for pair, full in zip(short, whole, strict=True)) > 0


def test_fewer_pairs_than_one_batch_are_refused_and_never_zero_steps(world: TrainWorld, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"batchSize: 20 .* 18"):
        load(world, world.config(batchSize=20), tmp_path)


def test_pairs_pass_through_their_file_unchanged(tmp_path: Path) -> None:
    pairs = [
        Pair(5, (1, 2), (3,), (4,), ((9,), (8, 7)), chosen_score=0.5, rejected_score=-1.0),
        Pair(pair_id(2, made_in=1, own=True), (1,), (3,), (4, 5), age=3, online=False),
    ]
    assert write_pairs(pairs, tmp_path / "p.parquet") == 2
    assert list(PairTable(tmp_path / "p.parquet", explored=True).values()) == pairs
    assert PairTable(tmp_path / "p.parquet", explored=False)[5].explored == ()


def test_ids_are_unique_stable_and_the_rows_number_for_plain_pairs() -> None:
    assert pair_id(7) == 7
    plain = [
        pair_id(row, made_in=made_in, own=own)
        for row in (0, 7, 2**40 - 1)
        for made_in in (0, 1, 50)
        for own in (False, True)
    ]
    ids = {*plain, *map(reversed_id, plain)}
    assert len(ids) == 2 * len(plain)
    assert max(ids) < 2**63
    assert row_of(reversed_id(pair_id(7, made_in=50, own=True))) == 7
    assert is_own(reversed_id(pair_id(7, own=True)))
    assert [is_own(pair_id(7, own=own, made_in=1)) for own in (False, True)] == [False, True]
    with pytest.raises(ValueError, match="row"):
        pair_id(2**40)


def test_a_share_of_the_datas_own_pairs_comes_beside_the_iterations(world: TrainWorld, tmp_path: Path) -> None:
    config = world.config(offlineShare=0.5)
    pairs, counts = load(world, config, tmp_path)
    own = [pair for pair in pairs if is_own(pair.row)]
    assert counts.pairs == len(pairs) == 36
    assert len(own) == 18
    offline, _ = load(world, world.config(pairs="Offline"), tmp_path)
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in own] == [
        (pair.prompt, pair.chosen, pair.rejected) for pair in offline
    ]
    assert not any(pair.explored or pair.online for pair in own)


def test_the_online_pairs_alone_must_make_a_step(world: TrainWorld, tmp_path: Path) -> None:
    load(world, world.config(offlineShare=0.5, batchSize=36), tmp_path)
    with pytest.raises(InvalidInput, match=r"batchSize: 19 .* 18"):
        load(world, world.config(offlineShare=0.5, batchSize=38), tmp_path)


@pytest.mark.parametrize("objective", [{"type": "XPO"}, {"type": "NSDPO"}])
def test_pairs_of_earlier_iterations_come_with_their_age(
    objective: dict[str, str], world: TrainWorld, tmp_path: Path
) -> None:
    more = {"reference": "Initial"} if objective["type"] == "XPO" else {}
    settings = {**objective, "alpha": 0.1, "beta": 0.1}
    config = world.config("two", iteration=2, objective=settings, **more)
    pairs, _ = load(world, config, tmp_path)
    assert [(pair.row, pair.age) for pair in pairs] == [
        *((row, 0) for row in range(18)),
        *((pair_id(row, made_in=1), 1) for row in range(18)),
    ]
    assert all(pair.explored for pair in pairs) == (objective["type"] == "XPO")
    warm = config.model_copy(update={"offline_iterations": (1,)})
    mixed, _ = load(world, warm, tmp_path)
    assert [pair.online for pair in mixed] == [True] * 18 + [False] * 18
    assert not any(pair.explored for pair in mixed if not pair.online)
    plain, _ = load(world, world.config("two", iteration=2), tmp_path)
    assert len(plain) == 18


def test_all_samples_are_explored_where_the_mean_is_asked_for_and_the_references_for_xpo(
    world: TrainWorld, tmp_path: Path
) -> None:
    def explored(policies: tuple[str, ...], **objective: str) -> list[tuple[tuple[int, ...], ...]]:
        config = world.config(objective={"alpha": 0.1, "beta": 0.1, **objective})
        generation = config.generation.model_copy(update={"policies": policies})
        pairs, _ = load(world, config.model_copy(update={"generation": generation}), tmp_path)
        return [pair.explored for pair in pairs]

    current, both = ("Current",), ("Current", "Reference")
    first = explored(current, type="SELM", explored="First")
    mean = explored(current, type="SELM", explored="Mean")
    assert all(len(several) == 2 and several[0] == one for several, (one,) in zip(mean, first, strict=True))
    assert explored(current, type="XPO") == first
    reference = explored(both, type="XPO")
    assert all(ids not in several for (ids,), several in zip(reference, mean, strict=True))
    assert explored(both, type="SELM") == first
