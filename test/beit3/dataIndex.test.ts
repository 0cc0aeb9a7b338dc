import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { describe, test } from 'node:test';
import { makeIndex } from '../../beit3/data/index/index.js';
import { temporaryFolder } from '../checkpoints/helpers.js';
import { expectedIndex, filesOf, layOut, standInTokenizer, TASKS } from './standIns.js';

describe("index files equal the reference's byte for byte", () => {
  for (const task of TASKS) {
    test(task, async (t) => {
      const folder = await temporaryFolder(t);
      await layOut(task, folder);
      const report = await makeIndex(task, { data: folder, tokenizer: await standInTokenizer() });
      const expected = await expectedIndex(task);
      const made = await filesOf(folder);
      assert.deepEqual([...made.keys()], [...expected.keys()]);
      for (const [name, content] of expected) assert.equal(made.get(name), content, name);
      assert.deepEqual(report.files.map(({ path }) => basename(path)).sort(), [...expected.keys()]);
    });
  }
});
