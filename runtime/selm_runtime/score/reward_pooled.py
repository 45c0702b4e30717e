"""A reward model on vLLM's pooling runner: token ids in, the only logit out.

The task is `classify`, whose pooler takes the last token's (or the first's, as the architecture has it) hidden state
through the model's own head. `use_activation=False` leaves out the sigmoid or softmax that vLLM applies otherwise.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from selm_runtime.engine import EngineSettings, default_arguments, prepare_environment
from selm_runtime.errors import InvalidInput

HEAD = "ForSequenceClassification"
LANGUAGE_MODEL = "ForCausalLM"


class PooledClassifier:
    """One engine of vLLM; not more than one a process at a time, and `close` frees its memory."""

    def __init__(self, model: Path, field: str, limit: int | None, *, trust_remote_code: bool) -> None:
        """Loads the model. `field` is the group's path in the spec, `limit` the longest sequence (None: as declared).

        Raises InvalidInput where vLLM refuses the model, for instance since a cache for its context does not fit.
        """
        prepare_environment()
        from vllm import PoolingParams
        from vllm.engine.arg_utils import EngineArgs
        from vllm.inputs.engine import tokens_input
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        arguments = pooling_arguments(model, limit, trust_remote_code=trust_remote_code)
        try:
            with contextlib.chdir(model):
                self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments), usage_context=UsageContext.LLM_CLASS)
        except (ValueError, TypeError) as error:
            raise InvalidInput(
                "NotPooled",
                f"{field}.engine: vLLM refuses the model: {error}; allowed is Transformers, too",
            ) from error
        self._tokens_input = tokens_input
        self._params = PoolingParams

    def scores(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """The logit of each sequence of token ids, in order. A call finds nothing that an earlier one has cached."""
        self._engine.reset_prefix_cache()
        for index, ids in enumerate(sequences):
            params = self._params(task="classify", use_activation=False)
            self._engine.add_request(str(index), self._tokens_input(list(ids)), params)
        scores = [0.0] * len(sequences)
        while self._engine.get_num_unfinished_requests():
            outputs: list[Any] = list(self._engine.step())
            for output in outputs:
                if output.finished:
                    (scores[int(output.request_id)],) = output.outputs.data.double().tolist()
        return scores

    def close(self) -> None:
        """Shuts workers down and frees the model and its cache."""
        import gc

        self._engine.engine_core.shutdown()
        del self._engine
        gc.collect()


def pooling_arguments(model: Path, limit: int | None, *, trust_remote_code: bool) -> dict[str, Any]:
    """vLLM's arguments, to be read in the model's folder: those of generation, but for the runner."""
    settings = EngineSettings(model, limit or 0, 0, trust_remote_code=trust_remote_code)
    arguments = {**default_arguments(settings), "model": ".", "runner": "pooling"}
    if limit is None:
        del arguments["max_model_len"]
    return arguments


def check_pooling(model: Path, field: str, *, trust_remote_code: bool) -> None:
    """Raises InvalidInput unless the installed vLLM has the model's architecture for pooling; loads no weights.

    `field` is the group's path in the spec. Imports vLLM, which takes seconds.
    """
    prepare_environment()
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.models import ModelRegistry

    architectures = json.loads((model / "config.json").read_text()).get("architectures") or []
    try:
        with contextlib.chdir(model):
            EngineArgs(
                ".", runner="pooling", skip_tokenizer_init=True, trust_remote_code=trust_remote_code
            ).create_model_config()
    except ValueError as error:
        allowed = supported(ModelRegistry.get_supported_archs())
        found = ", ".join(map(str, architectures)) or "no architecture"
        # What vLLM adds is a list of all that it knows, longer than a condition may be.
        said = str(error).partition("Supported architectures")[0].strip()
        raise InvalidInput(
            "NotPooled",
            f"{field}.engine: found VLLM for {found}, which vLLM's pooling runner does not have; allowed is Transformers, "
            f"or a model of {allowed} (vLLM: {said[:300]})",
        ) from error


def supported(architectures: Collection[str]) -> str:
    """What vLLM can pool as a classifier, of all the architectures that it has: its own heads, and its language models'."""
    own = sorted(name for name in architectures if name.endswith(HEAD) and not name.startswith("Transformers"))
    bodies = sum(name.endswith(LANGUAGE_MODEL) for name in architectures)
    return f"{', '.join(own)}, or the {HEAD} of one of its {bodies} language models such as Llama"
