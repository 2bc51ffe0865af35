#!/usr/bin/env python3
"""Registers and spills of every kernel, by architecture, from what ptxas says while they are compiled.

    NVCC_APPEND_FLAGS='-Xptxas -v' scripts/cuda_release.sh 2>&1 | tee LOG
    python3 scripts/ptxas.py LOG > bench/results/ptxas.json

What is 0 is left out. A function that is not inlined counts by itself: what it "spills" may be the registers that its
caller has the right to find unchanged, stored once a call.
"""
import json
import re
import subprocess
import sys

COMMAND = "NVCC_APPEND_FLAGS='-Xptxas -v' scripts/cuda_release.sh 2>&1 | tee LOG; python3 scripts/ptxas.py LOG"

entry = architecture = function = None
found = {}  # (function, whether a kernel) -> architecture -> figures
for line in open(sys.argv[1], encoding="utf-8"):
    if start := re.search(r"Compiling entry function '(\S+)' for '(\w+)'", line):
        entry, architecture = start.groups()
    elif properties := re.search(r"Function properties for (\S+)", line):
        function = properties[1]
    elif spills := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
        figures = found.setdefault((function, function == entry), {}).setdefault(architecture, {})
        named = zip(("stack", "spillStores", "spillLoads"), map(int, spills.groups()))
        figures.update((name, n) for name, n in named if n)
    elif used := re.search(r"Used (\d+) registers", line):
        found[entry, True][architecture]["registers"] = int(used[1])
if not found:
    sys.exit(f"{sys.argv[1]} has nothing that ptxas said: compile with NVCC_APPEND_FLAGS='-Xptxas -v'")

mangled = [name for name, _ in found]
plain = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True, check=True).stdout.split("\n")


def short(name):
    name = name.replace("stockpot::cuda::", "").replace("stockpot::", "").replace("(anonymous namespace)::", "")
    return re.sub(r"^void ", "", name)


kernels, functions = {}, {}
for ((_, is_kernel), by_architecture), name in zip(found.items(), plain):
    to = kernels if is_kernel else functions
    to.setdefault(short(name), {}).update(dict(sorted(by_architecture.items())))

spilling = sum(any("spillStores" in f for f in by.values()) for by in kernels.values())
lines = [
    f'  {json.dumps(title)}: {{\n'
    + ",\n".join(f"    {json.dumps(name)}: {json.dumps(by)}" for name, by in sorted(all_of.items()))
    + "\n  }"
    for title, all_of in (("kernels", kernels), ("functions", functions))
]
head = {"command": COMMAND, "kernelCount": len(kernels), "kernelsThatSpill": spilling}
print("{\n" + "".join(f"  {json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items()) + ",\n".join(lines) + "\n}")
