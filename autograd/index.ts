/** Reverse-mode automatic differentiation. */
import { Tensor } from '../core/tensor.js';
import { type BackwardOptions, backward } from './backward.js';

export { enableGrad, isGradEnabled, noGrad } from '../core/modes.js';
export { type BackwardOptions, backward } from './backward.js';
export { type CustomFunction, checkpoint, customFunction } from './custom.js';
export { grad, takeGrad, valueAndGrad } from './grad.js';
export { type GradcheckOptions, gradcheck } from './gradcheck.js';

declare module '../core/tensor.js' {
  interface Tensor {
    /** Adds d this / d leaf to the gradient of every leaf that requires one. */
    backward(options?: BackwardOptions): void;
  }
}

Tensor.prototype.backward = function (this: Tensor, options?: BackwardOptions): void {
  backward(this, options);
};
