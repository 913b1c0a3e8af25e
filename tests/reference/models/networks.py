"""The networks that real models are made of, at random weights, as PyTorch modules.

`NETWORKS` maps a name to a function of `small`: small ones fit a fixture in the repository, the
others have their published sizes. Each gives a `Network`: a module, example inputs, and which axes
of which inputs vary. Weights come from a fixed seed; batch norms get statistics of their own, since
fresh ones (mean 0, variance 1) would hide mistakes.
"""

import dataclasses

import timm
import torch
import torchvision
from torch import nn


@dataclasses.dataclass
class Network:
    module: nn.Module
    inputs: dict            # name -> tensor, in the order of forward()
    outputs: list           # names
    varying: dict           # name of an input -> {axis: symbol}
    dynamo: bool = False    # which of PyTorch's two exporters writes it
    opset: int = 17


def images(batch, size, channels=3):
    return torch.randn(batch, channels, size, size)


def classifier(name, small, size, dynamo=False, opset=17, **narrow):
    module = timm.create_model(name, pretrained=False, **(narrow if small else {}))
    side = size if small else module.default_cfg["input_size"][-1]
    return Network(module, {"image": images(2, side)}, ["scores"], {"image": {0: "batch"}}, dynamo,
                   opset)


def resnet50(small):
    return classifier("resnet50", small, 48, channels=(8, 16, 24, 32), stem_width=4, base_width=32,
                      num_classes=10)


def narrowed(generate, name, side, small, dynamo, opset):
    """One of timm's scalable families. timm only registers widths that people train; its own
    generator makes others."""
    if not small:
        return classifier(name, False, side, dynamo, opset)
    module = generate(name, channel_multiplier=0.1, num_classes=5)
    if name.startswith("mobilenet"):        # the width of its head does not scale
        module.conv_head = nn.Conv2d(module.conv_head.in_channels, 64, 1)
        module.classifier = nn.Linear(64, 5)
    return Network(module, {"image": images(2, side)}, ["scores"], {"image": {0: "batch"}}, dynamo,
                   opset)


def mobilenet_v3(small):
    return narrowed(timm.models.mobilenetv3._gen_mobilenet_v3, "mobilenetv3_small_100", 48, small,
                    True, 18)


def efficientnet_b0(small):
    return narrowed(timm.models.efficientnet._gen_efficientnet, "efficientnet_b0", 48, small,
                    False, 17)


def vit_tiny(small):
    return classifier("vit_tiny_patch16_224", small, 64, dynamo=True, opset=20, img_size=64,
                      embed_dim=48, depth=3, num_heads=3, num_classes=10)


class TextEncoder(nn.Module):
    """Token, position and type embeddings, post-norm Transformer layers, mean over the tokens that
    the mask keeps, unit length: what MiniLM sentence encoders are."""

    def __init__(self, words, width, layers, heads, positions):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.positions = nn.Embedding(positions, width)
        self.types = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.heads = heads
        self.layers = nn.ModuleList(
            nn.ModuleDict({
                "query": nn.Linear(width, width), "key": nn.Linear(width, width),
                "value": nn.Linear(width, width), "out": nn.Linear(width, width),
                "norm1": nn.LayerNorm(width, eps=1e-12), "wide": nn.Linear(width, 4 * width),
                "narrow": nn.Linear(4 * width, width), "norm2": nn.LayerNorm(width, eps=1e-12),
            }) for _ in range(layers))

    def attend(self, layer, x, bias):
        batch, length, width = x.shape

        def split(y):
            return y.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        query, key, value = (split(layer[n](x)) for n in ("query", "key", "value"))
        scores = query @ key.transpose(-1, -2) / (width // self.heads) ** 0.5 + bias
        mixed = torch.softmax(scores, dim=-1) @ value
        return layer["out"](mixed.transpose(1, 2).reshape(batch, length, width))

    def forward(self, tokens, mask, types):
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.norm(self.words(tokens) + self.positions(places) + self.types(types))
        keep = mask.to(x.dtype)
        bias = (1 - keep)[:, None, None, :] * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer["norm1"](x + self.attend(layer, x, bias))
            x = layer["norm2"](x + layer["narrow"](nn.functional.gelu(layer["wide"](x))))
        summed = (x * keep[:, :, None]).sum(1) / keep.sum(1, keepdim=True).clamp(min=1e-9)
        return nn.functional.normalize(summed, dim=-1), x


def text_encoder(small):
    sizes = (100, 32, 2, 4, 64) if small else (30522, 384, 6, 12, 512)
    tokens = torch.randint(0, sizes[0], (2, 11 if small else 64))
    mask = torch.ones_like(tokens)
    mask[1, 7:] = 0
    both = {0: "batch", 1: "length"}
    return Network(TextEncoder(*sizes),
                   {"tokens": tokens, "mask": mask, "types": torch.zeros_like(tokens)},
                   ["sentence", "hidden"], {"tokens": both, "mask": both, "types": both})


class UNet(nn.Module):
    def __init__(self, width, depth, classes):
        super().__init__()
        widths = [width << i for i in range(depth + 1)]
        self.down = nn.ModuleList(self.block(a, b) for a, b in zip([3] + widths, widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2)
                                for a, b in zip(widths, widths[1:]))
        self.join = nn.ModuleList(self.block(2 * a, a) for a in widths[:-1])
        self.last = nn.Conv2d(width, classes, 1)

    @staticmethod
    def block(before, after):
        return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False),
                             nn.BatchNorm2d(after), nn.ReLU(),
                             nn.Conv2d(after, after, 3, padding=1), nn.InstanceNorm2d(after),
                             nn.LeakyReLU(0.1))

    def forward(self, image):
        kept, x = [], image
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for i in reversed(range(len(self.up))):
            up = self.up[i](x)
            up = nn.functional.interpolate(up, size=kept[i].shape[2:], mode="bilinear",
                                           align_corners=False)
            x = self.join[i](torch.cat([up, kept[i]], 1))
        return torch.softmax(self.last(x), dim=1)


