/** One runner per task of a dump: rebuilds the model from the metadata and calls it as the reference was called. */
import { backward } from '../../autograd/backward.js';
import { InputError } from '../../core/errors.js';
import { keep, scope } from '../../core/memory.js';
import { affine, globalNorm, mul, sum } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { bceWithLogits, captioningLoss, crossEntropy } from '../../nn/losses.js';
import type { Module } from '../../nn/module.js';
import { AdamW } from '../../nn/optim.js';
import { schedule } from '../../nn/schedules.js';
import type { Beit3Config, Task } from '../config.js';
import { generate } from '../generate.js';
import { createModel, type TaskModels } from '../heads/index.js';
import { CLASS_WEIGHT, inferConfig } from '../infer.js';
import { layerDecayGroups } from '../layerDecay.js';
import { retrievalRecall } from '../metrics/retrieval.js';
import { vqaScore } from '../metrics/vqa.js';
import { Backbone } from '../model/backbone.js';
import type { Dump, Values } from './dump.js';
import { evaluate, filled, type Runner, scalar, using } from './run.js';
import { VISION_RUNNERS } from './vision.js';

/** The sizes in the metadata; what they leave out is told from the weights. */
function configOf(dump: Dump, task?: Task): { config: Beit3Config; numClasses: number } {
  const json = dump.json('config');
  const state = dump.group('state/');
  const config = inferConfig(state, dump.file, { config: json, configName: `The config in ${dump.file}` });
  const classWeight = task && CLASS_WEIGHT[task];
  const numClasses = classWeight ? (json.num_classes ?? state.get(classWeight)?.shape[0]) : 0;
  if (!Number.isSafeInteger(numClasses) || (numClasses as number) < 0)
    throw new InputError(
      `${dump.file}: expected num_classes in its config to be a whole number, got ${JSON.stringify(numClasses)}.`,
    );
  return { config, numClasses: numClasses as number };
}

/** The task's model with the weights of the dump, in training mode (dropout is off in every dump). */
async function modelOf<T extends Task>(dump: Dump, task: T): Promise<TaskModels[T]> {
  const { config, numClasses } = configOf(dump, task);
  return filled(dump, (b) => createModel(b, { task, config, numClasses }) as TaskModels[T] & Module);
}

const encoder: Runner = async (dump) => {
  const image = await dump.optionalInput('image', 'float32');
  const text = await dump.optionalInput('text_tokens');
  const padding = await dump.optionalInput('padding_mask', 'bool');
  const maskedPatches = await dump.optionalInput('vision_masked_position', 'bool');
  const weight = await dump.optionalInput('loss_weight', 'float32');
  const branches = { A: image !== null, B: text !== null };
  const { config } = configOf(dump);
  const backbone = await filled(dump, (b) => new Backbone(b, config, branches));
  return using(backbone, (model) =>
    evaluate(dump, model, () => {
      const out = model.beit3.forward({ image, text, padding, maskedPatches }).hidden;
      return { outputs: { encoder_out: out }, loss: weight ? sum(mul(out, weight)) : undefined };
    }),
  );
};

const imageclassification: Runner = async (dump) => {
  const image = await dump.input('image', 'float32');
  const label = (await dump.optionalInput('soft_label', 'float32')) ?? (await dump.optionalInput('label'));
  const labelSmoothing = dump.number('label_smoothing', 0);
  return using(await modelOf(dump, 'imageclassification'), (model) =>
    evaluate(dump, model, () => {
      const logits = model.forward(image);
      return { outputs: { logits }, loss: label ? crossEntropy(logits, label, { labelSmoothing }) : undefined };
    }),
  );
};

const vqav2: Runner = async (dump) => {
  const image = await dump.input('image', 'float32');
  const text = await dump.input('text_tokens');
  const padding = await dump.optionalInput('padding_mask', 'bool');
  const labels = await dump.optionalInput('labels', 'float32');
  return using(await modelOf(dump, 'vqav2'), async (model) => {
    const results = await evaluate(dump, model, () => {
      const logits = model.forward(image, text, padding);
      const answers = logits.shape[1];
      return { outputs: { logits }, loss: labels ? affine(bceWithLogits(logits, labels), answers, 0) : undefined };
    });
    if (labels) {
      const { values, shape } = results.outputs.get('logits') as Values;
      results.outputs.set('vqa_score', scalar(vqaScore(values, (await dump.values('input/labels')).values, shape[1])));
    }
    return results;
  });
};

const nlvr2: Runner = async (dump) => {
  const image = await dump.input('image', 'float32');
  const image2 = await dump.input('image2', 'float32');
  const text = await dump.input('text_tokens');
  const padding = await dump.optionalInput('padding_mask', 'bool');
  const label = await dump.optionalInput('label');
  return using(await modelOf(dump, 'nlvr2'), (model) =>
    evaluate(dump, model, () => {
      const logits = model.forward(image, image2, text, padding);
      return { outputs: { logits }, loss: label ? crossEntropy(logits, label) : undefined };
    }),
  );
};

