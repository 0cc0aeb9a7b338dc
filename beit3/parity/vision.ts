/** Dumps of BEiT, BEiT v2 and VQ-KD. */
import { add, affine, permute, reshape } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { crossEntropy } from '../../nn/losses.js';
import type { Module } from '../../nn/module.js';
import { parseViTConfig } from '../vit/config.js';
import { MaskedImageModel } from '../vit/maskedImageModel.js';
import { VisionTransformer } from '../vit/visionTransformer.js';
import { parseVqKdConfig } from '../vqkd/config.js';
import { VqKd } from '../vqkd/vqkd.js';
import type { Dump, Values } from './dump.js';
import { evaluate, filled, type Results, type Runner, using } from './run.js';

const configName = (dump: Dump): string => `The config in ${dump.file}`;

function wholeOf(json: Readonly<Record<string, unknown>>, name: string, fallback: number): number {
  const value = json[name];
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : fallback;
}

const classification: Runner = async (dump) => {
  const json = dump.json('config');
  const config = parseViTConfig(json, configName(dump));
  const [image, label] = [await dump.input('image', 'float32'), await dump.input('label')];
  const pooling = json.use_mean_pooling === false ? 'cls' : 'mean';
  const options = { classes: wholeOf(json, 'num_classes', 1000), pooling } as const;
  return using(await filled(dump, (b) => new VisionTransformer(b, config, options)), (model) =>
    evaluate(dump, model, () => {
      const logits = model.forward(image);
      return { outputs: { logits }, loss: crossEntropy(logits, label) };
    }),
  );
};

const pretraining: Runner = async (dump) => {
  const json = dump.json('config');
  const config = parseViTConfig(json, configName(dump));
  const image = await dump.input('image', 'float32');
  const label = await dump.input('label');
  const masked = await dump.input('masked_position', 'bool');
  const hidden = [...((await masked.data()) as Uint8Array).entries()].flatMap(([i, on]) => (on ? [i] : []));
  const earlyLayers = wholeOf(json, 'early_layers', 0);
  const headLayers = wholeOf(json, 'head_layers', 0);
  const aggregation =
    headLayers > 0 ? { earlyLayers, headLayers, sharedHead: json.shared_lm_head !== false } : undefined;
  const options = { codes: wholeOf(json, 'vocab_size', 8192), aggregation };
  return using(await filled(dump, (b) => new MaskedImageModel(b, config, options)), (model) =>
    evaluate(dump, model, () => {
      const predict = tensor(Int32Array.from(hidden), { backend: dump.backend });
      const { logits, clsLogits } = model.forward(image, masked, predict);
      const loss = crossEntropy(logits, label);
      const outputs: Record<string, Tensor> = { logits };
      if (clsLogits === null) return { outputs, loss };
      outputs.cls_logits = clsLogits;
      return { outputs, loss: add(loss, crossEntropy(clsLogits, label)) };
    }),
  );
};

/** The values of what the reference changes in place. */
async function withState(results: Results, dump: Dump, model: Module): Promise<Results> {
  const state = model.stateDict();
  for (const name of dump.group('output/state/').keys()) {
    const t = state.get(name);
    if (t)
      results.outputs.set(`state/${name}`, {
        values: (await t.data()) as Float32Array,
        shape: t.shape,
      } satisfies Values);
  }
  return results;
}

/** The tokenizer takes pictures from 0 to 1 and looks at them from -1 to 1. */
const signed = (image: Tensor): Tensor => affine(image, 2, -1);

const tokenize: Runner = async (dump) => {
  const config = parseVqKdConfig(dump.json('config'), configName(dump));
  const image = await dump.input('image', 'float32');
  return using(await filled(dump, (b) => new VqKd(b, config)), async (model) => {
    model.eval();
    const results = await evaluate(dump, model, () => {
      const B = image.shape[0];
      // The reference was asked twice, for codes and for vectors, and counts both times.
      const { ids } = model.quantize.forward(model.project(signed(image)));
      const { vectors } = model.quantize.forward(model.project(signed(image)));
      const map = reshape(vectors, [B, model.grid, model.grid, config.code_dim]);
      const outputs = {
        quantized: permute(map, [0, 3, 1, 2]),
        token_ids: reshape(ids, [B, -1]),
        reconstruction: model.decode(vectors),
      };
      return { outputs };
    });
    return withState(results, dump, model);
  });
};

const tokenizerTraining: Runner = async (dump) => {
  const config = parseVqKdConfig(dump.json('config'), configName(dump));
  const image = await dump.input('image', 'float32');
  const target = await dump.input('teacher_target', 'float32');
  return using(await filled(dump, (b) => new VqKd(b, config)), async (model) => {
    const results = await evaluate(dump, model, () => {
      const { loss, reconstruction, commitment, ids } = model.forward(signed(image), target);
      return { outputs: { rec_loss: reconstruction, quant_loss: commitment, token_ids: ids }, loss };
    });
    return withState(results, dump, model);
  });
};

/** Task of a dump -> what runs it. */
export const VISION_RUNNERS: Readonly<Record<string, Runner>> = {
  beit_classification: classification,
  beit2_pretrain: pretraining,
  vqkd: tokenize,
  vqkd_train: tokenizerTraining,
};
