import type { Builder } from '../../nn/builder.js';
import { Module } from '../../nn/module.js';
import type { Beit3Config } from '../config.js';
import { Beit3 } from './beit3.js';
import type { Branches } from './multiway.js';

/** A backbone under the name that it has in checkpoints. */
export class Backbone extends Module {
  readonly beit3: Beit3;

  constructor(b: Builder, config: Beit3Config, branches: Branches) {
    super();
    this.beit3 = new Beit3(b.at('beit3'), config, { branches });
  }
}
