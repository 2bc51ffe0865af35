#!/usr/bin/env python3
"""Means, dot products and Gram matrices of resident ingredients, beside PyTorch in the same run.

    python3 bench.py LIBRARY OUT.json [--seconds 480] [--smoke]

Contenders take turns (A B A B …) on the same tensors; times are between events on the device, median of the repeats
after warm-up; data is random, several gigabytes, and larger than the caches. Every rate is also given as a share of a
device-to-device copy (bytes read and written) measured in the same run. Each result is compared with float64 in the same
run. --smoke: tiny tensors in host memory, for a library whose device is the processor.
"""
import argparse
import json
import platform
import sys
import time

import torch
from backend import BF16, DOTS, F16, F32, GRAM, MEAN, Backend, Tensor
from turns import Turns

ap = argparse.ArgumentParser()
ap.add_argument("library")
ap.add_argument("out")
ap.add_argument("--seconds", type=float, default=480)
ap.add_argument("--smoke", action="store_true")
A = ap.parse_args()
T0 = time.time()
dev = "cpu" if A.smoke else "cuda"
CODES = {torch.float32: F32, torch.float16: F16, torch.bfloat16: BF16}
R = {"command": "python3 bench.py " + " ".join(sys.argv[1:]), "torch": torch.__version__, "python": platform.python_version(),
     "results": []}


def left():
    return A.seconds - (time.time() - T0)


def save():
    json.dump(R, open(A.out, "w"), indent=1)


TURNS = Turns(dev)
sync, timed_torch, take_turns = TURNS.sync, TURNS.seconds, TURNS.take
B = Backend(A.library)
if B.probe.status:
    print("skipped:", B.probe.message.decode())
    sys.exit(0)
B.open()
R["driver"], R["runtime"], R["cublaslt"] = B.probe.driver_version, B.probe.runtime_version, B.probe.matmul_version
total = 1 << 34
if dev == "cuda":
    p = torch.cuda.get_device_properties(0)
    R["device"], R["multiprocessors"], total = p.name, p.multi_processor_count, p.total_memory

# Device to device: the limit of everything here.
n = 1 << (22 if A.smoke else 32)
a = torch.randint(0, 255, (n,), dtype=torch.uint8, device=dev)
b = torch.empty_like(a)
copy, _ = take_turns({"copy": lambda: timed_torch(lambda: b.copy_(a))}, 10)
COPY = 2 * n / copy["copy"]["median"]
R["copy_GBps"] = COPY / 1e9
del a, b


