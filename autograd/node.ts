import type { Attrs } from '../core/backend.js';
import { OpError } from '../core/errors.js';
import { keep } from '../core/memory.js';
import type { OpDefinition, Operand, SpecOrNull } from '../core/op.js';
import type { GradientNode, Tensor } from '../core/tensor.js';

/** Where a gradient goes: into output `output` of a recorded call, or into a leaf. */
export type Edge = { readonly node: Node; readonly output: number } | { readonly leaf: Tensor };

/** The gradient of one recorded call: one thunk per input, null where there is none. */
export type Backward = (grads: readonly Operand[], saved: readonly Operand[]) => readonly ((() => Tensor) | null)[];

let nextId = 0;

/**
 * A recorded call. It lives as long as one of its outputs or a later call needs it; the tensors it saved are freed when
 * backward consumes them or when it dies unused.
 */
export class Node implements GradientNode {
  readonly id = nextId++;
  readonly edges: readonly (Edge | null)[];
  #saved: readonly Operand[] | null;
  /** What the saved tensors' storage had seen when they were saved. */
  readonly #versions: readonly number[];
  #references = 0;

  constructor(
    readonly name: string,
    readonly inputs: readonly SpecOrNull[],
    readonly outputCount: number,
    edges: readonly (Edge | null)[],
    saved: readonly Operand[],
    readonly backward: Backward,
  ) {
    this.edges = edges;
    this.#saved = saved.map((t) => t && keep(t.detach()));
    this.#versions = saved.map((t) => t?.storage.version ?? 0);
    for (const e of edges) if (e && 'node' in e) e.node.retain();
  }

  /** The saved tensors; throws when an earlier backward consumed them, or when something has written over them. */
  get saved(): readonly Operand[] {
    if (this.#saved === null) {
      throw new Error(`backward went through ${this.name} a second time; pass retainGraph to the first backward`);
    }
    this.#saved.forEach((t, i) => {
      if (t && t.storage.version !== this.#versions[i]) {
        throw new OpError(
          this.name,
          `expected ${t} as it was in the call, got it changed in place (assign, a step of an optimiser); ` +
            'run backward before the change, or give the call a clone',
        );
      }
    });
    return this.#saved;
  }

  /** Frees what backward needed: this call can't be differentiated again. */
  consume(): void {
    for (const t of this.#saved ?? []) t?.dispose();
    this.#saved = null;
  }

  retain(): void {
    this.#references++;
  }

  release(): void {
    // A list instead of recursion: graphs can be deeper than the call stack.
    const dead: Node[] = [this];
    while (dead.length > 0) {
      const node = dead.pop() as Node;
      if (--node.#references > 0) continue;
      node.consume();
      for (const e of node.edges) if (e && 'node' in e) dead.push(e.node);
    }
  }
}

/** The edge along which the gradient of `t` flows on; null where none is wanted. */
export function edgeOf(t: Operand): Edge | null {
  if (t === null || !t.requiresGrad) return null;
  return t.node ? { node: t.node as Node, output: t.output } : { leaf: t };
}

/** Records that `outputs` were made by a call: gradients of them go through `backward` into `edges`. */
export function record(node: Node, outputs: readonly Tensor[], wanted: (index: number) => boolean): void {
  outputs.forEach((t, i) => {
    if (!wanted(i)) return;
    t.requiresGrad = true;
    t.node = node;
    t.output = i;
    node.retain();
  });
}

export type AnyOp = OpDefinition<Attrs>;