def unet(small):
    return Network(UNet(4, 2, 3) if small else UNet(32, 4, 3),
                   {"image": images(1, 36 if small else 256)}, ["classes"],
                   {"image": {0: "batch", 2: "height", 3: "width"}}, opset=14)


class TextReader(nn.Module):
    """CRNN: convolutions squeeze the height of a line of text away, two bidirectional LSTMs read
    it, each place gets scores for CTC."""

    def __init__(self, width, hidden, letters):
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.MaxPool2d((2, 2), (2, 1), (0, 1)),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.ReLU(), nn.AvgPool2d((8, 1)))
        self.lstm = nn.LSTM(2 * width, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.letters = nn.Linear(2 * hidden, letters)

    def forward(self, line):
        x = self.convolutions(line).squeeze(2).transpose(1, 2)
        return torch.log_softmax(self.letters(self.lstm(x)[0]), dim=2)


def text_reader(small):
    return Network(TextReader(6, 10, 12) if small else TextReader(64, 256, 97),
                   {"line": torch.randn(2, 1, 32, 40 if small else 320)}, ["letters"],
                   {"line": {0: "batch", 3: "width"}}, opset=13)


class Detector(nn.Module):
    """One-stage detector: a box and class scores a cell, then NonMaxSuppression: how many boxes
    come out depends on the picture."""

    def __init__(self, width, classes):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2), nn.Hardswish())
        self.head = nn.Conv2d(2 * width, 4 + classes, 1)

    def forward(self, image):
        head = self.head(self.body(image)).flatten(2)[0].t()
        scores, labels = head[:, 4:].sigmoid().max(1)
        centre, size = head[:, :2] * 20 + 12, head[:, 2:4].exp() * 6
        boxes = torch.cat([centre - size / 2, centre + size / 2], 1)
        keep = torchvision.ops.batched_nms(boxes, scores, labels, 0.3)
        keep = keep[scores[keep] > 0.6]
        return boxes[keep], scores[keep], labels[keep]


def detector(small):
    network = Detector(8, 4) if small else Detector(32, 20)
    nn.init.normal_(network.head.weight, 0, 1.5)
    return Network(network,
                   {"image": images(1, 40 if small else 160)}, ["boxes", "scores", "labels"],
                   {"image": {2: "height", 3: "width"}}, opset=16)


class Summary(nn.Module):
    """Reads numbers one by one until their sum passes a limit or they end, and treats what it read
    by its sign: a loop whose end depends on data, with a branch in it."""

    def __init__(self, width):
        super().__init__()
        self.step = nn.Linear(2 * width, width)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, 2 * width)

    def forward(self, rows, limit):
        state = torch.zeros_like(rows[:1])
        total = torch.zeros(1)
        count = 0
        while bool((total < limit).all()) and count < rows.shape[0]:
            row = rows[count:count + 1]
            if bool(row.sum() > 0):
                state = torch.sigmoid(self.step(torch.cat([row, state], 1)))
            else:
                state = torch.tanh(self.up(state)) - self.down(row)[:, :rows.shape[1]]
            total = total + row.abs().sum()
            count += 1
        return state, torch.tensor([count])


def summary(small):
    width = 6 if small else 128
    module = torch.jit.script(Summary(width))
    inputs = {"rows": torch.randn(9, width), "limit": torch.tensor([0.5 * 9 * width])}
    return Network(module, inputs, ["state", "count"], {"rows": {0: "rows"}}, opset=15)


NETWORKS = {function.__name__: function for function in (
    resnet50, mobilenet_v3, efficientnet_b0, vit_tiny, text_encoder, unet, text_reader, detector,
    summary)}


def make(name, small):
    """The network in evaluation mode, every parameter and statistic random but tame."""
    torch.manual_seed(sum(map(ord, name)))
    network = NETWORKS[name](small)
    for module in network.module.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.6, 1.6)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.1)
    network.module.eval()
    return network
