"""Networks over sequences, at random weights: forecasters, and a decoder as language models are
built today."""

import torch
from torch import nn
from torch.nn import functional


class Recurrent(nn.Module):
    """[batch, 10, 17] -> [batch, 1, 1]: a stack of recurrent layers, and a product at the end."""

    def __init__(self, kind, layers, hidden):
        super().__init__()
        self.cells = kind(17, hidden, layers, batch_first=True)
        self.last = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.last(self.cells(x)[0][:, -1:])


class Causal(nn.Module):
    """Two dilated convolutions that see no future, and what they get added to it."""

    def __init__(self, before, after, dilation):
        super().__init__()
        self.pad = dilation
        self.first = nn.Conv1d(before, after, 2, dilation=dilation)
        self.second = nn.Conv1d(after, after, 2, dilation=dilation)
        self.fit = nn.Conv1d(before, after, 1)

    def forward(self, x):
        y = torch.relu(self.first(functional.pad(x, (self.pad, 0))))
        y = torch.relu(self.second(functional.pad(y, (self.pad, 0))))
        return torch.relu(y + self.fit(x))


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [17, 32, 64, 128, 256]
        self.layers = nn.Sequential(*(Causal(a, b, 2 ** i)
                                      for i, (a, b) in enumerate(zip(widths, widths[1:]))))
        self.last = nn.Linear(256, 1)

    def forward(self, x):
        return self.last(self.layers(x.transpose(1, 2))[:, :, -1:].transpose(1, 2))


class Attending(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.joint, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2)
                             for part in self.joint(x).chunk(3, 2))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    """Post-norm layers, as nn.TransformerEncoder's."""

    def __init__(self, width, heads, layers, wide, activation):
        super().__init__()
        self.activation = activation
        self.layers = nn.ModuleList(nn.ModuleDict({
            "attention": Attending(width, heads), "wide": nn.Linear(width, wide),
            "narrow": nn.Linear(wide, width), "norm1": nn.LayerNorm(width),
            "norm2": nn.LayerNorm(width)}) for _ in range(layers))

    def forward(self, x):
        for layer in self.layers:
            x = layer["norm1"](x + layer["attention"](x))
            x = layer["norm2"](x + layer["narrow"](self.activation(layer["wide"](x))))
        return x


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(17, 128)
        self.places = nn.Parameter(torch.randn(10, 128))
        self.encoder = Encoder(128, 8, 3, 512, torch.relu)
        self.last = nn.Linear(128, 1)

    def forward(self, x):
        return self.last(self.encoder(self.enter(x) + self.places)[:, -1:])


class Bert(nn.Module):
    def __init__(self, words=30522, width=512, heads=8, layers=4):
        super().__init__()
        self.words, self.types = nn.Embedding(words, width), nn.Embedding(2, width)
        self.places = nn.Embedding(512, width)
        self.norm = nn.LayerNorm(width)
        self.encoder = Encoder(width, heads, layers, 4 * width, functional.gelu)
        self.pool = nn.Linear(width, width)

    def forward(self, tokens, types):
        x = self.words(tokens) + self.types(types) + self.places(torch.arange(tokens.shape[1]))
        x = self.encoder(self.norm(x))
        return x, torch.tanh(self.pool(x[:, 0]))


# ---- a decoder ----------------------------------------------------------------------------------


class RootMean(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotate(x, cos, sin):
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


class DecoderLayer(nn.Module):
    """RMSNorm, attention with rotary places and shared keys, RMSNorm, a gated network (SwiGLU)."""

    def __init__(self, width, heads, kv_heads, wide):
        super().__init__()
        head = width // heads
        self.heads, self.kv_heads = heads, kv_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, kv_heads * head, bias=False)
        self.value = nn.Linear(width, kv_heads * head, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, wide, bias=False)
        self.up = nn.Linear(width, wide, bias=False)
        self.down = nn.Linear(wide, width, bias=False)
        self.norm1, self.norm2 = RootMean(width), RootMean(width)

    def attend(self, x, cos, sin, mask, past):
        batch, steps, _ = x.shape
        query = self.query(x).view(batch, steps, self.heads, -1).transpose(1, 2)
        key = self.key(x).view(batch, steps, self.kv_heads, -1).transpose(1, 2)
        value = self.value(x).view(batch, steps, self.kv_heads, -1).transpose(1, 2)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        kept, group = (key, value), self.heads // self.kv_heads

        def shared(y):
            return y[:, :, None].expand(-1, -1, group, -1, -1).reshape(
                batch, self.heads, y.shape[2], y.shape[3])

        scores = query @ shared(key).transpose(2, 3) / (query.shape[-1] ** 0.5) + mask
        mixed = torch.softmax(scores, -1) @ shared(value)
        return self.out(mixed.transpose(1, 2).reshape(batch, steps, -1)), kept

    def forward(self, x, cos, sin, mask, past=None):
        mixed, kept = self.attend(self.norm1(x), cos, sin, mask, past)
        x = x + mixed
        y = self.norm2(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y)), kept


class Decoder(nn.Module):
    """The whole text at once (no past), or one step after `past` others, with its caches as inputs
    and outputs."""

    def __init__(self, past, words=16000, width=512, heads=8, kv_heads=2, layers=8, wide=1408):
        super().__init__()
        self.past, self.head = past, width // heads
        self.words = nn.Embedding(words, width)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, kv_heads, wide)
                                    for _ in range(layers))
        self.norm = RootMean(width)
        self.scores = nn.Linear(width, words, bias=False)

    def forward(self, tokens, *caches):
        steps = tokens.shape[1]
        places = torch.arange(self.past, self.past + steps).float()
        rates = 10000.0 ** (-torch.arange(0, self.head, 2).float() / self.head)
        angles = torch.cat(2 * [places[:, None] * rates], 1)
        cos, sin = angles.cos(), angles.sin()
        mask = torch.triu(torch.full((steps, self.past + steps), float("-inf")), self.past + 1)
        x, kept = self.words(tokens), []
        for i, layer in enumerate(self.layers):
            x, pair = layer(x, cos, sin, mask, caches[2 * i:2 * i + 2] or None)
            kept.extend(pair)
        x = self.norm(x)
        return (self.scores(x[:, -1:]), *kept) if self.past else self.scores(x)
