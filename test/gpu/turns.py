"""How the benchmarks of this folder take times: contenders in turn, between events of the device."""
import statistics
import time

import torch


class Turns:
    def __init__(self, device):
        self.cuda = device == "cuda"

    def sync(self):
        if self.cuda:
            torch.cuda.synchronize()

    def seconds(self, f):
        """Of torch's work f()."""
        self.sync()
        if not self.cuda:
            t = time.perf_counter()
            f()
            return time.perf_counter() - t
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        f()
        b.record()
        b.synchronize()
        return a.elapsed_time(b) / 1e3

    def take(self, contenders, repeats, warm=2):
        """{name: seconds-giving function} -> {name: {median, min, max}}; a contender that fails is left out, with its reason."""
        times, failed = {n: [] for n in contenders}, {}
        for r in range(repeats + warm):
            for name, f in contenders.items():
                if name in failed:
                    continue
                self.sync()
                try:
                    t = f()
                    if r >= warm:
                        times[name].append(t)
                except Exception as e:  # one contender's failure must not lose the others
                    failed[name] = f"{type(e).__name__}: {str(e)[:300]}"
        done = {n: dict(median=statistics.median(t), min=min(t), max=max(t)) for n, t in times.items() if t}
        return done, failed
