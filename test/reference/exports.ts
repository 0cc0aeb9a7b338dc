/**
 * Writes what load_export.py reads: `node dist/test/reference/exports.js FOLDER` leaves an export of a tiny model of every
 * task in both formats, and as JSON a batch with what the export, loaded again, makes of it.
 */
import '../../autograd/index.js';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { useBackend } from '../../backends/index.js';
import { loadModel, TASKS } from '../../beit3/index.js';
import { batchFor, exportTiny, listsOf, outputsOf } from './tinyExports.js';

const [folder] = process.argv.slice(2);
if (folder === undefined) {
  console.error('usage: exports.js FOLDER');
  process.exit(2);
}
await mkdir(folder, { recursive: true });
const backend = await useBackend('wasm', { threads: 1 });
for (const task of TASKS) {
  const [file] = await exportTiny(task, folder, backend);
  const { model } = await loadModel(file, { backend });
  const batch = batchFor(task);
  const outputs = await outputsOf(model, batch, backend);
  model.dispose();
  await writeFile(join(folder, `${task}.json`), JSON.stringify({ batch: listsOf(batch), outputs }));
  console.log(`${task}: ${folder}/${task}.safetensors, .pth and .json`);
}
await backend.dispose();
