"""SGLang's options that are not ours: those that mean nothing here, and those still to come.

A command line or an `Engine(...)` call written for SGLang is taken as it is: what means nothing
here is accepted with a warning, and what we cannot do yet is refused, never silently left out.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Ignored:
    """Accepted, with a warning that says why nothing happens."""

    why: str
    is_flag: bool = True
    """Whether it stands alone on a command line; else values follow."""


@dataclasses.dataclass(frozen=True)
class Later:
    """Refused, unless it asks for what happens anyway."""

    what: str
    same: tuple[Any, ...] = (None,)
    """Values that ask for nothing new."""
    is_flag: bool = False
    aliases: tuple[str, ...] = ()


_PROGRAMS = "every step is a program that XLA compiled ahead of time"

IGNORED = {
    "additional_ports": Ignored("front and engine talk over a socket file", is_flag=False),
    "disable_cuda_graph_padding": Ignored(_PROGRAMS),
    "disable_custom_all_reduce": Ignored("XLA chooses how devices exchange data"),
    "disable_disk_cache": Ignored("there is no cache of grammars on disk"),
    "disable_flashinfer": Ignored("FlashInfer is not used; see --attention-backend"),
    "disable_flashinfer_sampling": Ignored("FlashInfer is not used"),
    "efficient_weight_load": Ignored("weights are always read in slices"),
    "enable_metrics": Ignored("/metrics is always there"),
    "enable_mixed_chunk": Ignored("prompts and decoding always share steps"),
    "enable_mla": Ignored("a model with latent attention always uses it"),
    "enable_p2p_check": Ignored("XLA chooses how devices exchange data"),
    "enable_torch_compile": Ignored(_PROGRAMS),
    "triton_attention_reduce_in_fp32": Ignored("attention always accumulates in float32"),
    "trust_remote_code": Ignored("code of a checkpoint is never run"),
}

LATER = {
    "dp_size": Later("several replicas", same=(1,), aliases=("data_parallel_size", "dp")),
    "load_balance_method": Later("balancing", same=("round_robin", "shortest_queue")),
    "nnodes": Later("serving over several hosts", same=(1,)),
    "node_rank": Later("serving over several hosts", same=(None, 0)),
    "nccl_init_addr": Later("serving over several hosts", aliases=("dist_init_addr",)),
    "quantization": Later("quantised weights"),
    "kv_cache_dtype": Later("a quantised cache", same=("auto",)),
    "enable_lora": Later("adapters", same=(False,), is_flag=True),
    "lora_paths": Later("adapters"),
    "speculative_algorithm": Later("speculative decoding"),
    "show_time_cost": Later("a log of times (/metrics has them)", same=(False,), is_flag=True),
    "json_model_override_args": Later("overriding config.json", same=(None, "{}")),
}

LATER_NAMES = {alias: name for name, later in LATER.items() for alias in (name, *later.aliases)}
"""Every name of what is still to come -> its key in LATER."""

UNREAD_FORMATS = {
    "pt": "pickled files can run code",
    "npcache": "its cache is made from pickled files",
}
"""Load formats that stay out, and why."""
