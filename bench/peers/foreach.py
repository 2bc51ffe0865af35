"""The fastest mean that plain PyTorch offers: in place, all tensors of a model in one call; then save and sync."""
import os
import sys

import torch
from safetensors.torch import load_file, save_file

out, paths = sys.argv[1], sys.argv[2:]
soup = load_file(paths[0])
names = list(soup)
sums = [soup[n] for n in names]
for path in paths[1:]:
    weights = load_file(path)
    torch._foreach_add_(sums, [weights[n] for n in names])
torch._foreach_div_(sums, len(paths))
save_file(dict(zip(names, sums)), out, metadata={"format": "pt"})
fd = os.open(out, os.O_RDONLY)
os.fsync(fd)
