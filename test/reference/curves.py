"""Writes test/fixtures/curves.json: the losses of the official PyTorch model in the tiny training runs (see tiny.ts).

    npm run build
    python test/reference/curves.py --beit3 unilm/beit3 --torchscale torchscale
"""
import argparse
import io
import json
import pathlib
import subprocess

from train import frames, import_training, train

ROOT = pathlib.Path(__file__).resolve().parents[2]
COURSES = ['imageclassification', 'vqav2', 'nlvr2', 'captioning', 'retrieval', 'joint']


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--beit3', required=True, help='folder unilm/beit3')
    p.add_argument('--torchscale', required=True, help='folder of the torchscale repository')
    p.add_argument('--dist', default=ROOT / 'dist', type=pathlib.Path, help='folder of the built project')
    p.add_argument('--out', default=ROOT / 'test/fixtures/curves.json', type=pathlib.Path)
    args = p.parse_args()
    modules = import_training(args.beit3, args.torchscale)
    curves = {}
    for course in COURSES:
        log = io.StringIO()
        with subprocess.Popen(['node', args.dist / 'test/reference/batches.js', course], stdout=subprocess.PIPE) as node:
            train(*modules, frames(node.stdout), log, threads=1)
        curves[course] = [float(f'{json.loads(line)["loss"]:.7g}') for line in log.getvalue().splitlines()]
        print(f'{course}: {curves[course][0]} to {curves[course][-1]} in {len(curves[course])} batches')
    args.out.write_text(json.dumps(curves) + '\n')


if __name__ == '__main__':
    main()
