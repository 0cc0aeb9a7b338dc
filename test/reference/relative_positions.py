"""Writes test/fixtures/relative_positions.json: tables of relative positions, resized by the official code.

    python test/reference/relative_positions.py --beit2 unilm/beit2

Runs the lines of run_class_finetuning.py that resize tables, as they stand there, on tables of random numbers. They ask for
scipy.interpolate.interp2d; where scipy has it no more (1.14), RectBivariateSpline stands in, which scipy names as its exact
replacement on regular grids: both call FITPACK's regrid with s=0. Needs torch, numpy and scipy.
"""
import argparse
import contextlib
import io
import json
import pathlib
import textwrap
import types

import numpy as np
import torch
from scipy import interpolate

CASES = [(3, 5), (4, 6), (7, 12), (6, 4), (5, 7)]
HEADS = 2


def interp2d(x, y, z, kind):
    assert kind == 'cubic'
    spline = interpolate.RectBivariateSpline(x, y, z.T, kx=3, ky=3, s=0)
    return lambda dx, dy: spline(dx, dy).T


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--beit2', required=True, type=pathlib.Path, help='folder unilm/beit2')
    p.add_argument('--out', type=pathlib.Path,
                   default=pathlib.Path(__file__).resolve().parents[2] / 'test/fixtures/relative_positions.json')
    args = p.parse_args()
    source = (args.beit2 / 'run_class_finetuning.py').read_text()
    begin, end = 'all_keys = list(checkpoint_model.keys())\n        for key', '# interpolate position embedding'
    code = textwrap.dedent(' ' * 8 + source[source.index(begin):source.index(end)])
    key = 'blocks.0.attn.relative_position_bias_table'
    try:
        interpolate.interp2d(range(4), range(4), np.zeros((4, 4)), kind='cubic')
        library = interpolate
    except (AttributeError, NotImplementedError):
        library = types.SimpleNamespace(interp2d=interp2d)
    found = []
    for seed, (old, new) in enumerate(CASES):
        torch.manual_seed(seed)
        table = torch.randn((2 * old - 1) ** 2 + 3, HEADS)
        model = types.SimpleNamespace(patch_embed=types.SimpleNamespace(patch_shape=(new, new)),
                                      state_dict=lambda: {key: torch.empty((2 * new - 1) ** 2 + 3, HEADS)})
        scope = {'checkpoint_model': {key: table}, 'model': model, 'np': np, 'torch': torch, 'interpolate': library}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code, scope)
        rounded = [[float(f'{v:.9g}') for v in t.flatten().tolist()] for t in (table, scope['checkpoint_model'][key])]
        found.append({'from': old, 'to': new, 'table': rounded[0], 'resized': rounded[1]})
    args.out.write_text(json.dumps(found) + '\n')


if __name__ == '__main__':
    main()
