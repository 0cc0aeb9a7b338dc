"""Loads fine-tuned exports into the official PyTorch models, strictly, and compares their outputs with ours.

    npm run build
    node dist/test/reference/exports.js out/exports
    python test/reference/load_export.py --beit3 unilm/beit3 --torchscale torchscale out/exports

Of each task the folder holds an export as `beit3 finetune` leaves it, TASK.safetensors and TASK.pth, and TASK.json with
a batch and what our model makes of it. --fixture also writes what PyTorch found (the names and shapes of the official
model and its outputs) for test/beit3/exports.test.ts.
"""
import argparse
import json
import pathlib
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from train import CLASSES, import_training, official_model

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


def states(folder, task):
    """The weights of each file of a task, by the suffix."""
    file = folder / f'{task}.safetensors'
    with safe_open(file, 'pt') as opened:
        config = json.loads(opened.metadata()['config'])
    saved = torch.load(folder / f'{task}.pth', map_location='cpu', weights_only=True)
    return config, {'safetensors': load_file(file), 'pth': saved.get('model', saved)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--beit3', required=True, help='folder unilm/beit3')
    p.add_argument('--torchscale', required=True, help='folder of the torchscale repository')
    p.add_argument('--fixture', type=pathlib.Path)
    p.add_argument('folder', type=pathlib.Path)
    args = p.parse_args()
    official, _, _ = import_training(args.beit3, args.torchscale)
    found, failed = {}, False
    for task in CLASSES:
        config, files = states(args.folder, task)
        ours = json.loads((args.folder / f'{task}.json').read_text())
        if config['task'] != task:
            sys.exit(f'{task}.safetensors says that it is for {config["task"]}.')
        for suffix, state in files.items():
            model = official_model(official, task, config, config['num_classes']).eval()
            model.load_state_dict(state, strict=True)
            theirs = outputs(task, model, ours['batch'])
            far = max((torch.tensor(ours['outputs'][name]).reshape(value.shape) - value).abs().max().item()
                      for name, value in theirs.items())
            failed |= not far <= TOLERANCE
            print(f'{task}.{suffix}: {len(state)} tensors load strictly; outputs differ by at most {far:.1e}')
        found[task] = {'names': {name: list(value.shape) for name, value in model.state_dict().items()},
                       'outputs': {name: [float(f'{v:.8g}') for v in value.flatten().tolist()] for name, value in theirs.items()}}
    if args.fixture:
        args.fixture.write_text(json.dumps(found) + '\n')
    sys.exit(failed)


if __name__ == '__main__':
    main()
