/** What makes the trained weights a checkpoint that the reference's model of the task loads strictly. */
import type { TensorEntry, WritableTensor } from '../../checkpoints/index.js';
import { sameShape } from '../../core/layout.js';
import { Generator } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { Builder, metaBackend, type Parameter } from '../../nn/builder.js';
import type { Initializer } from '../../nn/init.js';
import type { ModelSpec } from '../config.js';
import { createModel } from '../heads/index.js';
import type { Initialisation } from '../model/initialisation.js';

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
