"""Trains the official PyTorch BEiT-3 on the batches that our side writes, with the weights that it starts from.

    node dist/test/reference/batches.js vqav2 | python train.py --beit3 unilm/beit3 --torchscale torchscale \
        --losses losses.jsonl --save trained.safetensors

Everything comes through standard input (see frames() for the format): sizes, initial weights, optimiser settings, the
learning rate of each step and the batches. The models, the losses (the handlers of engine_for_finetuning.py) and the
optimiser groups (optim_factory.py) are the official ones; the step is theirs without mixed precision. Several tasks in
one stream share one backbone. Dropout is off. What it needs is what dump.py needs.
"""
import argparse
import contextlib
import importlib
import io
import json
import struct
import sys
import time
import types

import numpy as np
import torch
from dump import import_official, stand_in
from safetensors.torch import save_file

CLASSES = {
    'imageclassification': 'BEiT3ForImageClassification',
    'vqav2': 'BEiT3ForVisualQuestionAnswering',
    'nlvr2': 'BEiT3ForVisualReasoning',
    'captioning': 'BEiT3ForCaptioning',
    'retrieval': 'BEiT3ForRetrieval',
}


# What AdamW keeps of every parameter besides the number of its steps.
MOMENTS = ('exp_avg', 'exp_avg_sq')


def exactly(stream, count):
    data = bytearray()
    while len(data) < count:
        part = stream.read(count - len(data))
        if not part:
            sys.exit(f'The stream ends in the middle of a frame: {len(data)} of {count} bytes.')
        data += part
    return data


def frames(stream):
    """(fields, arrays) of each frame: the length of a JSON text (uint32, little endian), the text, and then the values
    of every [name, type, shape] in its `arrays`. The first frame holds the settings and the weights (and of a run that goes
    on, the moments of AdamW and its `counts` of steps), the others a batch each."""
    while head := stream.read(4):
        head += exactly(stream, 4 - len(head))
        fields = json.loads(exactly(stream, struct.unpack('<I', head)[0]))
        arrays = {}
        for name, kind, shape in fields.pop('arrays'):
            dtype = np.dtype(kind).newbyteorder('<')
            data = exactly(stream, dtype.itemsize * int(np.prod(shape)))
            arrays[name] = torch.from_numpy(np.frombuffer(data, dtype).reshape(shape))
        yield fields, arrays


def import_training(beit3, torchscale):
    """The official models, handlers and optimiser factory."""
    official = import_official(beit3, torchscale)

    class LabelSmoothingCrossEntropy(torch.nn.CrossEntropyLoss):
        def __init__(self, smoothing):
            super().__init__(label_smoothing=smoothing)

    stand_in('timm.loss', LabelSmoothingCrossEntropy=LabelSmoothingCrossEntropy, SoftTargetCrossEntropy=torch.nn.CrossEntropyLoss)
    stand_in('timm.optim.lookahead', Lookahead=None)
    # The official module of this name reads data sets; the handlers take only the tokenizer from it, and only to decode.
    datasets = types.ModuleType('datasets')
    datasets.get_sentencepiece_model_for_beit3 = lambda _: None
    sys.modules['datasets'] = datasets
    return official, importlib.import_module('engine_for_finetuning'), importlib.import_module('optim_factory')


def official_model(official, task, config, classes):
    from torchscale.architecture.config import EncoderConfig
    args = EncoderConfig(**{**config, 'multiway': True, 'layernorm_embedding': False, 'no_output_layer': True,
                            'drop_path_rate': 0, 'checkpoint_activations': False})
    return getattr(official, CLASSES[task])(args, num_classes=classes)


class Joint(torch.nn.Module):
    """Official models over one backbone. No two heads have a name in common, so names are those of the models."""

    def __init__(self, official, config, heads):
        super().__init__()
        models = {task: official_model(official, task, {**config, **head.get('config', {})}, head['classes'])
                  for task, head in heads.items()}
        fullest = max(models.values(), key=lambda model: len(model.beit3.state_dict())).beit3
        for model in models.values():
            own = model.beit3
            own.text_embed, own.vision_embed = fullest.text_embed, fullest.vision_embed
            own.encoder.embed_positions, own.encoder.layers = fullest.encoder.embed_positions, fullest.encoder.layers
            if own.encoder.layer_norm is not None:
                own.encoder.layer_norm = fullest.encoder.layer_norm
        # Not as a submodule: names would get the task in front.
        self.__dict__['models'] = models
        self.num_layers = config['encoder_layers']

    def named_parameters(self, *_, **__):
        return iter({name: p for model in self.models.values() for name, p in model.named_parameters()}.items())

    def parameters(self, *_, **__):
        return (p for _, p in self.named_parameters())

    def weights(self):
        return {name: value for model in self.models.values() for name, value in model.state_dict().items()}

    def load(self, state):
        missing, extra = self.weights().keys() - state.keys(), state.keys() - self.weights().keys()
        if missing or extra:
            sys.exit(f'The weights do not fit: missing {sorted(missing)}, not expected {sorted(extra)}')
        for model in self.models.values():
            model.load_state_dict({name: state[name] for name in model.state_dict()}, strict=True)

    def no_weight_decay(self):
        return {name for model in self.models.values() for name in model.no_weight_decay()}


