"""Training steps of the model of beit3_torch.py in PyTorch eager: the peer of bench/train.ts.

Takes a step for every line on its standard input and answers with one JSON line: {"seconds", "forward", "backward",
"update", "processor" (seconds of all threads), "loss", "megabytes" (peak resident; with CUDA, of its memory), "torch"
(version), "device"}, or {"error": why}. float16 is mixed precision: autocast and a scaled loss.
"""
import json
import resource
import sys
import time

import torch
import torch.nn.functional as F

from beit3_torch import Model, arguments, device_name, why_not

args = arguments(batch=4)
if why_not(args):
    print(json.dumps({'error': why_not(args)}), flush=True)
    sys.exit()
cuda = args.device == 'cuda'
half = args.dtype == 'float16'
model = Model(size=args.size, layers=args.layers).train().to(args.device)
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05)
scaler = torch.amp.GradScaler(args.device, enabled=half)
image = torch.randn(args.batch, 3, args.size, args.size, device=args.device)
label = torch.arange(args.batch, device=args.device) * 37 % 1000
# On a GPU the parts are the times until the work is queued; reading the loss waits for all of it.
now = time.perf_counter
for _ in sys.stdin:
    processor = time.process_time()
    times = [now()]
    with torch.autocast(args.device, dtype=torch.float16, enabled=half):
        loss = F.cross_entropy(model(image), label)
    times.append(now())
    scaler.scale(loss).backward()
    times.append(now())
    scaler.unscale_(optimiser)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimiser)
    scaler.update()
    optimiser.zero_grad()
    value = loss.item()
    times.append(now())
    forward, backward, update = (b - a for a, b in zip(times, times[1:]))
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({
        'seconds': times[-1] - times[0],
        'forward': forward,
        'backward': backward,
        'update': update,
        'processor': time.process_time() - processor,
        'loss': value,
        'megabytes': peak,
        'torch': torch.__version__,
        'device': device_name(args),
    }), flush=True)
