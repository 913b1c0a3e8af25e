#!/usr/bin/env python3
"""Writes the ONNX files that tests/bench/models/run times.

    python tests/bench/models/nets.py FOLDER [NAME ...]      all of them, or these

NAME.onnx has fixed shapes, because that is where every engine is at its best; NAME.npz holds an
input for each of its ports. Weights are random but tame; models out of PyPI packages have their
own (tests/reference/models/packages.json names them); quantised ones are made from others of the
folder (quantized.py). What is there already is kept.
"""

import argparse
import glob
import json
import os
import sys
import warnings

import numpy as np
import onnx
import torch
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", "..", ".."))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(ROOT, "tests", "reference", "models"))
import networks
import quantized
import segmentation
import sequences

OPSET = 17


def tame(module):
    """Values of their own for what fresh networks set to one number: norms that are the identity
    and branches of weight zero would hide mistakes, and exporters would drop them."""
    for value in module.parameters():
        if value.numel() > 1 and value.detach().std() == 0:
            value.data.normal_(value.data.mean().item(), 0.1)
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.running_mean.normal_(0, 0.2)
            each.running_var.uniform_(0.6, 1.6)
            nn.init.uniform_(each.weight, 0.7, 1.3)
    return module.eval()


def image(size, batch=1):
    return {"image": torch.randn(batch, 3, size, size)}


def timm_model(name, size=224, batch=1):
    def make():
        import timm
        return timm.create_model(name, pretrained=False), image(size, batch)
    return make


def vision(name, size=224):
    def make():
        import torchvision
        return getattr(torchvision.models, name)(weights=None), image(size)
    return make


def reference(name):
    """A network of tests/reference/models at its published size."""
    def make():
        network = networks.make(name, False)
        return network.module, network.inputs
    return make


def square(kind, size):
    return lambda: (kind(), image(size))


def rows(make, batch):
    return lambda: (make(), {"x": torch.randn(batch, 10, 17)})


def bert(length):
    tokens = torch.randint(0, 30522, (1, length))
    return lambda: (sequences.Bert(), {"tokens": tokens, "types": torch.zeros_like(tokens)})


def decoder(steps, past):
    def make():
        inputs = {"tokens": torch.randint(0, 16000, (1, steps))}
        for i in range(8 if past else 0):
            inputs[f"key{i}"] = torch.randn(1, 2, past, 64)
            inputs[f"value{i}"] = torch.randn(1, 2, past, 64)
        return sequences.Decoder(past), inputs
    return make


def recurrent(kind, layers, hidden):
    return lambda: sequences.Recurrent(kind, layers, hidden)


def models():
    """{name: function that gives a module and its inputs}, in the order of the table."""
    found = {
        "resnet18": timm_model("resnet18"),
        "resnet50": timm_model("resnet50"),
        "resnet50_b4": timm_model("resnet50", batch=4),
        "vgg16": vision("vgg16"),
        "densenet121": timm_model("densenet121"),
        "mobilenet_v2": vision("mobilenet_v2"),
        "mobilenet_v3": timm_model("mobilenetv3_large_100"),
        "mobilenet_v3_small_b2": reference("mobilenet_v3"),
        "efficientnet_b0": timm_model("efficientnet_b0"),
        "regnet_y": vision("regnet_y_800mf"),
        "convnext_tiny": timm_model("convnext_tiny"),
        "vit_tiny": timm_model("vit_tiny_patch16_224"),
        "vit_small": timm_model("vit_small_patch16_224"),
        "swin_tiny": timm_model("swin_tiny_patch4_window7_224"),
        "unet": reference("unet"),
        "yolo": square(segmentation.Detector, 640),
        "detector_nms": reference("detector"),
        "text_reader": reference("text_reader"),
        "text_encoder": reference("text_encoder"),
        "bert_small": bert(128),
        "gpt_prefill": decoder(128, 0),
        "gpt_decode": decoder(1, 255),
        "loop_summary": reference("summary"),
    }
    for size in (256, 512, 1024):
        found[f"hrnet_w48_{size}"] = square(segmentation.HRNet, size)
        found[f"resunet_cbam_{size}"] = square(segmentation.ResUNet, size)
    nets = {"tcn": sequences.Convolutional, "transformer": sequences.Forecaster}
    for layers, hidden in ((2, 128), (6, 512)):
        nets[f"gru_{layers}x{hidden}"] = recurrent(nn.GRU, layers, hidden)
        nets[f"lstm_{layers}x{hidden}"] = recurrent(nn.LSTM, layers, hidden)
    for name, make in sorted(nets.items()):
        for batch in (1, 16, 128):
            found[f"{name}_b{batch}"] = rows(make, batch)
    return found


