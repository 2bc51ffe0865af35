#!/usr/bin/env python3
"""Whole greedy and learned soups on the device: `stockpot` beside a fair PyTorch program, on the same files.

    python3 recipes_bench.py OUT.json --node NODE --data FOLDER [--k 72] [--images 26000] [--device cuda] [--smoke]

Makes k ViT-B/32 checkpoints around one base (float16) and random images whose labels the base gives, with noise. Both keep the
data on the device, read each checkpoint once, and evaluate in bfloat16. PyTorch's program holds the images as bfloat16, its
network compiled (max-autotune), the running sum of the members in float32. Printed: seconds from the start of the process to
its end and without the reading of data, order, members, and whether they agree. The learned soup: by model, AdamW, five epochs;
PyTorch's by functional_call on the mix of the stacked ingredients. --smoke: a small network and few images on the processor, or the emulated device that STOCKPOT_CUDA_LIBRARY names.
"""
import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as fn

ap = argparse.ArgumentParser()
ap.add_argument("out")
ap.add_argument("--node", default="node")
ap.add_argument("--cli", default=str(pathlib.Path(__file__).resolve().parents[2] / "dist/cli.js"))
ap.add_argument("--data", required=True, help="folder for the zoo, 15 GB; kept and used again")
ap.add_argument("--k", type=int, default=72)
ap.add_argument("--images", type=int, default=26000)
ap.add_argument("--device", default="cuda")
ap.add_argument("--only", default="greedy,learned")
ap.add_argument("--smoke", action="store_true")
ap.add_argument("--peer", choices=["greedy", "learned"], help="run PyTorch's program alone (used by the script itself)")
A = ap.parse_args()
if A.smoke:
    A.k, A.images, A.device = 4, 60, "cpu"
FOLDER = pathlib.Path(A.data)
ARCHITECTURE = "vit_tiny_patch16_224" if A.smoke else "vit_base_patch32_224"
ARGUMENTS = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2} if A.smoke else {}
CLASSES, BATCH, EPOCHS = (10, 20, 2) if A.smoke else (1000, 512, 5)
LOW = torch.float32 if A.smoke else torch.bfloat16


def network(device):
    import timm
    return timm.create_model(ARCHITECTURE, num_classes=CLASSES, **ARGUMENTS).to(device).eval()


