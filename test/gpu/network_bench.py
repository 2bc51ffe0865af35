#!/usr/bin/env python3
"""Networks on the device beside PyTorch in the same run: images a second forward, and forward with backward.

    python3 network_bench.py LIBRARY OUT.json [--seconds 540] [--only vit_b32,…] [--smoke]

Random weights of the real shapes: ViT-B/32, L/14, H/14, G/14 at 224 and 518, BERT-base. Contenders take turns on the same
batch: stockpot, torch eager and torch.compile (max-autotune), all bfloat16 with weights and images in device memory, torch's
attention with the back end that it picks (and the one that was fastest, with --back-ends). Times are between events, medians
of the repeats after warm-up. In the same run the logits of each are compared with torch's in float32. A table says where the
time of a G/14 and of a B/32 batch goes: each operation by itself, beside the bytes and the products that it cannot do without.
--smoke: tiny shapes in host memory, for a library whose device is the processor.
"""
import argparse
import json
import platform
import sys
import time

import torch
from network_backend import Graph, NetworkBackend, bert, vit
from torch import nn
from torch.nn import functional as fn
from turns import Turns

ap = argparse.ArgumentParser()
ap.add_argument("library")
ap.add_argument("out")
ap.add_argument("--seconds", type=float, default=540)
ap.add_argument("--only", default="")
ap.add_argument("--smoke", action="store_true")
A = ap.parse_args()
T0 = time.time()
dev = "cpu" if A.smoke else "cuda"
LOW = torch.float32 if A.smoke else torch.bfloat16
NUMBER = "f32" if A.smoke else "bf16"
R = {"command": "python3 network_bench.py " + " ".join(sys.argv[1:]), "torch": torch.__version__,
     "python": platform.python_version(), "number": NUMBER, "networks": {}, "where": {}}
torch.manual_seed(1)
torch.backends.cuda.matmul.allow_tf32 = False


def left():
    return A.seconds - (time.time() - T0)


def save():
    json.dump(R, open(A.out, "w"), indent=1)


B = NetworkBackend(A.library)
if B.probe.status:
    print("skipped:", B.probe.message.decode())
    sys.exit(0)
B.open()
R["driver"], R["runtime"], R["cublaslt"] = B.probe.driver_version, B.probe.runtime_version, B.probe.matmul_version
if dev == "cuda":
    R["device"] = torch.cuda.get_device_properties(0).name


TURNS = Turns(dev)
sync, timed, take_turns = TURNS.sync, TURNS.seconds, TURNS.take


class Block(nn.Module):
    """A pre-norm (ViT) or post-norm (BERT) block with timm's names."""

    def __init__(self, width, heads, hidden, pre):
        super().__init__()
        self.heads, self.pre = heads, pre
        epsilon = 1e-6 if pre else 1e-12
        self.norm1, self.norm2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def attend(self, x, mask):
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(fn.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(b, t, d))

    def forward(self, x, mask=None):
        if self.pre:
            x = x + self.attend(self.norm1(x), None)
            return x + self.fc2(fn.gelu(self.fc1(self.norm2(x))))
        x = self.norm1(x + self.attend(x, mask))
        return self.norm2(x + self.fc2(fn.gelu(self.fc1(x))))


class Vit(nn.Module):
    def __init__(self, size, patch, width, depth, heads, hidden, classes=1000):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width, heads, hidden, True) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width, 1e-6), nn.Linear(width, classes)

    def forward(self, images):
        x = self.patch_embed(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))


class Bert(nn.Module):
    def __init__(self, length, width=768, depth=12, heads=12, hidden=3072, vocabulary=30522, classes=2):
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.norm = nn.LayerNorm(width, 1e-12)
        self.blocks = nn.ModuleList([Block(width, heads, hidden, False) for _ in range(depth)])
        self.pooler, self.head = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, ids, mask):
        x = self.norm(self.words(ids) + self.positions)
        seen = (mask != 0)[:, None, None, :]
        for block in self.blocks:
            x = block(x, seen)
        return self.head(torch.tanh(self.pooler(x[:, 0])))


def ours(name):
    """A graph's name of a weight for a module's."""
    for a, b in ((".attn.", "."), (".mlp.", "."), ("patch_embed.proj.", "patch_embed.")):
        name = name.replace(a, b)
    return name


