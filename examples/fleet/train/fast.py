"""The library's TFT, computed faster for training: the same function of the same parameters.

`speed_up(model)` replaces forward passes of one model object; names and values of parameters stay,
gradients flow to them as before, and `check` compares both on a batch. What it uses:

- A real variable enters as one number x, and its prescaler is affine, so everything up to the first
  nonlinearity is a·x + b with a and b made from the weights once a step. The selection network then
  never builds the concatenation of all prescaled variables, which is what the library spends most
  of its time on.
- Interpolation is a constant matrix.
- Windows of a training batch have one length: no packing for the LSTM, no lengths in attention.
- Values are shared by all heads, so attention is one call of the fused kernel.
"""

import copy
import types

import torch
from pytorch_forecasting.models.nn.rnn import LSTM
from pytorch_forecasting.models.temporal_fusion_transformer.sub_modules import (
    InterpretableMultiHeadAttention,
    VariableSelectionNetwork,
)
from torch.nn import functional as F


def interpolation(inputs, outputs):
    """[inputs, outputs] matrix of linear interpolation with aligned corners."""
    eye = torch.eye(inputs).unsqueeze(1)
    return F.interpolate(eye, outputs, mode="linear", align_corners=True).squeeze(1)


def prescaled(module, name):
    """(w, b) of a real variable's prescaler: its value is x·w + b."""
    layer = module.prescalers[name]
    return layer.weight[:, 0], layer.bias


def resample_norm(norm, x):
    """ResampleNorm after its interpolation."""
    return norm.norm(x * (2 * torch.sigmoid(norm.mask)))


def real_output(module, name, x, maps):
    """Single-variable network of a real: x is [.., 1], the result [.., H]."""
    grn = module.single_variable_grns[name]
    w, b = prescaled(module, name)
    a = torch.addcmul(F.linear(b, grn.fc1.weight, grn.fc1.bias), x, F.linear(w, grn.fc1.weight))
    if grn.input_size != grn.output_size:
        to = maps(grn.input_size, grn.output_size)
        gate = 2 * torch.sigmoid(grn.resample_norm.mask)
        skip = grn.resample_norm.norm(torch.addcmul((b @ to) * gate, x, (w @ to) * gate))
    else:
        skip = torch.addcmul(b, x, w)
    return grn.gate_norm(grn.fc2(F.elu(a)), skip)


def selection_weights(module, x, context, maps):
    """Softmax weights [.., n] of a selection network with at least two variables."""
    grn, sizes = module.flattened_grn, list(module.input_sizes.values())
    columns = dict(zip(module.input_sizes, grn.fc1.weight.split(sizes, dim=1)))
    rows = dict(zip(module.input_sizes, maps(sum(sizes), len(sizes)).split(sizes, dim=0)))
    reals = [name for name in module.input_sizes if name in module.prescalers]
    a, skip = grn.fc1.bias, 0
    if reals:
        values = torch.cat([x[name] for name in reals], -1)
        scales = {name: prescaled(module, name) for name in reals}
        a = a + sum(columns[n] @ scales[n][1] for n in reals)
        a = a + values @ torch.stack([columns[n] @ scales[n][0] for n in reals])
        skip = values @ torch.stack([scales[n][0] @ rows[n] for n in reals])
        skip = skip + sum(scales[n][1] @ rows[n] for n in reals)
    for name in module.input_sizes:
        if name not in module.prescalers:
            a = a + F.linear(x[name], columns[name])
            skip = skip + x[name] @ rows[name]
    if context is not None:
        # Static contexts are the same at every step.
        a = a + grn.context(context[:, :1] if context.ndim == 3 else context)
    return torch.softmax(grn.gate_norm(grn.fc2(F.elu(a)), resample_norm(grn.resample_norm, skip)),
                         -1)


def select(module, x, context, maps):
    weights, out = selection_weights(module, x, context, maps), 0
    for name, weight in zip(module.input_sizes, weights.unsqueeze(-1).unbind(-2)):
        if name in module.prescalers:
            one = real_output(module, name, x[name], maps)
        else:
            norm = module.single_variable_grns[name]
            one = resample_norm(norm, x[name] @ maps(x[name].size(-1), norm.output_size))
        out = out + weight * one
    return out, weights.unsqueeze(-2)


def attend(module, q, k, v, future):
    batch, past = len(q), k.size(1) - future

    def heads(layers, x):
        weight = torch.cat([layer.weight for layer in layers])
        bias = torch.cat([layer.bias for layer in layers])
        return F.linear(x, weight, bias).view(batch, -1, module.n_head, module.d_k).transpose(1, 2)

    steps = torch.arange(future)
    seen = torch.cat([torch.ones(future, past, dtype=torch.bool),
                      steps[None, :] < steps[:, None]], 1)
    values = module.v_layer(v).unsqueeze(1).expand(-1, module.n_head, -1, -1)
    out = F.scaled_dot_product_attention(heads(module.q_layers, q), heads(module.k_layers, k),
                                         values, attn_mask=seen)
    return module.w_h(out.mean(1)), q.new_zeros(batch, future, module.n_head, k.size(1))


def speed_up(model):
    """Only for full-length batches, causal attention and dropout 0; returns the same object."""
    known = {}

    def maps(inputs, outputs):
        if (inputs, outputs) not in known:
            known[inputs, outputs] = interpolation(inputs, outputs)
        return known[inputs, outputs]

    def lstm(self, x, hx, lengths=None, enforce_sorted=False):
        return torch.nn.LSTM.forward(self, x, tuple(state.contiguous() for state in hx))

    def selection(self, x, context=None):
        return select(self, x, context, maps)

    def attention(self, q, k, v, mask=None):
        return attend(self, q, k, v, q.size(1))

    for module in model.modules():
        for kind, forward in ((LSTM, lstm), (VariableSelectionNetwork, selection),
                              (InterpretableMultiHeadAttention, attention)):
            if isinstance(module, kind):
                module.forward = types.MethodType(forward, module)
    return model


def check(model, inputs):
    """Largest difference between the library's forward pass and the fast one."""
    with torch.no_grad():
        library = copy.deepcopy(model).eval()(inputs)["prediction"]
        fast = speed_up(copy.deepcopy(model)).eval()(inputs)["prediction"]
    return float((library - fast).abs().max())
