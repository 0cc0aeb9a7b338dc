import { OpError } from '../errors.js';
import { sizeOf } from '../layout.js';
import { scope } from '../memory.js';
import type { Tensor } from '../tensor.js';
import { expand } from './expand.js';
import { matmul } from './matmul.js';
import { mul } from './mul.js';
import { permute } from './permute.js';
import { reshape } from './reshape.js';
import { sum } from './sum.js';

/** A tensor whose axes have names. */
interface Named {
  readonly x: Tensor;
  readonly labels: readonly string[];
}

interface Equation {
  readonly operands: readonly (readonly string[])[];
  readonly output: readonly string[];
}

const LETTER = /^[a-zA-Z]$/;

/** Axis names of one term; `...` becomes `...k` for the k-th axis from its end. */
function labelsOf(term: string, ellipsis: number, equation: string): string[] {
  const [before, after, more] = term.split('...');
  const letters = [...before, ...(after ?? '')];
  if (more !== undefined || !letters.every((c) => LETTER.test(c)) || new Set(letters).size !== letters.length) {
    throw new OpError(
      'einsum',
      `expected different letters and at most one ... in each term, got '${term}' in '${equation}'`,
    );
  }
  if (after === undefined) return letters;
  return [...before, ...Array.from({ length: ellipsis }, (_, i) => `...${ellipsis - i}`), ...after];
}

function parse(equation: string, tensors: readonly Tensor[]): Equation {
  const [left, right, more] = equation.replaceAll(' ', '').split('->');
  const terms = left.split(',');
  if (more !== undefined || terms.length !== tensors.length) {
    throw new OpError(
      'einsum',
      `expected one term per tensor and one '->', got '${equation}' for ${tensors.length} tensors`,
    );
  }
  let widest = 0;
  const operands = terms.map((term, i) => {
    const ellipsis = tensors[i].rank - term.replace('...', '').length;
    if (ellipsis < 0 || (ellipsis > 0 && !term.includes('...'))) {
      throw new OpError('einsum', `expected one letter per axis of ${tensors[i]}, got '${term}' in '${equation}'`);
    }
    widest = Math.max(widest, ellipsis);
    return labelsOf(term, ellipsis, equation);
  });
  const all = operands.flat();
  // Without '->', as numpy: the axes of ..., then the letters that occur once, in alphabetical order.
  const once = [...new Set(all)].filter((c) => LETTER.test(c) && all.indexOf(c) === all.lastIndexOf(c)).sort();
  const output =
    right === undefined ? [...labelsOf('...', widest, equation), ...once] : labelsOf(right, widest, equation);
  const unknown = output.find((c) => !all.includes(c));
  if (unknown)
    throw new OpError('einsum', `expected axes of the operands in the output, got '${unknown}' in '${equation}'`);
  return { operands, output };
}

/** Sums the axes that nobody else asks for. */
function drop({ x, labels }: Named, wanted: ReadonlySet<string>): Named {
  const axes = labels.flatMap((c, i) => (wanted.has(c) ? [] : [i]));
  return axes.length === 0 ? { x, labels } : { x: sum(x, axes), labels: labels.filter((c) => wanted.has(c)) };
}

/** x with its axes in the order of `labels`; those it lacks get size 1. */
function arrange({ x, labels: own }: Named, labels: readonly string[]): Tensor {
  const there = labels.filter((c) => own.includes(c));
  const ordered = permute(
    x,
    there.map((c) => own.indexOf(c)),
  );
  return reshape(
    ordered,
    labels.map((c) => (own.includes(c) ? x.shape[own.indexOf(c)] : 1)),
  );
}

/** Joins two operands: axes of both that are not `wanted` afterwards are summed over, as one batched matrix product. */
function contract(a: Named, b: Named, wanted: ReadonlySet<string>): Named {
  const size = (c: string) => Math.max(...[a, b].map((t) => t.x.shape[t.labels.indexOf(c)] ?? 0), 0);
  const shared = a.labels.filter((c) => b.labels.includes(c));
  const batch = shared.filter((c) => wanted.has(c));
  const inner = shared.filter((c) => !wanted.has(c));
  const rows = a.labels.filter((c) => !shared.includes(c));
  const columns = b.labels.filter((c) => !shared.includes(c));
  if (inner.length === 0) {
    const labels = [...batch, ...rows, ...columns];
    return { x: mul(arrange(a, labels), arrange(b, labels)), labels };
  }
  const sizes = (list: readonly string[], t: Named) => list.map((c) => t.x.shape[t.labels.indexOf(c)]);
  const inners = inner.map(size);
  const stretch = (t: Named, order: readonly string[]) => {
    const x = arrange(t, order);
    return expand(
      x,
      x.shape.map((d, i) => (inner.includes(order[i]) ? size(order[i]) : d)),
    );
  };
  const left = reshape(stretch(a, [...batch, ...rows, ...inner]), [
    ...sizes(batch, a),
    sizeOf(sizes(rows, a)),
    sizeOf(inners),
  ]);
  const right = reshape(stretch(b, [...batch, ...inner, ...columns]), [
    ...sizes(batch, b),
    sizeOf(inners),
    sizeOf(sizes(columns, b)),
  ]);
  const y = matmul(left, right);
  return {
    x: reshape(y, [...y.shape.slice(0, batch.length), ...sizes(rows, a), ...sizes(columns, b)]),
    labels: [...batch, ...rows, ...columns],
  };
}

/**
 * Sum of products in Einstein's notation, such as einsum('bhqd,bhkd->bhqk', q, k). `...` stands for any axes; a letter
 * may occur once in a term. Operands are joined from left to right.
 */
export function einsum(equation: string, ...tensors: Tensor[]): Tensor {
  if (tensors.length === 0) throw new OpError('einsum', 'expected at least one tensor');
  const { operands, output } = parse(equation, tensors);
  const sizes = new Map<string, number>();
  operands.forEach((labels, k) => {
    labels.forEach((c, i) => {
      const d = tensors[k].shape[i];
      const known = sizes.get(c) ?? 1;
      if (known !== 1 && d !== 1 && d !== known) {
        throw new OpError('einsum', `expected one size for '${c}', got ${known} and ${d} in '${equation}'`);
      }
      if (known === 1) sizes.set(c, d);
    });
  });
  return scope(() => {
    let done: Named | null = null;
    for (const [k, x] of tensors.entries()) {
      const later = new Set([...output, ...operands.slice(k + 1).flat()]);
      const next = drop({ x, labels: operands[k] }, new Set([...later, ...(done?.labels ?? [])]));
      done = done === null ? next : contract(done, next, later);
      done = drop(done, later);
    }
    return arrange(done as Named, output);
  });
}
