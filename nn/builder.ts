import type { Backend, Stats } from '../core/backend.js';
import { defaultBackend } from '../core/device.js';
import { DTYPES, type DType } from '../core/dtype.js';
import { keep, resident } from '../core/memory.js';
import { defaultGenerator, type Generator } from '../core/random.js';
import { empty, Tensor } from '../core/tensor.js';
import type { Initializer } from './init.js';

/** A tensor that a module owns and an optimiser changes. */
export class Parameter extends Tensor {}

/** A tensor that a module owns and saves, but that no optimiser changes. */
export class Buffer extends Tensor {}

export interface BuilderOptions {
  /** Numbers for fresh weights; default: the default generator. */
  readonly generator?: Generator;
  /** false leaves the memory as it is, for weights that a checkpoint fills; a function decides by path. */
  readonly initialize?: boolean | ((path: string) => boolean);
  readonly backend?: Backend;
  readonly dtype?: DType;
}

/**
 * Makes the parameters of modules, aware of the path of the one being built: constructors take a builder, so the same
 * code makes fresh weights, weights to be loaded, and (on `metaBackend()`) models without memory that can be counted.
 */
export class Builder {
  readonly generator: Generator;
  readonly initialize: boolean | ((path: string) => boolean);
  readonly backend: Backend;
  readonly dtype: DType;

  constructor(
    options: BuilderOptions = {},
    readonly path = '',
  ) {
    this.generator = options.generator ?? defaultGenerator();
    this.initialize = options.initialize ?? true;
    this.backend = options.backend ?? defaultBackend();
    this.dtype = options.dtype ?? 'float32';
  }

  /** The builder for a field of this module. */
  at(name: string | number): Builder {
    return new Builder(this, this.path === '' ? String(name) : `${this.path}.${name}`);
  }

  /** A fresh or to-be-loaded parameter of `shape`, outside every scope. */
  parameter(shape: readonly number[], init: Initializer): Parameter {
    return this.#fill(this.#make(Parameter, shape).requireGrad(), init);
  }

  /** The same for a buffer. */
  buffer(shape: readonly number[], init: Initializer): Buffer {
    return this.#fill(this.#make(Buffer, shape), init);
  }

  #make<T extends Tensor>(kind: new (...of: ConstructorParameters<typeof Tensor>) => T, shape: readonly number[]): T {
    const raw = resident(() => keep(empty(shape, this.dtype, this.backend)));
    const made = keep(new kind(raw.storage, raw.dtype, raw));
    raw.dispose();
    return made;
  }

  #fill<T extends Tensor>(made: T, init: Initializer): T {
    const { initialize } = this;
    const isFresh = typeof initialize === 'function' ? initialize(this.path) : initialize;
    if (isFresh) writeValues(made, init(made.shape, this.generator));
    return made;
  }
}

/** Overwrites a contiguous tensor of any float dtype with float32 values. */
export function writeValues(target: Tensor, values: Float32Array): void {
  const backend = target.backend;
  target.storage.change();
  if (target.dtype === 'float32') {
    backend.write(
      target.storage.block,
      target.offset * 4,
      new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
    );
    return;
  }
  const wide = keep(empty(target.shape, 'float32', backend));
  backend.write(wide.storage.block, 0, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  backend.copy(wide.view(), target.view());
  wide.dispose();
}

/** A backend without memory: tensors on it have shapes and no values. */
export function metaBackend(): Backend {
  const stats: Stats = { liveBytes: 0, liveBlocks: 0, peakBytes: 0, launches: 0 };
  const none = (): never => {
    throw new TypeError('a tensor of the meta backend has no values');
  };
  return {
    name: 'meta',
    caps: { dtypes: new Set(DTYPES), storageOnly: new Set() },
    kernels: new Map(),
    stats,
    compile: () => null,
    alloc: (bytes) => ({ bytes }),
    free: () => {},
    write: none,
    read: none,
    copy: none,
    sync: async () => {},
    dispose: async () => {},
  };
}