def optimiser_of(factory, model, settings):
    args = argparse.Namespace(opt='adamw', lr=0.0, weight_decay=settings['weightDecay'], opt_eps=settings['eps'],
                              opt_betas=settings['betas'])
    assigner, layers, decay = None, model.num_layers, settings.get('layerDecay', 1)
    if decay < 1:
        assigner = factory.LayerDecayValueAssigner([decay ** (layers + 1 - i) for i in range(layers + 2)])
    # It prints all groups.
    with contextlib.redirect_stdout(io.StringIO()):
        return factory.create_optimizer(args, model, skip_list=model.no_weight_decay(),
                                        get_num_layer=assigner and assigner.get_layer_id,
                                        get_layer_scale=assigner and assigner.get_scale)


class Handlers:
    """The official handler of each task, which computes its loss."""

    def __init__(self, engine, loss):
        self.step = 0
        args = argparse.Namespace(label_smoothing=loss.get('labelSmoothing', 0.1), cutmix=0, cutmix_minmax=None, mixup=0,
                                  drop_worst_ratio=loss.get('dropWorstRatio', 0.2), drop_worst_after=loss.get('dropWorstAfter', 12000),
                                  num_beams=1, num_max_bpe_tokens=0, length_penalty=0, vocab_size=0)
        mixed = argparse.Namespace(**{**vars(args), 'mixup': 1})
        self.by_task = {'imageclassification': engine.ImageNetHandler(args), 'vqav2': engine.VQAHandler(),
                        'nlvr2': engine.NLVR2Handler(), 'captioning': engine.CaptioningHandler(args),
                        'retrieval': engine.RetrievalHandler()}
        self.mixed = engine.ImageNetHandler(mixed)

    def loss(self, task, model, batch, step):
        given = {'image': batch['images']}
        handler = self.by_task[task]
        if task != 'imageclassification':
            given.update(language_tokens=batch['ids'].long(), padding_mask=batch['padding'].long())
        if task == 'imageclassification':
            given['label'] = batch['labels'].long()
            if 'targets' in batch:
                handler, given['label'] = self.mixed, batch['targets']
        elif task == 'vqav2':
            given['labels'] = batch['scores']
        elif task == 'nlvr2':
            given.update(image2=batch['images2'], label=batch['labels'].long())
        elif task == 'captioning':
            masked = torch.zeros_like(batch['ids'])
            masked.view(-1)[batch['predict'].long()] = 1
            if not torch.equal(batch['ids'][masked.bool()], batch['targets']):
                sys.exit('The targets of a captioning batch are not the words at the places to predict.')
            given.update(masked_tokens=batch['masked'].long(), language_masked_pos=masked, image_id=None, global_step=step)
        else:
            given['image_id'] = None
        return handler.train_batch(model, **given)['loss']


def train(official, engine, factory, stream, log, threads, save=lambda header, weights: None, every=0):
    """Trains on a stream of frames; gives its header and the weights to `save` at the end and every so many steps."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    header, arrays = next(stream)
    moments = {name: value for name, value in arrays.items() if name.endswith(MOMENTS)}
    state = {name: value for name, value in arrays.items() if name not in moments}
    model = Joint(official, header['config'], header['heads'])
    model.load(state)
    for part in model.models.values():
        part.train()
    settings = header['optimizer']
    optimiser = optimiser_of(factory, model, settings)
    for name, parameter in model.named_parameters():
        if name in header.get('counts', {}):
            optimiser.state[parameter] = {'step': torch.tensor(float(header['counts'][name])),
                                          **{kind: moments[f'{name}.{kind}'].clone() for kind in MOMENTS}}
    handlers = Handlers(engine, header.get('loss', {}))
    average = {k: v.clone() for k, v in model.weights().items()} if 'ema' in header else None
    begin = time.time()
    for fields, batch in stream:
        task, step, weight = fields['task'], fields['step'], fields.get('weight', 1)
        loss = handlers.loss(task, model.models[task], batch, step)
        (loss * weight).backward()
        norm = None
        if fields.get('last', True):
            for group in optimiser.param_groups:
                group['lr'] = fields['lr'] * group.get('lr_scale', 1)
            if settings.get('maxNorm'):
                norm = float(torch.nn.utils.clip_grad_norm_(list(model.parameters()), settings['maxNorm']))
            optimiser.step()
            optimiser.zero_grad()
            if average is not None:
                with torch.no_grad():
                    for name, value in model.weights().items():
                        average[name].lerp_(value, 1 - header['ema'])
        log.write(json.dumps({'step': step, 'task': task, 'loss': loss.item(), 'lr': fields['lr'], 'norm': norm,
                              'seconds': round(time.time() - begin, 2)}) + '\n')
        log.flush()
        if every and (step + 1) % every == 0:
            save(header, average or model.weights())
    save(header, average or model.weights())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--beit3', required=True, help='folder unilm/beit3')
    p.add_argument('--torchscale', required=True, help='folder of the torchscale repository')
    p.add_argument('--losses', help='JSONL file for the loss of every batch; default: standard output')
    p.add_argument('--save', help='.safetensors file for the trained weights, in the layout of the initial ones')
    p.add_argument('--save-every', type=int, default=0, metavar='N', help='also save after every N steps')
    p.add_argument('--threads', type=int, default=2)
    args = p.parse_args()
    modules = import_training(args.beit3, args.torchscale)

    def save(header, weights):
        if args.save:
            save_file({k: v.detach().contiguous().clone() for k, v in weights.items()}, args.save, header.get('metadata', {}))

    with open(args.losses, 'w', encoding='utf-8') if args.losses else contextlib.nullcontext(sys.stdout) as log:
        train(*modules, frames(sys.stdin.buffer), log, args.threads, save, args.save_every)


if __name__ == '__main__':
    main()
