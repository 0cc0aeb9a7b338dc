"""Evaluates small official PyTorch BEiT-3 models with the official engine and writes what came of it, for the tests:

    python evaluate.py --beit3 unilm/beit3 --torchscale torchscale --out ../fixtures/evaluate

One file a task: weights, samples (in batches of 4, the last one smaller) and, in the metadata, the numbers and predictions
of the handlers of engine_for_finetuning.py. What it needs is what dump.py
needs.
"""
import argparse
import contextlib
import io
import json
import os
import sys
import types

import torch
from safetensors.torch import save_file

BATCH = 4
VOCABULARY = 30


def stand_ins():
    """What the evaluation takes from timm and torchmetrics."""
    def accuracy(output, target, topk):
        order = output.topk(min(max(topk), output.shape[1]), 1).indices
        return [(order[:, :k] == target[:, None]).float().sum() * 100 / len(target) for k in topk]

    class Metric(torch.nn.Module):
        def __init__(self, **_):
            super().__init__()

        def add_state(self, name, default, **_):
            setattr(self, name, default.clone())

        def forward(self, *args):
            self.update(*args)
            return self.compute()

    class ModelEma:
        pass

    for name, members in {'timm': {}, 'timm.utils': {'accuracy': accuracy, 'ModelEma': ModelEma, 'get_state_dict': None},
                          'torchmetrics': {'Metric': Metric}}.items():
        if name not in sys.modules:
            sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__dict__.update(members)
    sys.modules['timm'].utils = sys.modules['timm.utils']


class Tokenizer:
    """What the captioning handler asks of a tokenizer; captions stay numbers."""
    cls_token_id, pad_token_id, sep_token_id, mask_token_id = 0, 1, 2, VOCABULARY - 1

    def batch_decode(self, rows, skip_special_tokens):
        return [' '.join(str(i) for i in row.tolist() if 2 < i < self.mask_token_id) for row in rows]


def texts(count, generator):
    lengths = torch.randint(2, 7, (count,), generator=generator).tolist()
    ids = torch.ones(count, max(lengths) + 2, dtype=torch.long)
    for row, length in zip(ids, lengths):
        row[0], row[length + 1] = 0, 2
        row[1:length + 1] = torch.randint(4, VOCABULARY - 1, (length,), generator=generator)
    return {'language_tokens': ids, 'padding_mask': (ids == 1).long()}


def samples(task, count, config, classes, generator):
    side = config['img_size']
    pictures = lambda: torch.randn(count, 3, side, side, generator=generator)
    data = {'image': pictures()}
    if task != 'imageclassification' and task != 'captioning':
        data.update(texts(count, generator))
    if task == 'imageclassification':
        data['label'] = torch.randint(classes, (count,), generator=generator)
    elif task == 'vqav2':
        data['labels'] = torch.tensor([0, 0, 0.3, 0.6, 0.9, 1])[torch.randint(6, (count, classes), generator=generator)]
        data['qid'] = torch.randperm(1000, generator=generator)[:count]
    elif task == 'nlvr2':
        data['image2'] = pictures()
        data['label'] = torch.randint(2, (count,), generator=generator)
    elif task == 'captioning':
        data['image_id'] = torch.randperm(1000, generator=generator)[:count]
    else:
        # Several texts an image, ids in no order, every text with its own copy of the image.
        ids = torch.tensor([5, 5, 2, 2, 2, 9, 0, 0, 3, 3, 12, 7, 7, 40, 21, 21, 11, 11, 6, 8])[:count]
        first = [ids.tolist().index(i) for i in ids.tolist()]
        data['image'] = data['image'][first]
        data['image_id'] = ids
    return data


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--beit3', required=True)
    p.add_argument('--torchscale', required=True)
    p.add_argument('--out', required=True)
    args = p.parse_args()
    stand_ins()
    from train import import_training, official_model
    official, engine, _ = import_training(args.beit3, args.torchscale)
    engine.get_sentencepiece_model_for_beit3 = lambda _: Tokenizer()
    os.makedirs(args.out, exist_ok=True)
    for seed, (task, classes, count) in enumerate([('imageclassification', 9, 13), ('vqav2', 7, 13), ('nlvr2', 2, 13),
                                                   ('captioning', 0, 7), ('retrieval', 0, 20)]):
        generator = torch.Generator().manual_seed(seed)
        config = {'encoder_embed_dim': 12, 'encoder_attention_heads': 3, 'encoder_ffn_embed_dim': 20, 'encoder_layers': 2,
                  'img_size': 8, 'patch_size': 4, 'in_chans': 3, 'max_source_positions': 20, 'layernorm_eps': 1e-5,
                  'vocab_size': VOCABULARY,
                  'normalize_output': task not in ('imageclassification', 'vqav2'), 'subln': True}
        model = official_model(official, task, config, classes)
        with torch.no_grad():
            for name, value in model.named_parameters():
                # Large weights and small biases: what comes out depends on what goes in.
                if value.dim() > 1:
                    value.normal_(0, 1.5 / value[0].numel() ** 0.5, generator=generator)
                elif name.endswith('bias'):
                    value.normal_(0, 0.1, generator=generator)
        data = samples(task, count, config, classes, generator)
        handler = {
            'imageclassification': lambda: engine.ImageNetHandler(argparse.Namespace(mixup=0, cutmix=0, cutmix_minmax=None, label_smoothing=0)),
            'vqav2': engine.VQAHandler,
            'nlvr2': engine.NLVR2Handler,
            'captioning': lambda: engine.CaptioningHandler(argparse.Namespace(
                label_smoothing=0.1, drop_worst_ratio=0.2, drop_worst_after=0, num_beams=3, num_max_bpe_tokens=12, length_penalty=0.6,
                vocab_size=VOCABULARY)),
            'retrieval': engine.RetrievalHandler,
        }[task]()

        def run(keys):
            class Loader(list):
                dataset = argparse.Namespace(split='val', label2ans=[f'answer {i}' for i in range(classes)])
            loader = Loader({k: data[k][i:i + BATCH] for k in keys} for i in range(0, count, BATCH))
            with contextlib.redirect_stdout(io.StringIO()):
                return engine.evaluate(loader, model, torch.device('cpu'), handler)[0]

        if task == 'captioning':
            expected = {'predictions': run(data)}
        elif task == 'vqav2':
            expected = {**run([key for key in data if key != 'qid']), 'predictions': run([key for key in data if key != 'labels'])}
        else:
            expected = run(data)
        tensors = {f'state/{k}': v for k, v in model.state_dict().items()}
        tensors.update({f'input/{k}': v for k, v in data.items()})
        metadata = {'task': task, 'config': json.dumps({**config, 'multiway': True, 'num_classes': classes}),
                    'expected': json.dumps(expected), 'torch': torch.__version__}
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, os.path.join(args.out, f'{task}.safetensors'), metadata)
        print(task, json.dumps(expected))


if __name__ == '__main__':
    main()