/** Positions where a mask is not 0, as an int32 tensor. */
function positionsOf(mask: Values, dump: Dump): Tensor {
  const at = Array.from(mask.values.keys()).filter((i) => mask.values[i] !== 0);
  if (at.length === 0) throw new InputError(`${dump.file}: expected a position that is not 0 in language_masked_pos.`);
  return keep(tensor(Int32Array.from(at), { backend: dump.backend }));
}

const captioning: Runner = async (dump) => {
  const image = await dump.input('image', 'float32');
  const text = await dump.input('text_tokens');
  const padding = await dump.optionalInput('padding_mask', 'bool');
  const tokens = await dump.values('input/language_tokens');
  const masked = await dump.values('input/language_masked_pos');
  for (const [name, { values, shape }] of Object.entries({ language_tokens: tokens, language_masked_pos: masked }))
    if (values.length !== text.size)
      throw new InputError(
        `${dump.file}: expected ${name} of the shape of text_tokens, [${text.shape}], got [${shape}].`,
      );
  const predict = positionsOf(masked, dump);
  const chosen = (await predict.data()) as Int32Array;
  const target = keep(
    tensor(
      Int32Array.from(chosen, (i) => tokens.values[i]),
      { backend: dump.backend },
    ),
  );
  const options = {
    labelSmoothing: dump.number('label_smoothing', 0.1),
    dropWorstRatio: dump.number('drop_worst_ratio', 0.2),
    dropWorstAfter: dump.number('drop_worst_after', 12000),
  };
  try {
    return await using(await modelOf(dump, 'captioning'), (model) =>
      evaluate(dump, model, () => {
        const logits = model.forward(image, text, padding, predict);
        const outputs: Record<string, Tensor> = { logits };
        if (dump.has('output/loss_before_drop'))
          outputs.loss_before_drop = captioningLoss(logits, target, { ...options, step: 0 });
        return { outputs, loss: captioningLoss(logits, target, { ...options, step: dump.number('global_step', 0) }) };
      }),
    );
  } finally {
    predict.dispose();
    target.dispose();
  }
};

const captioningGenerate: Runner = async (dump) => {
  const image = await dump.input('image', 'float32');
  const numBeams = dump.number('num_beams', 1);
  const outputs = new Map<string, Values>();
  return using(await modelOf(dump, 'captioning'), async (model) => {
    const captions = await generate(model, image, {
      numBeams,
      maxLength: dump.number('max_len', 20),
      lengthPenalty: dump.number('length_penalty', 0.6),
      maskId: dump.number('mask_token_id', configOf(dump).config.vocab_size - 1),
      onStep: (values, step) => {
        const rows = image.shape[0] * numBeams;
        outputs.set(`step_log_probs_${step}`, { values, shape: [rows, values.length / rows] });
      },
    });
    outputs.set('token_ids', {
      values: Int32Array.from(captions.flatMap((c) => c.ids)),
      shape: [captions.length, captions[0].ids.length],
    });
    return { outputs, hidden: new Map(), grads: new Map() };
  });
};

const retrieval: Runner = async (dump) => {
  const image = await dump.input('image', 'float32');
  const text = await dump.input('text_tokens');
  const padding = await dump.optionalInput('padding_mask', 'bool');
  return using(await modelOf(dump, 'retrieval'), (model) =>
    evaluate(dump, model, () => {
      const made = model.forward(image, text, padding);
      return { outputs: { image_features: made.image, text_features: made.text }, loss: made.loss };
    }),
  );
};

const recall: Runner = async (dump) => {
  const image = await dump.values('input/image_features');
  const text = await dump.values('input/text_features');
  const ids = (await dump.values('input/image_ids')).values;
  const result = retrievalRecall({
    imageFeatures: image.values as Float32Array,
    textFeatures: text.values as Float32Array,
    imageIds: [...new Set(ids)].sort((a, b) => a - b),
    textImageIds: ids,
    dimension: image.shape[1],
  });
  return {
    outputs: new Map(Object.entries(result).map(([name, v]) => [name, scalar(v)])),
    hidden: new Map(),
    grads: new Map(),
  };
};

/**
 * Share of the whole gradient's norm below which one parameter's is rounding noise. AdamW divides it by its own size,
 * so such a parameter walks at random, in the reference too: a key bias of a single branch, which softmax ignores.
 */
const NOISE = 1e-6;

/** L2 norms of the gradients of the named parameters. */
function noisyNorms(model: Module, names: ReadonlySet<string>): Map<string, Tensor> {
  const grads = [...model.namedParameters()].flatMap(([name, p]) =>
    names.has(name) && p.grad ? [[name, p.grad] as const] : [],
  );
  return new Map(grads.map(([name, g]) => [name, globalNorm([g])]));
}

