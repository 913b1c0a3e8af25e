"""Segmentation and detection networks that no package carries, at random weights.

HRNet-W48 and ResUNet-CBAM normalise by instance, also at inference, so that no norm folds into a
convolution. The detector has the blocks of today's one-stage detectors: cross-stage parts with
SiLU, pyramid pooling, a path up and a path down.
"""

import torch
from torch import nn
from torch.nn import functional


def conv(before, after, size, stride=1, bias=False):
    return nn.Conv2d(before, after, size, stride, size // 2, bias=bias)


def norm(width):
    return nn.InstanceNorm2d(width, affine=True)


def unit(before, after, size, stride=1, bias=False, active=True):
    """Convolution, norm, ReLU."""
    layers = [conv(before, after, size, stride, bias), norm(after)]
    return nn.Sequential(*layers, *([nn.ReLU()] if active else []))


def enlarge(x, factor):
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)


# ---- HRNet-W48 ----------------------------------------------------------------------------------


class Residual(nn.Module):
    """x + body(x), where x may need a 1x1 convolution to fit; then ReLU."""

    def __init__(self, body, before, after):
        super().__init__()
        self.body = body
        self.fit = nn.Identity() if before == after else unit(before, after, 1, active=False)

    def forward(self, x):
        return torch.relu(self.body(x) + self.fit(x))


def bottleneck(before):
    return Residual(nn.Sequential(unit(before, 64, 1), unit(64, 64, 3),
                                  unit(64, 256, 1, active=False)), before, 256)


def basic(width):
    return Residual(nn.Sequential(unit(width, width, 3), unit(width, width, 3, active=False)),
                    width, width)


class Exchange(nn.Module):
    """Four blocks a branch, then every branch gets the sum of all, brought to its size."""

    def __init__(self, widths):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(basic(w) for _ in range(4)))
                                      for w in widths)
        self.paths = nn.ModuleList(
            nn.ModuleList(self.path(widths, i, j) for j in range(len(widths)))
            for i in range(len(widths)))

    @staticmethod
    def path(widths, to, source):
        if source == to:
            return nn.Identity()
        if source > to:
            return unit(widths[source], widths[to], 1, active=False)
        steps = [unit(widths[source], widths[source], 3, 2) for _ in range(to - source - 1)]
        return nn.Sequential(*steps, unit(widths[source], widths[to], 3, 2, active=False))

    def forward(self, xs):
        xs = [branch(x) for branch, x in zip(self.branches, xs)]
        sums = []
        for i, paths in enumerate(self.paths):
            parts = [enlarge(path(x), 2 ** (j - i)) if j > i else path(x)
                     for j, (path, x) in enumerate(zip(paths, xs))]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            sums.append(torch.relu(total))
        return sums


class HRNet(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [48, 96, 192, 384]
        self.stem = nn.Sequential(unit(3, 64, 3, 2), unit(64, 64, 3, 2), bottleneck(64),
                                  bottleneck(256), bottleneck(256), bottleneck(256))
        self.first = unit(256, 48, 3)
        self.lower = nn.ModuleList([unit(256, 96, 3, 2), unit(96, 192, 3, 2), unit(192, 384, 3, 2)])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Exchange(widths[:branches]) for _ in range(modules)))
            for branches, modules in ((2, 1), (3, 4), (4, 3)))
        self.head = nn.Sequential(unit(720, 720, 1, bias=True), conv(720, 1, 1, bias=True))

    def forward(self, image):
        x = self.stem(image)
        xs = [self.first(x)]
        for lower, stage in zip(self.lower, self.stages):
            xs = stage(xs + [lower(x if len(xs) == 1 else xs[-1])])
        joined = torch.cat([xs[0]] + [enlarge(x, 2 ** (i + 1)) for i, x in enumerate(xs[1:])], 1)
        return enlarge(self.head(joined), 4)


# ---- ResUNet-CBAM -------------------------------------------------------------------------------


class Attention(nn.Module):
    """CBAM: which channels, then which places."""

    def __init__(self, width):
        super().__init__()
        hidden = max(width // 16, 8)
        self.mlp = nn.Sequential(conv(width, hidden, 1), nn.ReLU(), conv(hidden, width, 1))
        self.places = conv(2, 1, 7)

    def forward(self, x):
        x = x * torch.sigmoid(self.mlp(functional.adaptive_avg_pool2d(x, 1))
                              + self.mlp(functional.adaptive_max_pool2d(x, 1)))
        both = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.places(both))


def block(before, after):
    body = nn.Sequential(unit(before, after, 3), unit(after, after, 3, active=False))
    return nn.Sequential(Residual(body, before, after), Attention(after))


