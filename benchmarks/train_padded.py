"""SELM as its published code trains it: three padded rows a pair, two models, full-vocabulary logits.

What the published trainer does each step: chosen and rejected as one padded batch through the policy and through the
reference, the explored responses as a second padded batch through both, log-softmax over all positions and the whole
vocabulary, activation checkpointing as in its recipes. Written here anew for current transformers.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from train_world import EOS, BenchPair, Measured, Settings, read_pairs


def run(work: Path, settings: Settings, *, name: str) -> Measured:
    """One epoch over the pairs in steps of `batch_size` pairs."""
    device = torch.device(settings.device)
    pairs = read_pairs(work)
    policy = AutoModelForCausalLM.from_pretrained(work / "model", dtype=torch.float32).to(device)
    policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy.train()
    reference = AutoModelForCausalLM.from_pretrained(work / "model", dtype=settings.dtype).to(device).eval()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=settings.learning_rate, weight_decay=0.0, fused=True)
    losses_of(policy, reference, pairs[:1], settings).mean().backward()  # warm-up, thrown away
    optimizer.zero_grad()
    measured = Measured(name, len(pairs))
    with measured.clock("step"):
        losses = []
        for start in range(0, len(pairs), settings.batch_size):
            loss = losses_of(policy, reference, pairs[start : start + settings.batch_size], settings).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    measured.losses = losses
    measured.notes = "reference inline, activation checkpointing, full logits"
    return measured


def losses_of(
    policy: PreTrainedModel, reference: PreTrainedModel, pairs: list[BenchPair], settings: Settings
) -> Tensor:
    """Eq. 4.2 for each pair, [pairs]."""
    device, autocast = settings.device, settings.bf16
    both = padded([(p.prompt, p.chosen) for p in pairs] + [(p.prompt, p.rejected) for p in pairs], device)
    explored = padded([(p.prompt, p.explored) for p in pairs], device)
    with torch.autocast(device, torch.bfloat16, enabled=autocast):
        chosen, rejected = summed_log_probs(policy, *both).chunk(2)
        own = summed_log_probs(policy, *explored)
        with torch.no_grad():
            reference_chosen, reference_rejected = summed_log_probs(reference, *both).chunk(2)
            reference_own = summed_log_probs(reference, *explored)
    margin = (chosen - rejected) - (reference_chosen - reference_rejected)
    return -F.logsigmoid(settings.beta * margin) + settings.alpha * settings.beta * (own - reference_own)


def padded(rows: list[tuple[list[int], list[int]]], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention mask and response mask, [rows, longest], padded at the right."""
    width = max(len(prompt) + len(response) for prompt, response in rows)
    ids = torch.full((len(rows), width), EOS)
    attention, response_mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(rows):
        end = len(prompt) + len(response)
        ids[row, :end] = torch.tensor(prompt + response)
        attention[row, :end] = 1
        response_mask[row, len(prompt) : end] = 1
    return ids.to(device), attention.to(device), response_mask.to(device)


def summed_log_probs(model: PreTrainedModel, ids: Tensor, attention: Tensor, response_mask: Tensor) -> Tensor:
    """Log-probs of the responses, summed, [rows]."""
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits.float()[:, :-1]
    log_probs = logits.log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    return (log_probs * response_mask[:, 1:]).sum(1)