async function read(t: Tensor): Promise<number> {
  const value = await t.item();
  t.dispose();
  return value;
}

/** Longest schedule of a trace; dumps come from anywhere. */
const MOST_STEPS = 1e6;

/** The hyper-parameters of a trace. */
function hyperOf(dump: Dump) {
  const hyper = dump.json('hyper');
  const number = (name: string, value = hyper[name]): number => {
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw new InputError(
      `${dump.file}: expected ${name} of hyper in its metadata to be a number, got ${JSON.stringify(value)}.`,
    );
  };
  const betas = Array.isArray(hyper.betas) ? (hyper.betas as unknown[]) : [];
  const [epochs, stepsPerEpoch] = [number('epochs'), number('steps_per_epoch')];
  if (epochs * stepsPerEpoch > MOST_STEPS)
    throw new InputError(`${dump.file}: expected a schedule of at most ${MOST_STEPS} steps, got ${epochs} epochs.`);
  return {
    betas: [number('betas', betas[0]), number('betas', betas[1])] as const,
    eps: number('eps'),
    weightDecay: number('weight_decay'),
    layerDecay: number('layer_decay'),
    // Without clipping the norm is still wanted.
    maxNorm: (hyper.clip_grad ?? null) === null ? Number.POSITIVE_INFINITY : number('clip_grad'),
    rates: schedule({
      base: number('lr'),
      final: number('min_lr'),
      epochs,
      stepsPerEpoch,
      warmupEpochs: number('warmup_epochs'),
      warmupStart: number('warmup_lr'),
    }),
  };
}

/** AdamW steps with layer-wise decay, clipping and a schedule. */
const optimizerTrace: Runner = async (dump) => {
  const { config } = configOf(dump);
  const hyper = hyperOf(dump);
  const { rates } = hyper;
  const steps = [...dump.group('input/image_').keys()].length;
  if (steps > rates.length)
    throw new InputError(`${dump.file} holds ${steps} batches, but its schedule ends after ${rates.length} steps.`);
  return using(await modelOf(dump, 'imageclassification'), async (model) => {
    const groups = layerDecayGroups(model, {
      layers: config.encoder_layers,
      layerDecay: hyper.layerDecay,
      weightDecay: hyper.weightDecay,
    });
    const optimiser = new AdamW(groups, { betas: hyper.betas, eps: hyper.eps });
    const losses: number[] = [];
    const norms: number[] = [];
    const noisy = new Set(Array.from(model.namedParameters(), ([name]) => name));
    for (let i = 0; i < steps; i++) {
      const image = await dump.input(`image_${i}`, 'float32');
      const label = await dump.input(`label_${i}`);
      const step = scope(() => {
        const loss = crossEntropy(model.forward(image), label, { labelSmoothing: dump.number('label_smoothing', 0) });
        backward(loss);
        const sizes = noisyNorms(model, noisy);
        return { loss, sizes, norm: optimiser.step({ lr: rates[i], maxNorm: hyper.maxNorm }) as Tensor };
      });
      losses.push(await step.loss.item());
      norms.push(await step.norm.item());
      for (const [name, size] of step.sizes) if ((await read(size)) > NOISE * norms[i]) noisy.delete(name);
      step.loss.dispose();
      step.norm.dispose();
      optimiser.zeroGrad();
    }
    const outputs = new Map<string, Values>([
      ['losses', { values: Float32Array.from(losses), shape: [steps] }],
      ['grad_norms', { values: Float32Array.from(norms), shape: [steps] }],
    ]);
    for (const [name, p] of model.namedParameters())
      outputs.set(`state/${name}`, { values: (await p.data()) as Float32Array, shape: p.shape });
    // Weights that the task does not use stay as they were.
    for (const name of dump.group('output/state/').keys()) {
      if (!outputs.has(`state/${name}`)) outputs.set(`state/${name}`, await dump.values(`state/${name}`));
    }
    optimiser.dispose();
    const walked = rates.slice(0, steps).reduce((a, b) => a + b, 0);
    const noise = new Map(Array.from(noisy, (name) => [`state/${name}`, 2 * walked]));
    return { outputs, hidden: new Map(), grads: new Map(), noise };
  });
};

const RUNNERS: Readonly<Record<string, Runner>> = {
  encoder,
  imageclassification,
  vqav2,
  nlvr2,
  captioning,
  captioning_generate: captioningGenerate,
  retrieval,
  retrieval_recall: recall,
  optimizer_trace: optimizerTrace,
  ...VISION_RUNNERS,
};

/** The runner of a dump's task; throws InputError for a task that this version does not have. */
export function runnerOf(dump: Dump): Runner {
  const runner = Object.hasOwn(RUNNERS, dump.task) ? RUNNERS[dump.task] : undefined;
  if (!runner)
    throw new InputError(
      `${dump.file} is a dump of the task ${dump.task}; expected one of ${Object.keys(RUNNERS).join(', ')}.`,
    );
  return runner;
}