class Gate(nn.Module):
    """Weighs the places of a skip by what lies below it."""

    def __init__(self, width):
        super().__init__()
        inner = width // 2
        self.below = unit(width, inner, 1, bias=True, active=False)
        self.skip = unit(width, inner, 1, bias=True, active=False)
        self.weight = unit(inner, 1, 1, bias=True, active=False)

    def forward(self, below, skip):
        return skip * torch.sigmoid(self.weight(torch.relu(self.below(below) + self.skip(skip))))


class ResUNet(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [64, 128, 256, 512]
        self.stem = unit(3, 64, 3)
        self.down = nn.ModuleList(block(a, b) for a, b in zip([64] + widths, widths))
        self.bottom = nn.Sequential(block(512, 1024), block(1024, 1024))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in reversed(widths))
        self.gates = nn.ModuleList(Gate(w) for w in reversed(widths))
        self.join = nn.ModuleList(block(2 * w, w) for w in reversed(widths))
        self.head = nn.Sequential(unit(64, 32, 3), conv(32, 1, 1, bias=True))

    def forward(self, image):
        x, skips = self.stem(image), []
        for down in self.down:
            skips.append(down(x))
            x = functional.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for up, gate, join, skip in zip(self.up, self.gates, self.join, reversed(skips)):
            x = up(x)
            x = join(torch.cat([gate(x, skip), x], 1))
        return self.head(x)


# ---- a one-stage detector -----------------------------------------------------------------------


def silu(before, after, size, stride=1):
    return nn.Sequential(conv(before, after, size, stride), nn.BatchNorm2d(after), nn.SiLU())


class Cross(nn.Module):
    """Half of the channels pass by the blocks, and what every block makes is kept."""

    def __init__(self, before, after, blocks, skip):
        super().__init__()
        self.half, self.skip = after // 2, skip
        self.enter = silu(before, after, 1)
        self.blocks = nn.ModuleList(nn.Sequential(silu(self.half, self.half, 3),
                                                  silu(self.half, self.half, 3))
                                    for _ in range(blocks))
        self.leave = silu((2 + blocks) * self.half, after, 1)

    def forward(self, x):
        parts = list(self.enter(x).split(self.half, 1))
        for each in self.blocks:
            parts.append(parts[-1] + each(parts[-1]) if self.skip else each(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Pyramid(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.enter, self.leave = silu(width, width // 2, 1), silu(2 * width, width, 1)

    def forward(self, x):
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, 1, 2))
        return self.leave(torch.cat(parts, 1))


class Detector(nn.Module):
    """Boxes as distances to the sides (expectations over 16 bins) and 80 class scores."""

    def __init__(self, w=16):
        super().__init__()
        self.low = nn.Sequential(silu(3, w, 3, 2), silu(w, 2 * w, 3, 2),
                                 Cross(2 * w, 2 * w, 1, True), silu(2 * w, 4 * w, 3, 2),
                                 Cross(4 * w, 4 * w, 2, True))
        self.middle = nn.Sequential(silu(4 * w, 8 * w, 3, 2), Cross(8 * w, 8 * w, 2, True))
        self.high = nn.Sequential(silu(8 * w, 16 * w, 3, 2), Cross(16 * w, 16 * w, 1, True),
                                  Pyramid(16 * w))
        self.up1, self.up2 = Cross(24 * w, 8 * w, 1, False), Cross(12 * w, 4 * w, 1, False)
        self.down1, self.down2 = silu(4 * w, 4 * w, 3, 2), silu(8 * w, 8 * w, 3, 2)
        self.join1, self.join2 = Cross(12 * w, 8 * w, 1, False), Cross(24 * w, 16 * w, 1, False)
        widths = (4 * w, 8 * w, 16 * w)
        self.boxes = nn.ModuleList(nn.Sequential(silu(c, 64, 3), silu(64, 64, 3),
                                                 conv(64, 64, 1, bias=True)) for c in widths)
        self.scores = nn.ModuleList(nn.Sequential(silu(c, 80, 3), silu(80, 80, 3),
                                                  conv(80, 80, 1, bias=True)) for c in widths)

    def forward(self, image):
        low = self.low(image)
        middle = self.middle(low)
        high = self.high(middle)
        up = self.up1(torch.cat([functional.interpolate(high, scale_factor=2), middle], 1))
        p3 = self.up2(torch.cat([functional.interpolate(up, scale_factor=2), low], 1))
        p4 = self.join1(torch.cat([self.down1(p3), up], 1))
        p5 = self.join2(torch.cat([self.down2(p4), high], 1))
        found = [torch.cat([box(x), score(x)], 1).flatten(2)
                 for box, score, x in zip(self.boxes, self.scores, (p3, p4, p5))]
        boxes, scores = torch.cat(found, 2).split((64, 80), 1)
        bins = boxes.unflatten(1, (4, 16)).softmax(2)
        sides = (bins * torch.arange(16.0)[:, None]).sum(2)
        return torch.cat([sides, scores.sigmoid()], 1)
