import * as init from '../../nn/init.js';
import type { LinearOptions } from '../../nn/layers.js';
import type { Beit3 } from '../model/beit3.js';
import type { Initialisation } from '../model/initialisation.js';

export type { ModelSpec } from '../config.js';

export interface HeadOptions {
  /** Also make the weights that the task does not use, to hold a whole checkpoint. */
  readonly all?: boolean;
  readonly initialisation?: Initialisation;
  /** A backbone of the same config that several tasks share; by default each model makes its own. */
  readonly backbone?: Beit3;
}

/** How the linear layers of heads start. */
export const HEAD_INIT: LinearOptions = { weight: init.truncatedNormal(0.02), biasInit: init.zeros };

/** A head that starts near zero. */
export const TINY_INIT: LinearOptions = { weight: init.scaled(init.truncatedNormal(0.02), 1e-3), biasInit: init.zeros };