def make():
    """The zoo: base and ingredients as timm's folders, the images and labels as one tensor file."""
    if (FOLDER / "done").exists():
        return
    torch.manual_seed(3)
    model = network(A.device)
    base = {n: t.detach().clone() for n, t in model.state_dict().items()}
    size = 32 if A.smoke else 224
    images = torch.randn(A.images, 3, size, size, dtype=torch.float16)
    with torch.inference_mode():
        logits = torch.cat([model(x.to(A.device).float()).float().cpu() for x in images.split(BATCH)])
    labels = (logits + 0.3 * logits.std() * torch.randn_like(logits)).argmax(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    save_file({"pixel_values": images, "labels": labels}, FOLDER / "heldout.safetensors")
    config = {"architecture": ARCHITECTURE, "num_classes": CLASSES, "model_args": ARGUMENTS}
    for i in range(A.k):
        place = FOLDER / f"ft{i:02d}"
        place.mkdir(exist_ok=True)
        (place / "config.json").write_text(json.dumps(config))
        noise = 0.1 + 0.1 * i / A.k  # independent: averages are better than each, and the last are of little use
        save_file({n: (t + noise * t.std().nan_to_num() * torch.randn_like(t)).half().cpu().contiguous() for n, t in base.items()},
                  place / "model.safetensors")
    (FOLDER / "done").touch()


def ingredients():
    return [str(FOLDER / f"ft{i:02d}") for i in range(A.k)]


def peer():
    """PyTorch's program, in a process of its own."""
    data = load_file(FOLDER / "heldout.safetensors")
    images, labels = data["pixel_values"].to(A.device).to(LOW), data["labels"].to(A.device)
    model = network(A.device)
    low = network(A.device).to(LOW)
    run = low if A.smoke else torch.compile(low, mode="max-autotune")
    loaded = time.perf_counter()
    states = [load_file(pathlib.Path(p) / "model.safetensors", device=A.device) for p in ingredients()]

    @torch.inference_mode()
    def accuracy(state):
        for n, p in low.state_dict().items():
            p.copy_(state[n])
        return sum((run(x).argmax(1) == y).sum().item() for x, y in zip(images.split(BATCH), labels.split(BATCH))) / len(labels)

    if A.peer == "greedy":
        single = [accuracy(s) for s in states]
        order = sorted(range(A.k), key=lambda i: -single[i])
        members, best = [order[0]], single[order[0]]
        total = {n: t.float() for n, t in states[order[0]].items()}
        for i in order[1:]:
            tried = {n: t + states[i][n] for n, t in total.items()}
            found = accuracy({n: t / (len(members) + 1) for n, t in tried.items()})
            if found >= best:
                members, best, total = members + [i], found, tried
        return dict(order=order, members=members, accuracy=best, without_data=time.perf_counter() - loaded)

    names = list(states[0])
    stacked = {n: torch.stack([s[n] for s in states]).to(LOW) for n in names}
    alpha = torch.zeros(A.k, device=A.device, requires_grad=True)
    beta = torch.ones((), device=A.device, requires_grad=True)
    optimizer = torch.optim.AdamW([alpha, beta], lr=0.05, weight_decay=0)
    losses = []
    for _ in range(EPOCHS):
        for x, y in zip(images.split(BATCH), labels.split(BATCH)):
            weights = torch.softmax(alpha, 0).to(LOW)
            mixed = {n: torch.tensordot(weights, stacked[n], 1) for n in names}
            loss = fn.cross_entropy(beta * torch.func.functional_call(model.to(LOW), mixed, (x,)).float(), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return dict(losses=[losses[0], losses[-1]], alpha=torch.softmax(alpha, 0).tolist(), without_data=time.perf_counter() - loaded)


def timed(command):
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode:
        return dict(failed=(done.stderr or done.stdout)[-1000:])
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "seconds": seconds}


def stockpot(recipe):
    device = "cuda" if A.smoke and "STOCKPOT_CUDA_LIBRARY" in os.environ else A.device
    options = ["--data", str(FOLDER / "heldout.safetensors"), "--device", device, "-o", str(FOLDER / f"{recipe}-soup"),
               "--overwrite", "--quiet", "--json"]
    if recipe == "learned":
        options += ["--by", "model", "--epochs", str(EPOCHS), "--batch-size", str(BATCH), "--lr", "0.05"]
    return timed([A.node, A.cli, recipe, *ingredients(), *options])


if A.peer:
    print(json.dumps(peer()))
    sys.exit()

R = {"command": "python3 recipes_bench.py " + " ".join(sys.argv[1:]), "torch": torch.__version__, "python": platform.python_version(),
     "node": subprocess.run([A.node, "--version"], capture_output=True, text=True).stdout.strip(), "k": A.k, "images": A.images}
if A.device == "cuda":
    R["device"] = torch.cuda.get_device_properties(0).name
make()
for recipe in A.only.split(","):
    runs = {"stockpot": [], "torch": []}
    for _ in range(1 if A.smoke else 3):
        runs["stockpot"].append(stockpot(recipe))
        again = [sys.executable, __file__, *sys.argv[1:], "--peer", recipe]
        runs["torch"].append(timed(again))
    R[recipe] = runs
    ours, theirs = runs["stockpot"][0], runs["torch"][0]
    if "failed" not in ours and "failed" not in theirs:
        R[recipe]["faster_by"] = [t["seconds"] / s["seconds"] for s, t in zip(runs["stockpot"], runs["torch"])]
        if recipe == "greedy":
            R[recipe]["same_members"] = sorted(ours["members"]) == sorted(theirs["members"])
    json.dump(R, open(A.out, "w"), indent=1)
    print(recipe, json.dumps({n: v for n, v in R[recipe].items() if n != "stockpot" and n != "torch"}),
          json.dumps([r.get("failed", r.get("seconds")) for n in ("stockpot", "torch") for r in runs[n]]), flush=True)
