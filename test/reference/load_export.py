"""Loads fine-tuned exports into the official PyTorch models, strictly, and compares their outputs with ours.

    npm run build
    node dist/test/reference/exports.js out/exports
    python test/reference/load_export.py --beit3 unilm/beit3 --torchscale torchscale out/exports

The folder holds a TASK.json for each task: names of exports, a batch, and what our model makes of it. --fixture also
writes what PyTorch found (the names and shapes of the official models and their outputs) for test/beit3/exports.test.ts.
"""
import argparse
import json
import pathlib
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from train import import_training, official_model

TOLERANCE = 1e-5


def outputs(task, model, batch):
    given = {name: torch.tensor(values, dtype=torch.float32 if name.startswith('images') else torch.int64).reshape(shape)
             for name, (values, shape) in batch.items()}
    image, text, padding = given['images'], given.get('ids'), given.get('padding')
    with torch.no_grad():
        if task == 'imageclassification':
            return {'logits': model(image=image)}
        if task == 'vqav2':
            return {'logits': model(image=image, question=text, padding_mask=padding)}
        if task == 'nlvr2':
            return {'logits': model(image_a=image, image_b=given['images2'], text_description=text, padding_mask=padding)}
        if task == 'captioning':
            places = torch.zeros_like(text)
            places.view(-1)[given['predict']] = 1
            return {'logits': model(image=image, text_ids=given['masked'], padding_mask=padding, language_masked_pos=places)[0]}
        pictures, texts = (model(image=image, only_infer=True)[0],
                           model(text_description=text, padding_mask=padding, only_infer=True)[1])
        return {'image': pictures, 'text': texts}


def read(file):
    """The config inside an export and its weights."""
    if file.endswith('.pth'):
        saved = torch.load(file, map_location='cpu', weights_only=True)
        return json.loads(saved['config']), saved['model']
    with safe_open(file, 'pt') as opened:
        return json.loads(opened.metadata()['config']), load_file(file)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--beit3', required=True, help='folder unilm/beit3')
    p.add_argument('--torchscale', required=True, help='folder of the torchscale repository')
    p.add_argument('--fixture', type=pathlib.Path)
    p.add_argument('folder', type=pathlib.Path)
    args = p.parse_args()
    official, _, _ = import_training(args.beit3, args.torchscale)
    found, failed = {}, False
    for path in sorted(args.folder.glob('*.json')):
        task, ours = path.stem, json.loads(path.read_text())
        for file in ours['files']:
            config, state = read(file)
            model = official_model(official, task, config, config['num_classes']).eval()
            model.load_state_dict(state, strict=True)
            theirs = outputs(task, model, ours['batch'])
            far = max((torch.tensor(ours['outputs'][name]).reshape(value.shape) - value).abs().max().item()
                      for name, value in theirs.items())
            failed |= not far <= TOLERANCE
            print(f'{task}: all {len(state)} tensors of {file} load strictly; outputs differ by at most {far:.1e}')
        found[task] = {'names': {name: list(value.shape) for name, value in model.state_dict().items()},
                       'outputs': {name: [float(f'{v:.8g}') for v in value.flatten().tolist()] for name, value in theirs.items()}}
    if args.fixture:
        args.fixture.write_text(json.dumps(found) + '\n')
    sys.exit(failed)


if __name__ == '__main__':
    main()
