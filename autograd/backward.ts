import './tape.js';
import { OpError } from '../core/errors.js';
import { sameShape } from '../core/layout.js';
import { keep, scope } from '../core/memory.js';
import { noGrad } from '../core/modes.js';
import type { Operand, SpecOrNull } from '../core/op.js';
import { add, cast, clone, ones, reshape, sum } from '../core/ops/index.js';
import type { Tensor } from '../core/tensor.js';
import { type Edge, edgeOf, type Node } from './node.js';

export interface BackwardOptions {
  /** d loss / d root; may be left out for a tensor of one element. */
  readonly gradient?: Tensor;
  /** Keeps what was saved, so that backward can run again through the same graph. */
  readonly retainGraph?: boolean;
}

/**
 * Reverse-mode differentiation: adds d root / d leaf to `leaf.grad` of every leaf that requires a gradient.
 * Memory saved by the recorded calls is freed as they are consumed.
 */
export function backward(root: Tensor, options: BackwardOptions = {}): void {
  if (!root.requiresGrad)
    throw new OpError('backward', `expected a tensor that depends on one requiring a gradient, got ${root}`);
  if (!options.gradient && root.size !== 1) {
    throw new OpError('backward', `expected a tensor of one element or a gradient for it, got ${root}`);
  }
  if (options.gradient && !sameShape(options.gradient.shape, root.shape)) {
    throw new OpError('backward', `expected a gradient in the shape of ${root}, got ${options.gradient}`);
  }
  noGrad(() => {
    const { gradient } = options;
    const { shape, dtype, backend } = root;
    const seed = gradient ? cast(gradient, dtype) : ones(shape, { dtype, backend });
    propagate(
      [{ edge: edgeOf(root) as Edge, gradient: keep(seed === gradient ? seed.detach() : seed) }],
      options.retainGraph ?? false,
    );
  });
}

/** Starts backward from several edges at once; takes ownership of the gradients. */
export function propagate(seeds: readonly { edge: Edge; gradient: Tensor }[], retainGraph: boolean): void {
  const nodes = reachable(seeds.map((s) => s.edge));
  // Gradients waiting for their node, by node and output.
  const pending = new Map<Node, Operand[]>();
  const leaves = new Set<Tensor>();
  for (const n of nodes) n.retain();
  const deliver = (edge: Edge, gradient: Tensor): void => {
    if ('leaf' in edge) {
      accumulate(edge.leaf, gradient);
      leaves.add(edge.leaf);
      return;
    }
    let slots = pending.get(edge.node);
    if (!slots) {
      slots = new Array<Operand>(edge.node.outputCount).fill(null);
      pending.set(edge.node, slots);
    }
    slots[edge.output] = joined(slots[edge.output], gradient);
  };
  try {
    for (const s of seeds) deliver(s.edge, s.gradient);
    // Later calls have larger ids, so every gradient of a node has arrived when its turn comes.
    for (const node of nodes) {
      const grads = pending.get(node);
      if (!grads) continue;
      pending.delete(node);
      try {
        const { saved } = node;
        const results = scope(() => {
          const thunks = node.backward(grads, saved);
          return node.edges.map((edge, i) => {
            const thunk = edge && thunks[i];
            if (!thunk) return null;
            const g = fit(thunk(), node.inputs[i] as NonNullable<SpecOrNull>);
            return grads.includes(g) || saved.includes(g) ? g.detach() : g;
          });
        });
        for (const g of results) if (g) keep(g);
        node.edges.forEach((edge, i) => {
          const g = results[i];
          if (edge && g) deliver(edge, g);
        });
      } finally {
        for (const g of grads) g?.dispose();
      }
      if (!retainGraph) node.consume();
    }
  } finally {
    for (const slots of pending.values()) for (const g of slots) g?.dispose();
    for (const n of nodes) n.release();
  }
  for (const leaf of leaves) own(leaf);
}

function reachable(edges: readonly Edge[]): Node[] {
  const seen = new Set<Node>();
  const todo = edges.flatMap((e) => ('node' in e ? [e.node] : []));
  while (todo.length > 0) {
    const node = todo.pop() as Node;
    if (seen.has(node)) continue;
    seen.add(node);
    for (const e of node.edges) if (e && 'node' in e) todo.push(e.node);
  }
  return [...seen].sort((a, b) => b.id - a.id);
}

/** The first gradient is stored, later ones are added; the operands are freed. */
function joined(before: Operand, gradient: Tensor): Tensor {
  if (before === null) return gradient;
  const total = keep(add(before, gradient));
  before.dispose();
  gradient.dispose();
  return total;
}

function accumulate(leaf: Tensor, gradient: Tensor): void {
  if (leaf.disposed) gradient.dispose();
  else leaf.grad = joined(leaf.grad, gradient);
}

/** Gives a leaf's gradient memory of its own: two leaves may have got the same, or what the caller passed in. */
function own(leaf: Tensor): void {
  const g = leaf.grad;
  if (!g?.storage.shared) return;
  leaf.grad = keep(clone(g));
  g.dispose();
}

/** A gradient in the shape and dtype of what it belongs to: broadcast axes are summed. */
function fit(gradient: Tensor, like: NonNullable<SpecOrNull>): Tensor {
  let g = gradient;
  if (!sameShape(g.shape, like.shape)) {
    const lead = g.rank - like.shape.length;
    const axes = g.shape.flatMap((d, i) => (i < lead || (like.shape[i - lead] === 1 && d !== 1) ? [i] : []));
    if (axes.length > 0) g = sum(g, axes);
    if (!sameShape(g.shape, like.shape)) g = reshape(g, like.shape);
  }
  return g.dtype === like.dtype ? g : cast(g, like.dtype);
}
