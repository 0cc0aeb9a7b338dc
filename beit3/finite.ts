import { InputError } from '../core/errors.js';

/** Throws InputError unless all values, what a model put out, are finite. */
export function expectFinite(values: Float32Array): void {
  if (values.every(Number.isFinite)) return;
  throw new InputError(
    'The model put out numbers that are not finite: the weights in its checkpoint are damaged; get it again.',
  );
}
