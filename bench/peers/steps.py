"""What the training peers have in common: a step for every line on standard input, answered with one JSON line.

{"seconds", "forward", "backward", "update", "processor" (seconds of all threads), "loss", "megabytes" (peak resident; with
CUDA, of its memory), "torch" (version), "device"}, or {"error": why}. float16 is mixed precision: autocast and a scaled loss.
"""
import json
import resource
import sys
import time

import torch

from beit3_torch import device_name, why_not


def answer_steps(args, make, losses, adamw, max_norm):
    """`losses(model)` gives functions, each of which is run forward and then differentiated; gradients add up."""
    if why_not(args):
        print(json.dumps({'error': why_not(args)}), flush=True)
        return
    cuda, half = args.device == 'cuda', args.dtype == 'float16'
    model = make().train().to(args.device)
    optimiser = torch.optim.AdamW(model.parameters(), **adamw)
    scaler = torch.amp.GradScaler(args.device, enabled=half)
    parts = losses(model)
    # On a GPU the parts are the times until the work is queued; reading the loss waits for all of it.
    now = time.perf_counter
    for _ in sys.stdin:
        processor, begun = time.process_time(), now()
        forward = backward = 0.0
        total = None
        for part in parts:
            start = now()
            with torch.autocast(args.device, dtype=torch.float16, enabled=half):
                loss = part()
            middle = now()
            scaler.scale(loss).backward()
            forward, backward = forward + middle - start, backward + now() - middle
            total = loss.detach() if total is None else total + loss.detach()
            del loss
        start = now()
        scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad()
        value = total.item()
        end = now()
        memory = torch.cuda.max_memory_allocated() / 2**20 if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({
            'seconds': end - begun,
            'forward': forward,
            'backward': backward,
            'update': end - start,
            'processor': time.process_time() - processor,
            'loss': value,
            'megabytes': memory,
            'torch': torch.__version__,
            'device': device_name(args),
        }), flush=True)