def sizes(elements):
    """Tensor sizes as a transformer's: matrices with vectors between, odd ones among them."""
    out = []
    while elements > 0:
        for s in (4 << 20, 1 << 20, 1024, 4096, 3 << 20, 1001):
            s = min(s if not A.smoke else s // 1024 + 3, elements)
            if s > 0:
                out.append(s)
                elements -= s
    return out


def models(k, dtypes, elements):
    return [[(torch.randn(s, device=dev) * 0.05).to(dtypes[i % len(dtypes)]) for s in sizes(elements)] for i in range(k)]


def elements_for(k, item, most=1 << 28):
    return 30000 if A.smoke else int(min(most, 0.35 * total / ((k + 2) * item)))


def report(operation, k, dtype, byte_count, done, failed, error, note=""):
    ours = done["stockpot"]
    r = {"operation": operation, "k": k, "dtype": dtype, "bytes": byte_count, "seconds": done, "failed": failed,
         "GBps": byte_count / ours["median"] / 1e9, "share_of_copy": byte_count / ours["median"] / COPY,
         "times_faster": {n: t["median"] / ours["median"] for n, t in done.items() if n != "stockpot"},
         "error": error, "note": note}
    R["results"].append(r)
    save()
    print(f"{operation:5} k {k:3} {dtype:9} {r['GBps']:8.0f} GB/s  {r['share_of_copy']:.2f} of copy  "
          + "  ".join(f"{n} {x:.2f}x" for n, x in r["times_faster"].items()) + f"  error {error}", flush=True)


def bench_mean(k, dtypes, out_type, second=None, weighted=False):
    item = max(t.itemsize for t in dtypes)
    ms = models(k, dtypes, elements_for(k, item))
    outs = [torch.empty(t.numel(), dtype=out_type, device=dev) for t in ms[0]]
    seconds = [torch.empty(t.numel(), dtype=second, device=dev) for t in ms[0]] if second else None
    reports = torch.zeros(2 * len(outs), dtype=torch.int64, device=dev)
    tensors, inputs = [], []
    for j, out in enumerate(outs):
        tensors.append(Tensor(out.numel(), len(inputs), k, 0 if weighted else -1, 0, out.data_ptr(),
                              seconds[j].data_ptr() if second else 0, 0, CODES[out_type],
                              CODES[second] if second else F32, F32, 0))
        inputs += [(m[j].data_ptr(), CODES[m[j].dtype]) for m in ms]
    weights = [(i + 1) / (k * (k + 1) / 2) for i in range(k)] if weighted else []
    sync()
    plan = B.plan(MEAN, tensors, inputs, weights, 0, reports.data_ptr())
    contenders = {"stockpot": lambda: B.seconds(plan)}
    same = len(set(dtypes)) == 1 and not weighted and not second
    if same:
        def foreach():
            acc = [t.clone() for t in ms[0]]
            for m in ms[1:]:
                torch._foreach_add_(acc, m)
            torch._foreach_div_(acc, k)
        contenders["foreach"] = lambda: timed_torch(foreach)
        if k <= 8:
            contenders["stack.mean"] = lambda: timed_torch(lambda: [torch.stack(ts).mean(0) for ts in zip(*ms)])
        if not A.smoke and left() > 120 and k <= 24:
            compiled = torch.compile(lambda ts: sum(t.float() for t in ts).div(len(ts)).to(ts[0].dtype), dynamic=True)
            contenders["compiled sum"] = lambda: timed_torch(lambda: [compiled(list(ts)) for ts in zip(*ms)])
    done, failed = take_turns(contenders, 7)
    exact = sum((m[0].double() if not weighted else m[0].double() * weights[i]) for i, m in enumerate(ms))
    if not weighted:
        exact = exact / k
    wrong = int((exact.to(torch.float32).to(out_type) if out_type == torch.float32 else exact.to(out_type)).ne(outs[0]).sum())
    elements = sum(o.numel() for o in outs)
    byte_count = elements * (sum(m[0].element_size() for m in ms) + outs[0].element_size()
                             + (seconds[0].element_size() if second else 0))
    name = "+".join(sorted({str(t).replace("torch.", "") for t in dtypes}))
    note = ("weighted " if weighted else "") + (f"second output {second} " if second else "") + f"{elements} elements"
    report("mean", k, name, byte_count, done, failed, f"{wrong} of {exact.numel()} elements differ from torch's float64 mean", note)
    B.destroy(plan)


def bench_dots(k, dtype):
    ms = models(k, [dtype], elements_for(k, dtype.itemsize, 1 << 27))
    g = [torch.randn(t.numel(), device=dev) for t in ms[0]]
    groups = len(g) // 6 + 1
    result = torch.empty(groups * k, dtype=torch.float64, device=dev)
    tensors, inputs = [], []
    for j, t in enumerate(g):
        tensors.append(Tensor(t.numel(), len(inputs), k, -1, j // 6, 0, 0, t.data_ptr(), F32, F32, F32, 0))
        inputs += [(m[j].data_ptr(), CODES[dtype]) for m in ms]
    sync()
    plan = B.plan(DOTS, tensors, inputs, [], groups, result.data_ptr())
    h = [t.to(dtype) for t in g]
    contenders = {"stockpot": lambda: B.seconds(plan),
                  "dot in a loop": lambda: timed_torch(lambda: [torch.dot(m[j], h[j]) for m in ms for j in range(len(h))])}
    done, failed = take_turns(contenders, 7)
    sync()
    want = torch.stack([sum(torch.dot(m[j].double(), g[j].double()) for j in range(min(6, len(g)))) for m in ms])
    error = float((result[:k] - want).abs().max() / want.abs().max())
    byte_count = sum(t.numel() for t in g) * (k * ms[0][0].element_size() + 4)
    report("dots", k, str(dtype).replace("torch.", ""), byte_count, done, failed, error, "share of copy counts bytes read alone")
    B.destroy(plan)


def bench_gram(k, dtype):
    ms = models(k, [dtype], elements_for(k, dtype.itemsize, 1 << 26))
    result = torch.empty(k * k, dtype=torch.float64, device=dev)
    tensors, inputs = [], []
    for j, t in enumerate(ms[0]):
        tensors.append(Tensor(t.numel(), len(inputs), k, -1, 0, 0, 0, 0, F32, F32, F32, 0))
        inputs += [(m[j].data_ptr(), CODES[dtype]) for m in ms]
    sync()
    plan = B.plan(GRAM, tensors, inputs, [], 1, result.data_ptr())

    def products():
        total_product = torch.zeros(k, k, device=dev)
        for ts in zip(*ms):
            x = torch.stack(ts).float()
            total_product += x @ x.T
        return total_product
    contenders = {"stockpot": lambda: B.seconds(plan), "stack @ stack.T in float32": lambda: timed_torch(products)}
    done, failed = take_turns(contenders, 5)
    sync()
    want = sum((x := torch.stack(ts).double()) @ x.T for ts in zip(*ms))
    error = float((result.view(k, k) - want).abs().max() / want.abs().max())
    elements = sum(t.numel() for t in ms[0])
    report("Gram", k, str(dtype).replace("torch.", ""), elements * k * ms[0][0].element_size(), done, failed, error,
           f"{elements * k * (k + 1) / done['stockpot']['median'] / 1e12:.2f} float64 TFLOP/s of the products that are needed")
    B.destroy(plan)


f32, f16, bf16 = torch.float32, torch.float16, torch.bfloat16
ks = (2, 3, 5) if A.smoke else (2, 4, 8, 16, 20, 28, 48, 72)
work = []
for k in ks:
    work += [lambda k=k, t=t: bench_mean(k, [t], t) for t in (f32, bf16)]
work += [lambda: bench_mean(8, [f16], f16), lambda: bench_mean(8, [f32, bf16], f32), lambda: bench_mean(20, [bf16, f32, f16], bf16),
         lambda: bench_mean(8, [f32], f32, second=bf16), lambda: bench_mean(20, [bf16], bf16, second=f32),
         lambda: bench_mean(20, [bf16], bf16, weighted=True), lambda: bench_mean(20, [f32], f32, weighted=True)]
work += [lambda k=k, t=t: bench_dots(k, t) for k in ((2, 9) if A.smoke else (8, 20, 28, 72)) for t in (f32, bf16)]
work += [lambda k=k, t=t: bench_gram(k, t) for k in ((2, 9) if A.smoke else (4, 8, 20, 72)) for t in (f32, bf16)]
for w in work:
    if left() < 20:
        R["stopped"] = "out of time"
        break
    try:
        w()
    except Exception as e:
        R["results"].append({"failed": f"{type(e).__name__}: {str(e)[:300]}"})
        print(R["results"][-1], flush=True)
    if dev == "cuda":
        torch.cuda.empty_cache()
save()
print(f"copy {COPY / 1e9:.0f} GB/s; {len(R['results'])} results in {time.time() - T0:.0f} s")
sys.exit(1 if any("seconds" not in r for r in R["results"]) else 0)
