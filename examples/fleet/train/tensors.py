"""Which tensors an exported TFT holds, from its config.json alone.

The library registers shared modules under several names (a prescaler appears in up to four places),
so a plain dump of the state dict stores most weights twice and leaves the reader guessing which
copies are one. This list names each tensor once, computed exactly as a reader must compute it;
FORMAT.md says the same in words.
"""


def linear(prefix, inputs, outputs, bias=True):
    tensors = {prefix + ".weight": (outputs, inputs)}
    if bias:
        tensors[prefix + ".bias"] = (outputs,)
    return tensors


def layer_norm(prefix, size):
    return {prefix + ".weight": (size,), prefix + ".bias": (size,)}


def resample_norm(prefix, size):
    return {prefix + ".mask": (size,)} | layer_norm(prefix + ".norm", size)


def gate_add_norm(prefix, inputs, outputs):
    return linear(prefix + ".glu.fc", inputs, 2 * outputs) | layer_norm(
        prefix + ".add_norm.norm", outputs
    )


def gated_residual(prefix, inputs, hidden, outputs, context=None):
    tensors = {}
    if inputs != outputs:
        tensors |= resample_norm(prefix + ".resample_norm", outputs)
    tensors |= linear(prefix + ".fc1", inputs, hidden)
    if context:
        tensors |= linear(prefix + ".context", context, hidden, bias=False)
    tensors |= linear(prefix + ".fc2", hidden, hidden)
    return tensors | gate_add_norm(prefix + ".gate_norm", hidden, outputs)


def variable_selection(prefix, categoricals, reals, sizes, config, context, shared):
    """Selection network; single-variable networks in `shared` are stored under the shared name."""
    hidden, names = config["hidden_size"], categoricals + reals
    tensors = {}
    if len(names) > 1:
        total, count = sum(sizes[name] for name in names), len(names)
        tensors |= gated_residual(
            prefix + ".flattened_grn", total, min(hidden, count), count, context
        )
    for name in names:
        own = f"{prefix}.single_variable_grns.{name}"
        if shared:
            own = f"shared_single_variable_grns.{name}"
        if name in categoricals and not shared:
            tensors |= resample_norm(own, hidden)
        else:
            tensors |= gated_residual(own, sizes[name], min(sizes[name], hidden), hidden)
    return tensors


def selection_tensors(config):
    sizes = {name: size for name, (_, size) in config["embedding_sizes"].items()}
    sizes |= config["hidden_continuous_sizes"]
    hidden, shared = config["hidden_size"], config["share_single_variable_networks"]
    return (
        variable_selection(
            "static_variable_selection",
            config["static_categoricals"], config["static_reals"], sizes, config, None, False,
        )
        | variable_selection(
            "encoder_variable_selection",
            config["time_varying_categoricals_encoder"], config["time_varying_reals_encoder"],
            sizes, config, hidden, shared,
        )
        | variable_selection(
            "decoder_variable_selection",
            config["time_varying_categoricals_decoder"], config["time_varying_reals_decoder"],
            sizes, config, hidden, shared,
        )
    )


def lstm(prefix, hidden, layers):
    tensors = {}
    for layer in range(layers):
        tensors[f"{prefix}.weight_ih_l{layer}"] = (4 * hidden, hidden)
        tensors[f"{prefix}.weight_hh_l{layer}"] = (4 * hidden, hidden)
        tensors[f"{prefix}.bias_ih_l{layer}"] = (4 * hidden,)
        tensors[f"{prefix}.bias_hh_l{layer}"] = (4 * hidden,)
    return tensors


def attention(prefix, hidden, heads):
    size = hidden // heads
    tensors = linear(prefix + ".v_layer", hidden, size)
    for head in range(heads):
        tensors |= linear(f"{prefix}.q_layers.{head}", hidden, size)
        tensors |= linear(f"{prefix}.k_layers.{head}", hidden, size)
    return tensors | linear(prefix + ".w_h", size, hidden, bias=False)


def output_layers(hidden, output_size):
    if isinstance(output_size, int):
        return linear("output_layer", hidden, output_size)
    tensors = {}
    for index, size in enumerate(output_size):
        tensors |= linear(f"output_layer.{index}", hidden, size)
    return tensors


def forward_tensors(config):
    """Name -> shape of every tensor the forward pass reads, from config.json alone."""
    hidden = config["hidden_size"]
    tensors = {}
    for name, (rows, size) in config["embedding_sizes"].items():
        tensors[f"input_embeddings.embeddings.{name}.weight"] = (rows, size)
    for name, size in config["hidden_continuous_sizes"].items():
        tensors |= linear(f"prescalers.{name}", 1, size)
    tensors |= selection_tensors(config)
    for name in (
        "static_context_variable_selection",
        "static_context_initial_hidden_lstm",
        "static_context_initial_cell_lstm",
        "static_context_enrichment",
    ):
        tensors |= gated_residual(name, hidden, hidden, hidden)
    tensors |= lstm("lstm_encoder", hidden, config["lstm_layers"])
    tensors |= lstm("lstm_decoder", hidden, config["lstm_layers"])
    tensors |= linear("post_lstm_gate_encoder.fc", hidden, 2 * hidden)
    tensors |= layer_norm("post_lstm_add_norm_encoder.norm", hidden)
    tensors |= gated_residual("static_enrichment", hidden, hidden, hidden, hidden)
    tensors |= attention("multihead_attn", hidden, config["attention_head_size"])
    tensors |= gate_add_norm("post_attn_gate_norm", hidden, hidden)
    tensors |= gated_residual("pos_wise_ff", hidden, hidden, hidden)
    tensors |= gate_add_norm("pre_output_gate_norm", hidden, hidden)
    return tensors | output_layers(hidden, config["output_size"])
