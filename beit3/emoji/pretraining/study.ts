/** The study, seed by seed: every part is made once and kept on disk, so that it goes on where it was ended. Needs Node. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint, writeSafetensors } from '../../../checkpoints/index.js';
import type { Backend } from '../../../core/backend.js';
import type { Builder } from '../../../nn/builder.js';
import { makeFilled, writableTensors } from '../../checkpoint.js';
import { Pretraining } from '../../pretrain/model.js';
import { loadVqKd, saveVqKd } from '../../vqkd/checkpoint.js';
import type { VqKd } from '../../vqkd/vqkd.js';
import type { EmojiCorpus } from '../corpus.js';
import type { JointEmoji } from '../zoo/data.js';
import { classification, type JointSplit, retrieval } from '../zoo/evaluate.js';
import type { JointModel, JointSpec } from '../zoo/model.js';
import type { PreparedBenchmark } from '../zoo/prepare.js';
import { finetune, type MaskedAccuracy, maskedAccuracy, pretrain, STUDY_TASKS, type StudyTask } from './arms.js';
import type { StudyBatches } from './batches.js';
import type { Trained } from './budget.js';
import { RECIPE } from './recipe.js';
import { codeUse, loadTeacher, tokenizerConfig, trainTokenizer } from './tokenizer.js';

/** The parts that the arms are compared on; `zeroShot` are the emoji that training shows in no style. */
export const STUDY_SPLITS = ['val', 'test', 'zeroShot'] as const;
export type StudySplit = (typeof STUDY_SPLITS)[number];
