"""Times single kernels in PyTorch eager: the peer of bench/kernels.

First answers with one JSON line {"torch": version, "device": name}, or {"error": why}. Then, for every line
{"kind", "sizes", "dtype", "seconds", "sample"} on its standard input, with {"seconds": of a call, the fastest sample}, {"error": why},
or {"seconds": null} where it has no counterpart.
"""
import argparse
import json
import sys
import time

import torch
import torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument('--threads', type=int, default=0)
p.add_argument('--device', default='cpu')
args = p.parse_args()


def sync():
    if args.device == 'cuda':
        torch.cuda.synchronize()


def call_of(kind, s, dtype):
    """A function that does the work once; its operands are made here."""
    def make(*shape):
        return torch.rand(*shape, device=args.device).mul_(2).sub_(1).to(dtype)

    if kind == 'matmul':
        a, b = make(s['M'], s['K']), make(s['K'], s['N'])
        return lambda: torch.matmul(a, b)
    if kind.startswith('linear'):
        x, w, bias = make(s['R'], s['K']), make(s['N'], s['K']) * 0.05, make(s['N'])
        if kind == 'linearGelu':
            return lambda: F.gelu(F.linear(x, w, bias))
        if kind == 'linearResidual':
            residual = make(s['R'], s['N'])
            return lambda: F.linear(x, w, bias) + residual
        return lambda: F.linear(x, w, bias)
    if kind == 'layerNorm':
        x, gain, bias = make(s['R'], s['D']), make(s['D']), make(s['D'])
        return lambda: F.layer_norm(x, (s['D'],), gain, bias)
    if kind == 'attention':
        q = make(s['B'], s['H'], s['Q'], s['d'])
        k, v = (make(s['B'], s['H'], s['K'], s['d']) for _ in range(2))
        return lambda: F.scaled_dot_product_attention(q, k, v)
    if kind == 'crossEntropy':
        logits = make(s['N'], s['C'])
        target = torch.randint(0, s['C'], (s['N'],), device=args.device)
        return lambda: F.cross_entropy(logits, target, label_smoothing=0.1, reduction='none')
    if kind == 'adamw':
        parameters = [make(s['E']).requires_grad_() for _ in range(s['T'])]
        for x in parameters:
            x.grad = make(s['E'])
        optimiser = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.05)
        return optimiser.step
    return None


def fastest(call, seconds, sample):
    """Of samples that each take about `sample` seconds."""
    def many(count):
        start = time.perf_counter()
        for _ in range(count):
            call()
        sync()
        return time.perf_counter() - start
    once, warm = many(1), 0
    while warm < sample:
        took = many(2)
        once, warm = min(once, took / 2), warm + took
    count = max(1, round(sample / once))
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        times.append(many(count) / count)
    return min(times)


def answer(question):
    call = call_of(question['kind'], question['sizes'], getattr(torch, question['dtype']))
    if call is None:
        return {'seconds': None}
    # What AdamW changes requires gradients; the rest needs none.
    with torch.set_grad_enabled(question['kind'] == 'adamw'):
        return {'seconds': fastest(call, question['seconds'], question['sample'])}


if args.threads > 0:
    torch.set_num_threads(args.threads)
if args.device == 'cuda' and not torch.cuda.is_available():
    print(json.dumps({'error': 'this PyTorch sees no CUDA device'}), flush=True)
else:
    # float32 products in float32, as ours are; not in the shorter TF32.
    torch.backends.cuda.matmul.allow_tf32 = False
    name = torch.cuda.get_device_name() if args.device == 'cuda' else f'{torch.get_num_threads()} threads'
    print(json.dumps({'torch': torch.__version__, 'device': name}), flush=True)
    for line in sys.stdin:
        try:
            print(json.dumps(answer(json.loads(line))), flush=True)
        except RuntimeError as error:
            print(json.dumps({'error': str(error).split('\n')[0]}), flush=True)
        if args.device == 'cuda':
            torch.cuda.empty_cache()
