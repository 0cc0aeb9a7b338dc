/**
 * The conformance suite without a test runner, for machines that have only Node and this build. Exits with 0 if nothing
 * differs, with 1 if something does, with 2 if it could not run.
 */
import { parseArgs } from 'node:util';
import '../../index.js';
import { type BackendOptions, disposeBackend, loadBackend } from '../../backends/index.js';
import { writeFileAtomically } from '../../checkpoints/index.js';
import { table } from '../../cli/format.js';
import { InputError, messageOf } from '../../core/errors.js';
import { Oracle } from '../support/run.js';
import { PARTS } from './cases.js';
import { type OpReport, testedOps, testOp } from './report.js';

const FLAGS = {
  device: { type: 'string', default: 'auto' },
  adapter: { type: 'string' },
  threads: { type: 'string' },
  only: { type: 'string' },
  runs: { type: 'string', default: '40' },
  json: { type: 'string' },
} as const;

const USAGE = `usage: node dist/test/conformance/main.js [--device NAME] [--adapter NAME] [--threads N] [--only OP,...] [--runs N]
       [--json FILE]
Prints a table of what was compared with the reference backend, then what differs; --runs is the random cases an op.`;

function wholeNumber(name: string, text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InputError(`--${name} expects a whole number, got ${text}.`);
  return Number(text);
}

async function main(): Promise<number> {
  if (process.argv.includes('--help')) {
    console.log(USAGE);
    return 0;
  }
  const { values: flags } = parseArgs({ options: FLAGS });
  const options: BackendOptions = {
    ...(flags.threads === undefined ? {} : { threads: wholeNumber('threads', flags.threads) }),
    ...(flags.adapter === undefined ? {} : { adapter: flags.adapter }),
  };
  const ops = testedOps();
  const wanted = flags.only?.split(',') ?? ops;
  for (const op of wanted) {
    if (!ops.includes(op))
      throw new InputError(`There are no cases of an op named ${op}; expected one of ${ops.join(', ')}.`);
  }
  const effort = { runs: wholeNumber('runs', flags.runs), layouts: 'every', grids: 'huge' } as const;
  const backend = await loadBackend(flags.device, options);
  const details = backend.details ?? {};
  const oracle = new Oracle(await loadBackend('reference'));
  const dtypes = [...backend.caps.dtypes];
  const facts = Object.entries(details).map(([name, value]) => `${name} ${value}`);
  console.log([`${backend.name} against reference`, `stores ${dtypes.join(', ')}`, ...facts].join('; '));
  const started = performance.now();
  const reports: OpReport[] = [];
  for (const op of wanted) reports.push(await testOp(op, backend, oracle, effort));
  const failed = reports.filter((r) => r.failures.length > 0);
  const seconds = Math.round((performance.now() - started) / 100) / 10;
  const counts = (r: OpReport) => PARTS.map((part) => String(r.compared[part] ?? '-'));
  const rows = reports.map((r) => [r.op, ...counts(r), r.failures.length === 0 ? 'ok' : 'FAIL']);
  console.log(table([['op', ...PARTS, ''], ...rows]));
  for (const r of failed) console.log(`\n${r.op}\n${r.failures.map((text) => `  ${text}`).join('\n')}`);
  console.log(`\n${reports.length - failed.length} of ${reports.length} ops agree with the reference (${seconds} s).`);
  if (flags.json !== undefined) {
    const { name } = backend;
    const text = JSON.stringify({
      ok: failed.length === 0,
      device: name,
      details,
      dtypes,
      seconds,
      ops: reports,
    });
    await writeFileAtomically(flags.json, (sink) => sink.write(new TextEncoder().encode(`${text}\n`)));
  }
  await disposeBackend(backend.name);
  return failed.length === 0 ? 0 : 1;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(`conformance: ${messageOf(error)}`);
    process.exitCode = 2;
  },
);
