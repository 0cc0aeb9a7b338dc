"""Training steps of the model of beit3_torch.py in PyTorch eager, float32, on the CPU: the peer of bench/train.ts.

Takes a step for every line on its standard input and answers with one JSON line: {"seconds", "forward", "backward",
"update", "processor" (seconds of all threads), "loss", "megabytes" (peak resident), "torch" (version)}.
"""
import argparse
import json
import resource
import sys
import time

import torch
import torch.nn.functional as F

from beit3_torch import Model

p = argparse.ArgumentParser()
p.add_argument('--threads', type=int, default=2)
p.add_argument('--batch', type=int, default=4)
p.add_argument('--size', type=int, default=224)
args = p.parse_args()
torch.set_num_threads(args.threads)
torch.manual_seed(0)
model = Model(size=args.size).train()
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05)
image = torch.randn(args.batch, 3, args.size, args.size)
label = torch.arange(args.batch) * 37 % 1000
for _ in sys.stdin:
    processor = time.process_time()
    times = [time.perf_counter()]
    loss = F.cross_entropy(model(image), label)
    times.append(time.perf_counter())
    loss.backward()
    times.append(time.perf_counter())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad()
    value = loss.item()
    times.append(time.perf_counter())
    forward, backward, update = (b - a for a, b in zip(times, times[1:]))
    print(json.dumps({
        'seconds': times[-1] - times[0],
        'forward': forward,
        'backward': backward,
        'update': update,
        'processor': time.process_time() - processor,
        'loss': value,
        'megabytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        'torch': torch.__version__,
    }), flush=True)
