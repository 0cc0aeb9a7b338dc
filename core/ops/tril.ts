import { OpError } from '../errors.js';
import { scope } from '../memory.js';
import type { Tensor } from '../tensor.js';
import { arange } from './arange.js';
import { greater } from './greater.js';
import { less } from './less.js';
import { maskedFill } from './maskedFill.js';
import { unsqueeze } from './reshape.js';

function masked(op: string, x: Tensor, diagonal: number, outside: (column: Tensor, row: Tensor) => Tensor): Tensor {
  if (x.rank < 2) throw new OpError(op, `expected matrices [..., M, N], got ${x}`);
  const [rows, columns] = x.shape.slice(-2);
  return scope(() => {
    const row = unsqueeze(arange(diagonal, rows + diagonal, 1, { backend: x.backend }), 1);
    return maskedFill(x, outside(arange(columns, { backend: x.backend }), row), 0);
  });
}

/** The lower triangle of matrices [..., M, N], zeros above diagonal number `diagonal`. */
export const tril = (x: Tensor, diagonal = 0): Tensor => masked('tril', x, diagonal, greater);

/** The upper triangle of matrices [..., M, N], zeros below diagonal number `diagonal`. */
export const triu = (x: Tensor, diagonal = 0): Tensor => masked('triu', x, diagonal, less);
