/**
 * Writes what load_export.py reads:
 *
 *     node dist/test/reference/exports.js FOLDER            exports of tiny models of all tasks, made here
 *     node dist/test/reference/exports.js FOLDER FILE...    exports that are there: model.safetensors of `beit3 finetune`
 *
 * FOLDER gets a TASK.json for each: the files, a batch, and what our model makes of it when it is loaded from the first.
 */
import '../../autograd/index.js';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { useBackend } from '../../backends/index.js';
import { loadModel, TASKS } from '../../beit3/index.js';
import { batchFor, exportTiny, listsOf, outputsOf } from './tinyExports.js';

const [folder, ...given] = process.argv.slice(2);
if (folder === undefined) {
  console.error('usage: exports.js FOLDER [FILE...]');
  process.exit(2);
}
await mkdir(folder, { recursive: true });
const backend = await useBackend('wasm', { threads: 1 });
const exported = given.length > 0 ? given.map((file) => [file]) : [];
if (given.length === 0) for (const task of TASKS) exported.push(await exportTiny(task, folder, backend));
for (const files of exported) {
  const { model, spec } = await loadModel(files[0], { backend });
  const batch = batchFor(spec);
  const outputs = await outputsOf(model, batch, backend);
  model.dispose();
  const found = { files: files.map((file) => resolve(file)), batch: listsOf(batch), outputs };
  await writeFile(join(folder, `${spec.task}.json`), JSON.stringify(found));
  console.log(`${spec.task}: ${files.join(', ')}`);
}
await backend.dispose();
