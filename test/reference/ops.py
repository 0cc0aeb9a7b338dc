"""Writes test/fixtures/ops.json: what PyTorch makes of functions and edge cases that the operator dumps do not hold.

    python test/reference/ops.py test/fixtures/ops.json

Each case has inputs, outputs, random gradients of the float outputs and what backward makes of them.
"""
import json
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(0)
nan, inf = float('nan'), float('inf')


def r(*shape):
    return torch.randn(shape).mul(64).round().div(64)


def i(high, *shape):
    return torch.randint(0, high, shape)


def t(*values):
    return torch.tensor(values)


x345, x44 = r(3, 4, 5), r(4, 4)
images = r(2, 3, 7, 6)
ties = t([1.0, 3.0, 3.0], [2.0, 2.0, -1.0])

CASES = {
    'abs at 0': (lambda x: x.abs(), t(-2.0, 0.0, 3.0)),
    'clamp at its bounds': (lambda x: x.clamp(-1, 2), t(-1.5, -1.0, 0.0, 2.0, 2.5)),
    'clamp below alone': (lambda x: x.clamp(min=0.5), r(5)),
    'relu at 0': (lambda x: x.relu(), t(-1.0, 0.0, 2.0)),
    'sqrt at 0': (lambda x: x.sqrt(), t(0.0, 4.0)),
    'softplus far out': (F.softplus, t(-90.0, -20.0, -1.0, 0.0, 1.0, 20.0, 90.0)),
    'gelu far out': (F.gelu, t(-9.0, -5.0, -1.0, 0.0, 1.0, 5.0, 9.0)),
    'sigmoid far out': (torch.sigmoid, t(-120.0, -20.0, 0.0, 20.0, 120.0)),
    'pow by 0': (lambda x: x ** 0, t(-2.0, 0.0, 3.0)),
    'pow by 3 of negatives': (lambda x: x ** 3, t(-2.0, 0.0, 3.0)),
    'pow by a tensor': (torch.pow, t(0.0, 0.0, 2.0, 3.0), t(0.0, 2.0, -1.5, 0.0)),
    'maximum of equals': (torch.maximum, t(1.0, 2.0, 3.0), t(2.0, 2.0, 2.0)),
    'minimum of equals': (torch.minimum, t(1.0, 2.0, 3.0), t(2.0, 2.0, 2.0)),
    'minimum with NaN': (torch.minimum, t(nan, 1.0, 3.0), t(2.0, nan, 1.0)),
    'max of equals': (lambda x: tuple(x.max(1)), ties),
    'max with NaN': (lambda x: tuple(x.max(0)), t(1.0, nan, 5.0)),
    'min along the first axis': (lambda x: tuple(x.min(0)), x345),
    'argmax of all': (lambda x: x.argmax(), x345),
    'argmin': (lambda x: x.argmin(1, keepdim=True), x345),
    'amax of equals': (lambda x: x.amax((0, 1)), ties),
    'amax over outer axes': (lambda x: x.amax((0, 2), keepdim=True), x345),
    'amin': (lambda x: x.amin(1), x345),
    'mean of all': (lambda x: x.mean(), x345),
    'variance': (lambda x: x.var((0, 2)), x345),
    'variance kept': (lambda x: x.var(1, correction=0, keepdim=True), x345),
    'std at 0': (lambda x: x.std(1, correction=0), t([2.0, 2.0, 2.0], [1.0, 2.0, 4.0])),
    'norm at 0': (lambda x: x.norm(dim=1), t([0.0, 0.0], [3.0, 4.0])),
    'prod with zeros': (lambda x: x.prod(1), t([1.0, 0.0, 2.0], [0.0, 0.0, 3.0], [2.0, 3.0, 4.0])),
    'prod of all': (lambda x: x.prod(), r(2, 3)),
    'logsumexp over two axes': (lambda x: x.logsumexp((0, 2)), x345),
    'logsumexp of infinities': (lambda x: x.logsumexp(1), t([-inf, -inf], [0.0, -inf], [inf, 1.0])),
    'cumsum along the first axis': (lambda x: x.cumsum(0), x345),
    'softmax along the first axis': (lambda x: x.softmax(0), x345),
    'log softmax along a middle axis': (lambda x: x.log_softmax(1), x345),
    'matmul of vectors': (torch.matmul, r(5), r(5)),
    'matmul of a vector and a matrix': (torch.matmul, r(5), r(5, 3)),
    'matmul of a batch and a vector': (torch.matmul, r(2, 3, 5), r(5)),
    'matmul of a batch and a matrix': (torch.matmul, r(2, 3, 5), r(5, 4)),
    'matmul of a vector and a batch': (torch.matmul, r(5), r(2, 5, 3)),
    'einsum trace-like': (lambda a, b: torch.einsum('ij,ij->', a, b), r(3, 4), r(3, 4)),
    'einsum without arrow': (lambda a, b: torch.einsum('ik,kj', a, b), r(3, 4), r(4, 5)),
    'einsum of three': (lambda a, b, c: torch.einsum('bi,ij,bj->b', a, b, c), r(2, 3), r(3, 4), r(2, 4)),
    'einsum with dots': (lambda a, b: torch.einsum('...ij,...jk->...ik', a, b), r(2, 1, 3, 4), r(5, 4, 2)),
    'einsum sums alone': (lambda a: torch.einsum('ijk->j', a), x345),
    'einsum outer': (lambda a, b: torch.einsum('bi,bj->bji', a, b), r(2, 3), r(2, 4)),
    'flip': (lambda x: x.flip(0, 2), x345),
    'stack': (lambda a, b: torch.stack([a, b], 1), r(3, 4), r(3, 4)),
    'chunk': (lambda x: x.chunk(3, 1)[1], r(2, 7)),
    'select': (lambda x: x.select(1, -1), x345),
    'pad with a value': (lambda x: F.pad(x, (1, 0, 0, 2), value=-1.5), r(2, 3)),
    'triu': (lambda x: x.triu(1), r(2, 4, 5)),
    'tril below': (lambda x: x.tril(-1), r(4, 3)),
    'gather fewer rows': (lambda x, k: x.gather(0, k), r(5, 4), i(5, 2, 3)),
    'index select of columns': (lambda x, k: x.index_select(2, k), x345, t(4, 0, 0, 2)),
    'one hot': (lambda k: F.one_hot(k, 5).float(), t([0, 4], [2, 2])),
    'topk smallest along the first axis': (lambda x: tuple(x.topk(2, dim=0, largest=False)), x345),
    'sort': (lambda x: tuple(x.sort(dim=1, stable=True)), t([3.0, 1.0, 2.0, 1.0], [0.0, 5.0, -1.0, 2.0])),
    'sort descending': (lambda x: tuple(x.sort(dim=0, descending=True, stable=True)), x345),
    'where with numbers': (lambda x: torch.where(x > 0, x, -2.0), x345),
    'conv2d without bias': (lambda x, w: F.conv2d(x, w), images, r(4, 3, 3, 2)),
    'conv2d with two strides': (
        lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(0, 2)), images, r(4, 3, 3, 3), r(4)),
    'conv2d of patches with a rest': (lambda x, w, b: F.conv2d(x, w, b, stride=(2, 4)), images, r(5, 3, 2, 4), r(5)),
    'avgPool2d overlapping': (lambda x: F.avg_pool2d(x, (3, 2), stride=(2, 1)), images),
    'avgPool2d with a rest': (lambda x: F.avg_pool2d(x, 2), images),
    'bilinear corners': (lambda x: F.interpolate(x, size=(4, 9), mode='bilinear', align_corners=True), images),
    'bicubic corners': (lambda x: F.interpolate(x, size=(9, 3), mode='bicubic', align_corners=True), images),
    'bicubic smaller': (lambda x: F.interpolate(x, size=(3, 2), mode='bicubic'), images),
    'groupNorm with weights': (lambda x, w, b: F.group_norm(x, 2, w, b), r(2, 4, 3, 2), r(4), r(4)),
    'normalize along the first axis': (lambda x: F.normalize(x, dim=0), r(3, 4)),
    'eye': (lambda: torch.eye(2, 3),),
    'linspace': (lambda: torch.linspace(-1, 2, 5),),
}


def plain(v):
    values = [float('%.9g' % x) if x == x and abs(x) != inf else str(x) for x in v.reshape(-1).tolist()]
    return {'shape': list(v.shape), 'float': v.is_floating_point(), 'values': values}


out = {}
for name, (fn, *inputs) in CASES.items():
    inputs = [v.clone().requires_grad_(v.is_floating_point()) for v in inputs]
    results = fn(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    up = [r(*v.shape) for v in results if v.requires_grad]
    if up:
        torch.autograd.backward([v for v in results if v.requires_grad], up)
    out[name] = {
        'inputs': [plain(v.detach()) for v in inputs],
        'outputs': [plain(v.detach()) for v in results],
        'upstream': [plain(v) for v in up],
        'grads': [plain(v.grad) if v.grad is not None else None for v in inputs],
    }
with open(sys.argv[1], 'w') as f:
    json.dump(out, f, separators=(',', ':'))
    f.write('\n')
