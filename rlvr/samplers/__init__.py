"""Where responses come from: one engine a file, all with the same interface (`sampler.py`)."""

BUILTIN: dict[str, str] = {
    "transformers": "rlvr.samplers.transformers:Transformers",
    "vllm": "rlvr.samplers.vllm:Vllm",
    "vllm_server": "rlvr.samplers.vllm_server:VllmServer",
}