def clean(model, path):
    """Without the exporter's notes, which may be larger than the weights; whole, in one file."""
    for node in list(model.graph.node) + [n for f in model.functions for n in f.node]:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)


def export(make, path, name):
    torch.manual_seed(sum(map(ord, name)))
    module, inputs = make()
    script = isinstance(module, torch.jit.ScriptModule)
    module = module.eval() if script else tame(module)
    with torch.no_grad():
        torch.onnx.export(module, tuple(inputs.values()), path + ".new", dynamo=False,
                          input_names=list(inputs), opset_version=OPSET)
    clean(onnx.load(path + ".new"), path + ".new")
    np.savez(path[:-5] + ".npz", **{name: x.numpy() for name, x in inputs.items()})
    os.replace(path + ".new", path)


# ---- models of packages -------------------------------------------------------------------------


def packaged():
    """{name: folder} of the models that tests/reference/models/run --full has unpacked."""
    with open(os.path.join(ROOT, "tests", "reference", "models", "packages.json"),
              encoding="utf-8") as file:
        packages = json.load(file)
    found = {}
    for package in packages:
        target = os.path.join(os.environ.get("MOONDIAL_PACKAGES",
                                             os.path.join(ROOT, "build", "packages")),
                              package["package"].replace("==", "-"))
        for path in package["models"]:
            short = os.path.basename(path)[:-5]
            short = package["package"].split("==")[0] if short in ("model", "nmp") else short
            found[short.replace("-", "_").lower()] = os.path.join(target,
                                                                  path.replace("/", "_")[:-5])
    return {name: folder for name, folder in found.items() if os.path.isdir(folder)}


def fix_shapes(folder, path):
    """A package's model with the sizes of its inputs here."""
    model = onnx.load(os.path.join(folder, "model.onnx"))
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {}
    for port in model.graph.input:
        if port.name in weights:
            continue
        inputs[port.name] = np.load(os.path.join(folder, f"in.{port.name}.npy"))
        shape = port.type.tensor_type.shape
        del shape.dim[:]
        for size in inputs[port.name].shape:
            shape.dim.add().dim_value = size
    for port in model.graph.output:
        if port.type.tensor_type.HasField("shape"):
            for axis, dim in enumerate(port.type.tensor_type.shape.dim):
                dim.dim_param = f"{port.name}_{axis}"
    del model.graph.value_info[:]
    onnx.save(model, path + ".new")
    np.savez(path[:-5] + ".npz", **inputs)
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", help="the folder to write to")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    os.makedirs(options.target, exist_ok=True)
    made, ready = models(), packaged()
    for name in options.names or [*made, *quantized.MODELS, *ready]:
        path = os.path.join(options.target, name + ".onnx")
        if os.path.exists(path):
            continue
        if name in made:
            export(made[name], path, name)
        elif name in quantized.MODELS:
            quantized.make(name, options.target)
        else:
            fix_shapes(ready[name], path)
        print(f"{name:28}{os.path.getsize(path) / 1e6:10.1f} MB", flush=True)


if __name__ == "__main__":
    main()