SHAPES = {
    # name: (kind, arguments, batch forward, batch with backward, repeats)
    "vit_b32_224": ("vit", (224, 32, 768, 12, 12, 3072), 512, 256, 20),
    "vit_l14_224": ("vit", (224, 14, 1024, 24, 16, 4096), 128, 64, 10),
    "vit_g14_224": ("vit", (224, 14, 1664, 48, 16, 8192), 64, 32, 7),
    "bert_base_128": ("bert", (128,), 128, 64, 15),
    "vit_h14_224": ("vit", (224, 14, 1280, 32, 16, 5120), 64, 32, 7),
    "vit_g14_518": ("vit", (518, 14, 1664, 48, 16, 8192), 16, 8, 5),
}
if A.smoke:
    SHAPES = {"vit": ("vit", (16, 8, 64, 2, 2, 128, 10), 3, 2, 1), "bert": ("bert", (7, 64, 2, 2, 128, 50, 3), 3, 2, 1)}


def batch_of(kind, arguments, n):
    if kind == "vit":
        images = torch.randn(n, 3, arguments[0], arguments[0], device=dev)
        return [images], [images.to(LOW)]
    ids = torch.randint(0, 50 if A.smoke else 30522, (n, arguments[0]), dtype=torch.int32, device=dev)
    mask = (torch.rand(n, arguments[0], device=dev) > 0.1).to(torch.int32)
    mask[:, 0] = 1
    return [ids, mask], [ids, mask]


def network(name):
    kind, arguments, batch, training_batch, repeats = SHAPES[name]
    graph = vit(*arguments) if kind == "vit" else bert(*arguments)
    with torch.device(dev):
        model = (Vit if kind == "vit" else Bert)(*arguments)
    state = {n: p.detach() for n, p in model.named_parameters()}
    addresses = {g: state[ours(g)].data_ptr() for g, _ in graph.weights}
    result = {"batch": batch, "training_batch": training_batch, "parameters": sum(p.numel() for p in state.values())}
    given, low_given = batch_of(kind, arguments, max(batch, training_batch))
    sync()

    def mixed(training, n):
        net = B.network(graph, NUMBER, n, training)
        tensors, inputs = net.mix([addresses])
        result["bytes_training" if training else "bytes"] = net.sizes.weights + net.sizes.activations + net.sizes.gradients + net.sizes.scratch
        plan = B.plan(0, tensors, inputs, [], 0, report.data_ptr())
        B.seconds(plan)
        B.destroy(plan)
        return net

    report = torch.zeros(2 * len(graph.weights), dtype=torch.int64, device=dev)
    classes = graph.values[-1].columns

    # Forward.
    net = mixed(False, batch)
    out = torch.empty(batch, classes, device=dev)
    inputs = net.inputs([t.data_ptr() for t in given])
    low = (Vit if kind == "vit" else Bert)(*arguments).to(dev)
    low.load_state_dict(model.state_dict())
    low = low.to(LOW).eval()
    with torch.inference_mode():
        exact = model(*[t[:batch] for t in given]).float()
        contenders = {
            "stockpot": lambda: net.seconds(lambda: net.forward(inputs, batch, out.data_ptr())),
            "torch eager": lambda: timed(lambda: low(*[t[:batch] for t in low_given])),
        }
        if not A.smoke:
            compiled = torch.compile(low, mode="max-autotune")
            contenders["torch.compile"] = lambda: timed(lambda: compiled(*[t[:batch] for t in low_given]))
        done, failed = take_turns(contenders, repeats, 3)
        B.call("synchronize", B.context)
        scale = exact.abs().max().item()
        result["largest_difference_of_largest_logit"] = {
            "stockpot": (out - exact).abs().max().item() / scale,
            "torch eager": (low(*[t[:batch] for t in low_given]).float() - exact).abs().max().item() / scale,
        }
    result["forward"] = rates(done, failed, batch)
    net.destroy()

    # Forward and backward, every gradient.
    if left() > 60:
        net = mixed(True, training_batch)
        dout = torch.randn(training_batch, classes, device=dev)
        inputs = net.inputs([t.data_ptr() for t in given])
        low.train()
        few = [t[:training_batch] for t in low_given]

        def step():
            net.zero()
            net.forward(inputs, training_batch, out.data_ptr())
            net.backward(inputs, training_batch, dout.data_ptr())

        def torch_step(f):
            low.zero_grad(set_to_none=False)
            f(*few).backward(dout.to(LOW))

        contenders = {"stockpot": lambda: net.seconds(step), "torch eager": lambda: timed(lambda: torch_step(low))}
        contenders["stockpot, forward alone"] = lambda: net.seconds(lambda: net.forward(inputs, training_batch, out.data_ptr()))
        if not A.smoke:
            trained = torch.compile(low)
            contenders["torch.compile"] = lambda: timed(lambda: torch_step(trained))
        done, failed = take_turns(contenders, repeats, 3)
        result["forward_and_backward"] = rates(done, failed, training_batch)
        if "stockpot" in done:
            forward = done["stockpot, forward alone"]["median"]
            result["backward_over_forward"] = (done["stockpot"]["median"] - forward) / forward
        net.destroy()
    R["networks"][name] = result
    save()
    print(name, json.dumps(result), flush=True)
    del model, low
    if dev == "cuda":
        torch.cuda.empty_cache()


