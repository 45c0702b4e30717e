"""Training: one objective over one iteration's pairs, on every rank of every node of a Job.

launch.py       the pod's entry: fetches inputs, starts the ranks, commits as node 0
__main__.py, agent.py   torchrun's agent for one node, static rendezvous
worker.py       one rank's process
loop.py         what a rank does, top to bottom, in its surroundings.py
batches.py      which pairs each step, rank and micro-batch holds (pure)
objectives/     one pure module an objective, and their registry
packing.py, attention.py, logprobs.py, model.py   from pairs to summed log-probs, nothing padded
architecture.py, probe.py   which models are computed as transformers computes them, by config, by shapes, by values
reference.py, reference_pass.py, anchor.py   the reference's log-probs, and the check that the first step starts from them
compiled.py, compiler.py   layers compiled by torch.compile, for packs of a few lengths
lora.py, quantized.py   adapters in place of all weights, which then may be held in four bits
engine.py       DeepSpeed
checkpoint.py, export.py
metrics.py, monitor.py, throughput.py, tracking.py, trackers.py   what it says of itself, in the manifest and beside it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selm_runtime.phase import PhaseContext


def run(ctx: PhaseContext) -> None:
    """Train and commit; see `launch.run`."""
    # Imported here, so that the package's pure parts need none of the runtime's heavy libraries.
    from selm_runtime.train.launch import run as run_phase

    run_phase(ctx)
