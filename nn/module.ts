import { InputError } from '../core/errors.js';
import { formatShape, sameShape } from '../core/layout.js';
import { noGrad } from '../core/modes.js';
import { assign } from '../core/ops/index.js';
import type { Tensor } from '../core/tensor.js';
import { Buffer, Parameter } from './builder.js';

/**
 * A tree of fields: a field that is a Parameter or Buffer is a named tensor, one that is a Module (or an array of
 * modules) a subtree; a tensor's name is its path (`encoder.layers.0.ffn.fc1.weight`).
 */
export abstract class Module {
  /** Whether dropout and drop path act. */
  training = true;

  /** Own submodules by field name; arrays give `field.index`. */
  *children(): Iterable<[string, Module]> {
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Module) yield [name, value];
      else if (Array.isArray(value)) {
        for (const [i, v] of value.entries()) if (v instanceof Module) yield [`${name}.${i}`, v];
      }
    }
  }

  /** This module and all below it, by path. */
  *modules(path = ''): Iterable<[string, Module]> {
    yield [path, this];
    for (const [name, child] of this.children()) yield* child.modules(path === '' ? name : `${path}.${name}`);
  }

  /** Every parameter and buffer below, by path; one that modules share has several. */
  *namedTensors(): Iterable<[string, Parameter | Buffer]> {
    for (const [path, module] of this.modules()) {
      for (const [name, value] of Object.entries(module)) {
        if (value instanceof Parameter || value instanceof Buffer)
          yield [path === '' ? name : `${path}.${name}`, value];
      }
    }
  }

  /** Every parameter once, by the first of its paths where modules share it. */
  *namedParameters(): Iterable<[string, Parameter]> {
    const seen = new Set<Parameter>();
    for (const [name, t] of this.namedTensors()) {
      if (!(t instanceof Parameter) || seen.has(t)) continue;
      seen.add(t);
      yield [name, t];
    }
  }

  parameters(): Parameter[] {
    return Array.from(this.namedParameters(), ([, p]) => p);
  }

  /** Number of parameter elements. */
  parameterCount(): number {
    return this.parameters().reduce((n, p) => n + p.size, 0);
  }

  /** All tensors by name; they stay the module's own. */
  stateDict(): Map<string, Tensor> {
    return new Map(this.namedTensors());
  }

  /**
   * Copies values into the tensors of the same names. Strict loading throws one InputError that lists missing, extra
   * and misshapen names together; otherwise only misshapen ones throw. Nothing is changed when it throws.
   */
  loadStateDict(state: ReadonlyMap<string, Tensor>, { strict = true } = {}): void {
    if (!(state instanceof Map)) throw new InputError('Expected a state as a Map from names to tensors.');
    const own = this.stateDict();
    const problem = compareStates(own, state, strict);
    if (problem) throw new InputError(`The state does not fit ${this.constructor.name}: ${problem}.`);
    noGrad(() => {
      for (const [name, target] of own) {
        const source = state.get(name);
        if (source) assign(target, source);
      }
    });
  }

  train(on = true): this {
    for (const [, m] of this.modules()) m.training = on;
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Frees the gradients. */
  zeroGrad(): void {
    for (const p of this.parameters()) {
      p.grad?.dispose();
      p.grad = null;
    }
  }

  /** Frees every tensor of the module. */
  dispose(): void {
    for (const [, t] of this.namedTensors()) t.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** What keeps `given` from filling `own`, in words; null when it fits. Shapes are all that is looked at. */
export function compareStates(
  own: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  given: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  strict = true,
): string | null {
  const missing = [...own.keys()].filter((n) => !given.has(n));
  const extra = [...given.keys()].filter((n) => !own.has(n));
  const misshapen = [...own].flatMap(([name, t]) => {
    const g = given.get(name);
    return g && !sameShape(g.shape, t.shape)
      ? [`${name} (expected ${formatShape(t.shape)}, got ${formatShape(g.shape)})`]
      : [];
  });
  const parts: string[] = [];
  if (strict && missing.length > 0) parts.push(`missing ${listed(missing)}`);
  if (strict && extra.length > 0) parts.push(`extra ${listed(extra)}`);
  if (misshapen.length > 0) parts.push(`of another shape ${listed(misshapen)}`);
  return parts.length > 0 ? parts.join('; ') : null;
}

function listed(names: readonly string[]): string {
  const most = 12;
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}
