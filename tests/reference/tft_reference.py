"""FORMAT.md as numpy: the forward pass of an exported TFT folder, written for reading.

It exists to prove that the page is complete: everything here comes from config.json and
model.safetensors alone, section by section, and `run` holds it against the library's answers.
Computes in float64, loops over time, and is not meant to be fast.
"""

import json
import os
import struct

import numpy as np

FLOAT32_TINY, FLOAT32_EPSILON = 1.1754943508222875e-38, 1.1920928955078125e-07


def read_safetensors(path):
    """Name -> float64 array of a safetensors file holding only float32."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "F32":
            raise ValueError(f"{name} is {entry['dtype']}, expected F32")
        begin, end = entry["data_offsets"]
        flat = np.frombuffer(data[begin:end], "<f4").astype(np.float64)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def interpolate(x, size):
    """Section 1: linear with aligned corners along the last axis."""
    count = x.shape[-1]
    at = np.arange(size) * ((count - 1) / (size - 1) if size > 1 else 0.0)
    low = np.minimum(np.floor(at).astype(int), count - 1)
    weight = at - low
    return (1 - weight) * x[..., low] + weight * x[..., np.minimum(low + 1, count - 1)]


class Tft:
    """One exported folder; `run(inputs)` returns {output name: float64 array}."""

    def __init__(self, folder):
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            self.config = json.load(file)
        self.tensors = read_safetensors(os.path.join(folder, "model.safetensors"))

    # ---- 1. building blocks ----

    def linear(self, name, x):
        y = x @ self.tensors[name + ".weight"].T
        return y + self.tensors[name + ".bias"] if name + ".bias" in self.tensors else y

    def norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
        return x * self.tensors[name + ".weight"] + self.tensors[name + ".bias"]

    def gated(self, name, x):
        value, gate = np.split(self.linear(name, x), 2, -1)
        return value * sigmoid(gate)

    def gate_add_norm(self, name, x, skip):
        return self.norm(name + ".add_norm.norm", self.gated(name + ".glu.fc", x) + skip)

    def resample_norm(self, name, x):
        mask = self.tensors[name + ".mask"]
        x = x if x.shape[-1] == len(mask) else interpolate(x, len(mask))
        return self.norm(name + ".norm", x * (2 * sigmoid(mask)))

    def residual(self, name, x, context=None):
        resampled = name + ".resample_norm"
        skip = self.resample_norm(resampled, x) if resampled + ".mask" in self.tensors else x
        a = self.linear(name + ".fc1", x)
        if context is not None:
            a = a + self.linear(name + ".context", context)
        a = np.where(a > 0, a, np.expm1(np.minimum(a, 0)))
        return self.gate_add_norm(name + ".gate_norm", self.linear(name + ".fc2", a), skip)

    # ---- 2 to 4. embeddings, static variables, variable selection ----

    def embedding(self, name, cat):
        columns = self.config["categorical_groups"].get(name, [name])
        rows = self.tensors[f"input_embeddings.embeddings.{name}.weight"]
        positions = [self.config["x_categoricals"].index(column) for column in columns]
        return sum(rows[cat[..., position]] for position in positions)

    def prescaled(self, name, cont):
        position = self.config["x_reals"].index(name)
        return self.linear(f"prescalers.{name}", cont[..., position, None])

    def select(self, name, categoricals, reals, cat, cont, context=None):
        shared = self.config["share_single_variable_networks"] and context is not None
        own = "shared_single_variable_grns" if shared else name + ".single_variable_grns"
        names = categoricals + reals
        if not names:
            return np.zeros(cont.shape[:-1] + (self.config["hidden_size"],))
        values, outputs = [], []
        for variable in names:
            is_category = variable in categoricals
            value = (self.embedding(variable, cat) if is_category
                     else self.prescaled(variable, cont))
            network = self.resample_norm if is_category and not shared else self.residual
            values.append(value)
            outputs.append(network(f"{own}.{variable}", value))
        if len(names) == 1:
            return outputs[0]
        weights = softmax(self.residual(name + ".flattened_grn", np.concatenate(values, -1),
                                        context))
        return sum(weights[..., i, None] * output for i, output in enumerate(outputs))

    def varying(self, side, cat, cont, context):
        return self.select(
            side + "_variable_selection",
            self.config["time_varying_categoricals_" + side],
            self.config["time_varying_reals_" + side],
            cat, cont, context[:, None],
        )

    def static(self, inputs):
        side = "encoder" if inputs["encoder_cont"].shape[1] else "decoder"
        return self.select(
            "static_variable_selection",
            self.config["static_categoricals"], self.config["static_reals"],
            inputs[side + "_cat"][:, 0], inputs[side + "_cont"][:, 0],
        )

    # ---- 5. LSTM ----

    def lstm_layer(self, name, layer, x, lengths, h, c):
        weight_ih, weight_hh, bias_ih, bias_hh = (
            self.tensors[f"{name}.{part}_l{layer}"]
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        y = np.zeros_like(x)
        for step in range(x.shape[1]):
            gates = x[:, step] @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh
            i, f, g, o = np.split(gates, 4, -1)
            c_next = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h_next = sigmoid(o) * np.tanh(c_next)
            real = (step < np.maximum(lengths, 1))[:, None]
            h, c = np.where(real, h_next, h), np.where(real, c_next, c)
            y[:, step] = np.where(real, h_next, 0)
        return y, h, c

    def lstm(self, name, x, lengths, states):
        final = []
        for layer, (h, c) in enumerate(states):
            x, h, c = self.lstm_layer(name, layer, x, lengths, h, c)
            final.append((h, c))
        return x, final

    def recurrent(self, e, d, lengths, decoder_lengths, h0, c0):
        layers = self.config["lstm_layers"]
        if e.shape[1] == 0:
            encoded, states = e, [(0 * h0, 0 * h0)] * layers
        else:
            encoded, states = self.lstm("lstm_encoder", e, lengths, [(h0, c0)] * layers)
            empty = (lengths == 0)[:, None]
            states = [(np.where(empty, h0, h), np.where(empty, h0, c)) for h, c in states]
        return encoded, self.lstm("lstm_decoder", d, decoder_lengths, states)[0]

    def skip(self, x, residual):
        gated = self.gated("post_lstm_gate_encoder.fc", x)
        return self.norm("post_lstm_add_norm_encoder.norm", gated + residual)

    # ---- 8. attention ----

    def masked(self, past, future, lengths, decoder_lengths):
        """[B, future, past + future], true where a key is masked."""
        encoder = np.arange(past)[None, None, :] >= lengths[:, None, None]
        steps = np.arange(future)
        if self.config["causal_attention"]:
            decoder = (steps[None, :] >= steps[:, None])[None]
        else:
            decoder = steps[None, None, :] >= decoder_lengths[:, None, None]
        batch = len(lengths)
        return np.concatenate(
            [np.broadcast_to(encoder, (batch, future, past)),
             np.broadcast_to(decoder, (batch, future, future))], -1)

    def attend(self, z, future, mask):
        name, heads = "multihead_attn", self.config["attention_head_size"]
        scale = np.sqrt(self.config["hidden_size"] // heads)
        bias = float(self.config["mask_bias"])
        total = 0
        for head in range(heads):
            q = self.linear(f"{name}.q_layers.{head}", z[:, z.shape[1] - future:])
            k = self.linear(f"{name}.k_layers.{head}", z)
            total = total + softmax(np.where(mask, bias, q @ k.transpose(0, 2, 1) / scale))
        v = self.linear(name + ".v_layer", z)
        return self.linear(name + ".w_h", (total / heads) @ v)

    # ---- 9 and 10. output ----

    def denormalize(self, target, raw, scale):
        if target["normalizer"]["kind"] == "label":
            return raw
        v = raw * scale[:, None, 1:] + scale[:, None, :1]
        return {
            None: lambda: v,
            "softplus": lambda: np.where(v > 20, v, np.log1p(np.exp(np.minimum(v, 20)))),
            "count": lambda: np.where(v > 20, v, np.log1p(np.exp(np.minimum(v, 20)))),
            "log": lambda: np.exp(v),
            "log1p": lambda: np.exp(v),
            "logit": lambda: np.clip(sigmoid(v), FLOAT32_TINY, 1 - FLOAT32_EPSILON),
            "relu": lambda: np.maximum(v, 0),
            "sqrt": lambda: v * v,
        }[target["normalizer"]["transformation"]]()

    def outputs(self, y, target_scale):
        targets = self.config["targets"]
        if not isinstance(self.config["output_size"], list):
            raw = self.linear("output_layer", y)
            return {"prediction": self.denormalize(targets[0], raw, target_scale)}
        return {
            f"prediction_{index}": self.denormalize(
                target, self.linear(f"output_layer.{index}", y), target_scale[:, index])
            for index, target in enumerate(targets)
        }

    def run(self, inputs):
        lengths, decoder_lengths = inputs["encoder_lengths"], inputs["decoder_lengths"]
        past, future = inputs["encoder_cont"].shape[1], inputs["decoder_cont"].shape[1]
        s = self.static(inputs)
        selection, h0, c0, enrichment = (
            self.residual("static_context_" + name, s)
            for name in ("variable_selection", "initial_hidden_lstm", "initial_cell_lstm",
                         "enrichment"))
        e = self.varying("encoder", inputs["encoder_cat"], inputs["encoder_cont"], selection)
        d = self.varying("decoder", inputs["decoder_cat"], inputs["decoder_cont"], selection)
        encoded, decoded = self.recurrent(e, d, lengths, decoder_lengths, h0, c0)
        u = np.concatenate([self.skip(encoded, e), self.skip(decoded, d)], 1)
        z = self.residual("static_enrichment", u, enrichment[:, None])
        attended = self.attend(z, future, self.masked(past, future, lengths, decoder_lengths))
        a = self.gate_add_norm("post_attn_gate_norm", attended, z[:, past:])
        f = self.residual("pos_wise_ff", a)
        y = self.gate_add_norm("pre_output_gate_norm", f, u[:, past:])
        return self.outputs(y, np.asarray(inputs["target_scale"], np.float64))
