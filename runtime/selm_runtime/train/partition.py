"""ZeRO-3 from the first weight on: each is cut into the ranks' parts as it is read, so that no rank ever holds a model.

transformers reads a weight out of the memory-mapped file, renames, merges or splits what the architecture asks for, and
puts it into its module. Here that last step is also the cut: DeepSpeed broadcasts rank 0's copy and each rank keeps its
part, on its device or, with `offload.parameters: CPU`, in the host's memory. A node holds its file's pages once, which
the system may drop, and a rank one weight beside its parts. transformers has a way of its own into ZeRO-3, which reports
neither superfluous nor mis-shaped weights; this one leaves its checks as they are.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import core_model_loading

from selm_runtime.contract import TrainingConfig
from selm_runtime.train.engine import deepspeed_config, dtype_of, prepare_deepspeed
from selm_runtime.train.model import ResponseLogProbs

ONE_BY_ONE = "HF_DEACTIVATE_ASYNC_LOAD"
"""Set, transformers has no threads that read ahead of what is put into the model, as far as the whole of it."""


class Cutter:
    """Cuts parameters into the ranks' parts; every rank cuts the same ones in the same order (a collective each)."""

    def __init__(self, training: TrainingConfig, device: torch.device) -> None:
        self._deepspeed = prepare_deepspeed()
        self._config = deepspeed_config(training)
        self._dtype = dtype_of(training)
        self._device = device
        self._first: Any = None

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Within, each weight that transformers puts into a model is cut at once; but for those that it may tie.

        Of these it compares the values first, where the files have both.
        """
        loading: Any = core_model_loading
        put = loading.set_param_for_module

        def put_and_cut(model: Any, name: str, *rest: Any) -> None:
            put(model, name, *rest)
            found = model.get_parameter_or_buffer(name)
            tied = model.all_tied_weights_keys
            if name not in tied and name not in tied.values() and isinstance(found, nn.Parameter):
                self.cut([found])

        os.environ[ONE_BY_ONE] = "1"
        loading.set_param_for_module = put_and_cut
        try:
            yield
        finally:
            loading.set_param_for_module = put

    def cut(self, parameters: Iterable[nn.Parameter]) -> None:
        """Leave of each parameter this rank's part alone; what is cut already, or has no values, stays as it is."""
        for parameter in parameters:
            if hasattr(parameter, "ds_id") or parameter.is_meta:
                continue
            # A copy: other ranks receive rank 0's into it, and pages of a mapped file that are written to stay.
            parameter.data = parameter.data.to(self._device, self._dtype, copy=True)
            if self._first is None:
                holder = nn.Module()
                holder.register_parameter("first", parameter)
                self._deepspeed.zero.Init(module=holder, config_dict_or_path=self._config)
                self._first = parameter
            else:
                self._first.convert_to_zero_parameters(param_list=[parameter])


@contextmanager
def gathering(model: ResponseLogProbs, training: TrainingConfig) -> Iterator[ResponseLogProbs]:
    """A model runnable without an optimizer: under ZeRO-3 each layer is whole while it runs, and the parts are freed after.

    Every rank runs it equally often.
    """
    if training.zero_stage < 3:
        yield model
        return
    engine = prepare_deepspeed().initialize(model=model, config=deepspeed_config(training), dist_init_required=False)[0]
    try:
        yield model
    finally:
        engine.destroy()
        for parameter in model.parameters():
            free(parameter)
        del engine
        gc.collect()


def free(parameter: nn.Parameter) -> None:
    """Drop a cut parameter's part, whoever still refers to the parameter itself."""
    parameter.data = parameter.data.new_empty(0)
    part = getattr(parameter, "ds_tensor", None)
    if part is not None:
        part.data = part.data.new_empty(0)