def rates(done, failed, batch):
    out = {n: dict(seconds=t, per_second=batch / t["median"]) for n, t in done.items()}
    if "stockpot" in done:
        for n, t in done.items():
            if n.startswith("torch"):
                out[n]["stockpot_is_faster_by"] = t["median"] / done["stockpot"]["median"]
    return {**out, "failed": failed} if failed else out


def where(name):
    """Each operation of a block by itself, times how often it comes, beside what it must read, write and multiply."""
    kind, (size, patch, width, depth, heads, hidden, *_), batch, _, repeats = SHAPES[name]
    rows, item = (size // patch) ** 2 + 1, 4 if A.smoke else 2

    def one(build, columns):
        g = Graph()
        # A value to begin with, made by the cheapest operation that makes one from an input.
        x = g.op("patches", rows, columns, [columns, rows, 1, 1], input=g.input(rows * columns))
        start = len(g.ops)
        build(g, x)
        g.op("select_row", 1, g.values[-1].columns, [0], x=len(g.values) - 1)
        return g, start

    table = {}
    cases = {
        "layer_norm": (lambda g, x: g.layer_norm(x, "n"), width, 2 * width, 0, 2),
        "qkv": (lambda g, x: g.linear(x, 3 * width, "w"), width, 4 * width, 2 * width * 3 * width, 1),
        "attention": (lambda g, x: g.attention(x, heads), 3 * width, 4 * width, 4 * rows * width, 1),
        "proj + residual": (lambda g, x: g.linear(x, width, "w", residual=x), width, 3 * width, 2 * width * width, 1),
        "fc1 + gelu": (lambda g, x: g.linear(x, hidden, "w", "gelu"), width, width + hidden, 2 * width * hidden, 1),
        "fc2": (lambda g, x: g.linear(x, width, "w"), hidden, width + hidden, 2 * width * hidden, 1),
    }
    for label, (build, columns, values, products, times) in cases.items():
        g, _ = one(build, columns)
        empty, _ = one(lambda g, x: None, columns)
        seconds = []
        for graph in (g, empty):
            net = B.network(graph, NUMBER, batch)
            data = torch.zeros(batch * rows * columns, device=dev)
            out = torch.empty(batch, graph.values[-1].columns, device=dev)
            inputs = net.inputs([data.data_ptr()])
            sync()
            done, _ = take_turns({"s": lambda: net.seconds(lambda: net.forward(inputs, batch, out.data_ptr()))}, repeats, 3)
            seconds.append(done["s"]["median"])
            net.destroy()
        took = (seconds[0] - seconds[1]) * times * depth
        table[label] = dict(seconds=took, GB=values * item * rows * batch * times * depth / 1e9,
                            TFLOP=products * rows * batch * times * depth / 1e12)
        if took > 0:
            table[label]["GBps"] = table[label]["GB"] / took
            table[label]["TFLOPs"] = table[label]["TFLOP"] / took
    R["where"][name] = table
    save()
    print("where", name, json.dumps(table), flush=True)


names = [n for n in SHAPES if not A.only or n in A.only.split(",")]
for name in names:
    if left() < 45 and not A.smoke:
        R["networks"][name] = "skipped: out of time"
        continue
    try:
        network(name)
    except Exception as e:  # one network's failure must not lose the others
        R["networks"][name] = f"failed: {type(e).__name__}: {str(e)[:500]}"
        print(name, R["networks"][name], flush=True)
        if A.smoke:
            raise
    if name in ("vit_g14_224", "vit_b32_224", "vit") and left() > 30:
        try:
            where(name)
        except Exception as e:
            R["where"][name] = f"failed: {type(e).__name__}: {str(e)[:500]}"
            if A.smoke:
                raise
save()
