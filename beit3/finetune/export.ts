/** The trained weights as a checkpoint that the reference's model of the task loads strictly. */
import { type TensorEntry, type WritableTensor, writePth, writeSafetensors } from '../../checkpoints/index.js';
import { sameShape } from '../../core/layout.js';
import { Generator } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { Builder, metaBackend, type Parameter } from '../../nn/builder.js';
import type { Initializer } from '../../nn/init.js';
import { writableTensors } from '../checkpoint.js';
import type { ModelSpec } from '../config.js';
import { createModel } from '../heads/index.js';
import type { Initialisation } from '../model/initialisation.js';
import type { ExportFormat } from './options.js';

/** Notes how each weight would be drawn, and makes none. */
class NotingBuilder extends Builder {
  constructor(
    private readonly drawn: Map<Tensor, Initializer>,
    path = '',
  ) {
    super({ backend: metaBackend(), initialize: false }, path);
  }

  override at(name: string | number): Builder {
    return new NotingBuilder(this.drawn, this.path === '' ? String(name) : `${this.path}.${name}`);
  }

  override parameter(shape: readonly number[], init: Initializer): Parameter {
    const parameter = super.parameter(shape, init);
    this.drawn.set(parameter, init);
    return parameter;
  }
}

/**
 * The weights that the reference's model holds and never uses (the words of an image classifier): those of the source,
 * else fresh ones. They are read or drawn one at a time, when they are written.
 */
export function unusedWeights(
  spec: ModelSpec,
  entries: ReadonlyMap<string, TensorEntry>,
  initialisation: Initialisation,
  seed: number,
): WritableTensor[] {
  const drawn = new Map<Tensor, Initializer>();
  const own = createModel(new Builder({ backend: metaBackend(), initialize: false }), spec).stateDict();
  const whole = createModel(new NotingBuilder(drawn), spec, { all: true, initialisation }).stateDict();
  const missing = [...whole].filter(([name]) => !own.has(name));
  return missing.map(([name, t], i): WritableTensor => {
    const entry = entries.get(name);
    if (entry && sameShape(entry.shape, t.shape)) return entry;
    const init = drawn.get(t) as Initializer;
    // A generator of its own, so that nothing depends on the order of writing.
    const data = (): Float32Array => init(t.shape, new Generator(seed + 1 + i));
    return { name, dtype: 'float32', shape: t.shape, data };
  });
}

/**
 * Writes weights by name, with the description of the model inside, as `<path>.safetensors`, `<path>.pth` or both; gives the paths. Each
 * file appears whole or not at all. Throws InputError when the disk refuses.
 */
export async function exportWeights(
  path: string,
  format: ExportFormat,
  weights: ReadonlyMap<string, Tensor>,
  unused: readonly WritableTensor[],
  description: Readonly<Record<string, unknown>>,
): Promise<string[]> {
  const tensors = [...writableTensors(weights), ...unused];
  // How it was trained is no property of what was trained.
  const config = JSON.stringify({ ...description, drop_path_rate: 0, checkpoint_activations: false });
  const written: string[] = [];
  if (format !== 'pth') {
    await writeSafetensors(`${path}.safetensors`, tensors, { format: 'pt', config });
    written.push(`${path}.safetensors`);
  }
  if (format !== 'safetensors') {
    await writePth(`${path}.pth`, tensors, { extra: { config } });
    written.push(`${path}.pth`);
  }
  return written;
}
