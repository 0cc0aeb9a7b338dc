"""Training steps of the model of beit3_torch.py in PyTorch eager: the peer of bench/train.ts.

Answers each line on its standard input as steps.py says.
"""
import torch
import torch.nn.functional as F

from beit3_torch import Model, arguments
from steps import answer_steps

args = arguments(batch=4)


def losses(model):
    image = torch.randn(args.batch, 3, args.size, args.size, device=args.device)
    label = torch.arange(args.batch, device=args.device) * 37 % 1000
    return [lambda: F.cross_entropy(model(image), label)]


if __name__ == '__main__':
    make = lambda: Model(size=args.size, layers=args.layers)
    answer_steps(args, make, losses, {'lr': 1e-4, 'betas': (0.9, 0.999), 'eps': 1e-8, 'weight_decay': 0.05}, max_norm=1.0)
