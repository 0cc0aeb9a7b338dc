import { E } from '../expr.js';
import { defineUnary, g, saved, x } from './elementwise.js';

// log(1 + u) for small u without cancellation: u log(w) / (w - 1) with w = 1 + u as it was rounded.
const u = E.exp(E.neg(E.abs(x)));
const w = E.add(1, u);
const log1p = E.select(E.equal(w, 1), u, E.div(E.mul(u, E.log(w)), E.sub(w, 1)));

const op = defineUnary({
  name: 'softplus',
  expr: E.add(E.maximum(x, 0), log1p),
  gradient: E.div(g, E.add(1, E.exp(E.neg(saved)))),
  saves: 'input',
});

/** log(1 + e^x), without overflow. */
export const softplus = op.forward;
