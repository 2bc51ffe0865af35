#!/usr/bin/env python3
"""Files to the device: stream_bench (reads, copies and averages) beside safetensors' load_file, taking turns.

    python3 load_bench.py STREAM_BENCH LIBRARY FOLDER OUT.json [--k 8] [--gigabytes 1] [--repeats 3] [--device cuda]

Both read k files of the same size from the page cache. load_file only loads; what stockpot makes is the mean.
"""
import argparse
import json
import os
import statistics
import subprocess
import time

import torch
from safetensors.torch import load_file, save_file

ap = argparse.ArgumentParser()
ap.add_argument("stream_bench")
ap.add_argument("library")
ap.add_argument("folder")
ap.add_argument("out")
ap.add_argument("--k", type=int, default=8)
ap.add_argument("--gigabytes", type=float, default=1)
ap.add_argument("--repeats", type=int, default=3)
ap.add_argument("--device", default="cuda")
A = ap.parse_args()
R = {"k": A.k, "torch": torch.__version__, "runs": []}

count = int(A.gigabytes * 1e9 / 4 / 16) // 64 * 64
paths = []
for i in range(A.k):
    paths.append(os.path.join(A.folder, f"load{i}.safetensors"))
    if not os.path.exists(paths[-1]):
        save_file({f"layer{j}.weight": torch.randn(count) * 0.05 for j in range(16)}, paths[-1])
size = os.path.getsize(paths[0])


def load():
    t = time.perf_counter()
    for p in paths:
        load_file(p, device=A.device)
    if A.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - t


def stream(dtype):
    command = [A.stream_bench, A.library, A.folder, str(A.k), str(size), "--repeats", "1", "--dtype", dtype]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if A.device != "cpu":  # what the bus does, from pinned memory
    host = torch.empty(1 << 30, dtype=torch.uint8).pin_memory()
    there = torch.empty_like(host, device=A.device)
    for _ in range(3):
        torch.cuda.synchronize()
        t = time.perf_counter()
        there.copy_(host, non_blocking=True)
        torch.cuda.synchronize()
        R["pinned_copy_GBps"] = max(R.get("pinned_copy_GBps", 0), host.numel() / 1e9 / (time.perf_counter() - t))
    del host, there
load()
for _ in range(A.repeats):
    R["runs"].append({"load_file": load(), "stream": stream("f32")})
    json.dump(R, open(A.out, "w"), indent=1)
R["stream_bf16"] = stream("bf16")
loaded = statistics.median(r["load_file"] for r in R["runs"])
ours = statistics.median(r["stream"]["seconds"]["device"]["median"] for r in R["runs"])
read = statistics.median(r["stream"]["seconds"]["read"]["median"] for r in R["runs"])
R["GBps"] = {"load_file": size * A.k / 1e9 / loaded, "stockpot": size * A.k / 1e9 / ours, "pread alone": size * A.k / 1e9 / read}
R["times_faster_than_load_file"] = loaded / ours
json.dump(R, open(A.out, "w"), indent=1)
print(json.dumps({n: R[n] for n in ("GBps", "times_faster_than_load_file")}), R.get("pinned_copy_GBps"))
