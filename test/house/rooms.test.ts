import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative, sep } from 'node:path';
import { describe, it } from 'node:test';
import { packageRoot } from '../support/fixtures.js';

/** Room -> rooms that it may import (type-only imports count). */
const MAY: Record<string, readonly string[]> = {
  core: [],
  autograd: ['core'],
  backends: ['core'],
  nn: ['autograd', 'core'],
  checkpoints: ['core'],
  beit3: ['nn', 'checkpoints', 'autograd', 'core', 'backends'],
  cli: ['beit3', 'nn', 'checkpoints', 'autograd', 'core', 'backends'],
  web: ['beit3', 'nn', 'checkpoints', 'autograd', 'core', 'backends'],
};

/** Sources of a room; `web` may not be there yet. */
function sources(room: string): string[] {
  if (!existsSync(join(packageRoot, room))) return [];
  return readdirSync(join(packageRoot, room), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.ts'))
    .map((f) => join(packageRoot, room, f));
}

/** Relative module specifiers of static and dynamic imports and re-exports. */
function importsOf(source: string): string[] {
  return [...source.matchAll(/(?:from\s+|import\s*\(\s*|import\s+|URL\(\s*)['"](\.{1,2}\/[^'"]+)['"]/g)].map(
    (m) => m[1],
  );
}

describe('rooms', () => {
  for (const [room, allowed] of Object.entries(MAY)) {
    it(`${room} imports only ${allowed.join(', ') || 'itself'}`, () => {
      const files = sources(room);
      assert.ok(room === 'web' || files.length > 0);
      for (const file of files) {
        for (const specifier of importsOf(readFileSync(file, 'utf8'))) {
          const target = relative(packageRoot, normalize(join(dirname(file), specifier)));
          const to = target.split(sep)[0];
          assert.ok(to === room || allowed.includes(to), `${relative(packageRoot, file)} imports ${target}`);
        }
      }
    });
  }

  it('no backend imports another', () => {
    for (const file of sources('backends')) {
      const [, own] = relative(packageRoot, file).split(sep);
      if (own.endsWith('.ts')) continue;
      for (const specifier of importsOf(readFileSync(file, 'utf8'))) {
        const [room, other] = relative(packageRoot, normalize(join(dirname(file), specifier))).split(sep);
        assert.ok(room !== 'backends' || other === own, `${relative(packageRoot, file)} imports ${specifier}`);
      }
    }
  });

  it('nobody outside backends names a backend folder, and beit3 asks only the registry', () => {
    for (const room of Object.keys(MAY).filter((r) => r !== 'backends')) {
      for (const file of sources(room)) {
        for (const specifier of importsOf(readFileSync(file, 'utf8'))) {
          const parts = relative(packageRoot, normalize(join(dirname(file), specifier))).split(sep);
          if (parts[0] === 'backends')
            assert.equal(parts[1], 'index.js', `${relative(packageRoot, file)} imports ${specifier}`);
        }
      }
    }
  });

  it('only core/runtime.ts asks where we run', () => {
    for (const room of ['core', 'autograd', 'backends', 'nn', 'checkpoints', 'beit3']) {
      for (const file of sources(room).filter((f) => !f.endsWith(join('core', 'runtime.ts')))) {
        const text = readFileSync(file, 'utf8');
        assert.doesNotMatch(
          text,
          /typeof (process|window|document|SharedArrayBuffer)|process\.versions|crossOriginIsolated|navigator/,
          relative(packageRoot, file),
        );
      }
    }
  });

  it('no cycles between files', () => {
    const graph = new Map<string, string[]>();
    for (const room of Object.keys(MAY)) {
      for (const file of sources(room)) {
        const text = readFileSync(file, 'utf8').replace(
          /import\s+type[^;]*;|export\s+type\s*\{[^}]*\}\s*from[^;]*;/g,
          '',
        );
        graph.set(
          relative(packageRoot, file),
          importsOf(text).map((s) => relative(packageRoot, normalize(join(dirname(file), s))).replace(/\.js$/, '.ts')),
        );
      }
    }
    const state = new Map<string, 'open' | 'done'>();
    const path: string[] = [];
    const visit = (file: string): void => {
      if (state.get(file) === 'done' || !graph.has(file)) return;
      path.push(file);
      assert.notEqual(state.get(file), 'open', `cycle: ${path.slice(path.indexOf(file)).join(' -> ')}`);
      state.set(file, 'open');
      for (const next of graph.get(file) ?? []) visit(next);
      state.set(file, 'done');
      path.pop();
    };
    for (const file of graph.keys()) visit(file);
  });
});
