export { EXPORTS, type ExportFormat } from '../training/export.js';
export type { EpochRecord, FinetuneEvent, StepRecord } from './events.js';
export { finetune } from './finetune.js';
export { FINETUNE_TASKS, type FinetuneOptions } from './options.js';
export { findRecipe, RECIPES, type Recipe } from './recipes.js';
export type { FinetuneResult } from './run.js';
export { DEFAULTS, flagOf, GROUPS, parseSetting, SETTING_NAMES, SETTINGS, type Settings } from './settings.js';
