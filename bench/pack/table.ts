/** `node table.js FOLDER`: the figures that run.sh collected, as one page of Markdown. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatSizes } from '../kernels/cases.js';
import type { Report, Row } from '../kernels/run.js';

const folder = process.argv[2] ?? '.';

function json<T>(name: string): T | null {
  const path = join(folder, name);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as T) : null;
}

const text = (name: string): string => {
  const path = join(folder, name);
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
};

const number = (value: number | undefined | null, digits = 3): string =>
  value === undefined || value === null || !Number.isFinite(value)
    ? ''
    : value >= 1000
      ? value.toFixed(0)
      : value.toPrecision(digits);
const perCent = (value: number | undefined): string => (value === undefined ? '' : `${value.toFixed(1)}%`);
const ms = (seconds: number | undefined): string => (seconds === undefined ? '' : number(seconds * 1000));

function table(titles: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.map((c) => c.replaceAll('|', '/')).join(' | ')} |`;
  return [line(titles), line(titles.map(() => '---')), ...rows.map(line), ''];
}

function kernels(report: Report): string[] {
  const lines: string[] = [];
  for (const device of report.devices) {
    if (!device.ceiling) continue;
    const { float32, float16, matrix, bandwidth } = device.ceiling;
    const tera = (what: string, rate: number | null) =>
      rate === null ? [] : [`${what} ${number(rate / 1e12)} TFLOP/s`];
    lines.push(
      `## Kernels on ${device.name}`,
      '',
      `${device.hardware}. Ceilings measured in the same run: ${[
        ...tera('float32', float32),
        ...tera('float16', float16),
        ...tera('matrix units', matrix),
      ].join(', ')}, copy ${number(bandwidth / 1e9)} GB/s.`,
      '',
    );
    const own = report.rows.filter((row) => row.device === device.name && !row.peer);
    const peers = [...new Set(report.rows.filter((r) => r.device === device.name && r.peer).map((r) => r.peer))];
    const beside = (row: Row, peer: string | undefined): string => {
      const same = report.rows.find(
        (r) => r.peer === peer && r.device === row.device && r.name === row.name && r.dtype === row.dtype,
      );
      return same?.seconds === undefined ? '' : `${ms(same.seconds)} (${number(same.ratio)} x)`;
    };
    lines.push(
      ...table(
        [
          'kernel',
          'type',
          'sizes',
          'ms',
          'GFLOP/s',
          'of peak',
          'GB/s',
          'of copy',
          'x reference',
          'error',
          ...peers.map((p) => `${p}, ms (our time over it)`),
        ],
        own.map((row) => [
          row.name,
          row.dtype,
          formatSizes(row.sizes),
          ...(row.failed === undefined
            ? [
                ms(row.seconds),
                number(row.gflops),
                perCent(row.ofArithmetic),
                number(row.gbytes),
                perCent(row.ofBandwidth),
              ]
            : [row.failed, '', '', '', '']),
          number(row.overReference),
          row.error?.toExponential(1) ?? '',
          ...peers.map((p) => beside(row, p)),
        ]),
      ),
    );
    // In software there is nothing to reach.
    if (device.name === 'webgpu' && !/swiftshader|llvmpipe/i.test(device.hardware)) lines.push(...gates(own));
  }
  return lines;
}

/** What a real GPU is held to. */
function gates(rows: readonly Row[]): string[] {
  const of = (name: string, dtype: string) => rows.find((r) => r.name === name && r.dtype === dtype);
  const [product, half] = [of('matmul 4096', 'float32'), of('matmul 4096', 'float16')];
  const lines: string[] = [];
  const gate = (what: string, got: number | undefined, wanted: number, unit: string) => {
    if (got !== undefined && Number.isFinite(got))
      lines.push(
        `- ${what}: ${number(got)}${unit} (wanted: ${wanted}${unit}): ${got >= wanted ? 'holds' : 'does not hold'}`,
      );
  };
  gate('float32 matmul, of the measured peak', product?.ofArithmetic, 35, '%');
  if (half?.gflops && product?.gflops) gate('float16 matmul over float32', half.gflops / product.gflops, 3, ' x');
  for (const dtype of ['float32', 'float16']) {
    const matmul = of('matmul 4096', dtype)?.gflops;
    for (const row of rows.filter((r) => /^attention [\d+]+$/.test(r.name) && r.dtype === dtype)) {
      if (matmul && row.gflops) gate(`${row.name} ${dtype}, of the matmul rate`, (100 * row.gflops) / matmul, 30, '%');
    }
  }
  for (const row of rows.filter((r) => /^sub-LN \d+$/.test(r.name)))
    gate(`${row.name} ${row.dtype}, of the copy bandwidth`, row.ofBandwidth, 70, '%');
  return lines.length > 0 ? [...lines, ''] : [];
}

interface Model {
  readonly what: string;
  readonly batch: number;
  readonly size: number;
  readonly layers: number;
  readonly dtype: string;
  readonly replayed?: boolean;
  readonly seconds: number;
  readonly median: number;
  readonly peer: {
    readonly seconds?: number;
    readonly median?: number;
    readonly torch?: string;
    readonly device?: string;
    readonly error?: string;
  } | null;
}

function models(): string[] {
  const found = ['model', 'model-replay', 'model-float16', 'train', 'train-replay', 'train-float16'].flatMap(
    (name) => json<Model>(`${name}.json`) ?? [],
  );
  if (found.length === 0) return [];
  const rows = found.map(({ what, batch, size, layers, dtype, replayed, seconds, median, peer }) => [
    `${what}${layers === 12 ? '' : `, ${layers} of 12 layers`}${replayed ? ', replayed' : ''}`,
    `${batch} x ${size} px`,
    dtype,
    `${ms(seconds)} (${ms(median)})`,
    number(batch / seconds),
    peer?.seconds === undefined ? (peer?.error ?? 'not here') : `${ms(peer.seconds)} (${ms(peer.median)})`,
    peer?.seconds === undefined ? '' : number(seconds / peer.seconds),
    peer?.torch === undefined ? '' : [peer.torch, peer.device].filter((s) => s !== undefined).join(', '),
  ]);
  const titles = [
    'BEiT-3-base',
    'batch',
    'type',
    'ms (median)',
    'images/s',
    'PyTorch eager, ms',
    'our time over it',
    'PyTorch',
  ];
  return ['## Whole models', '', ...table(titles, rows)];
}

interface Microseconds {
  readonly fastest: number;
  readonly median: number;
}

function dispatches(): string[] {
  const report = json<{
    readonly rows: readonly {
      readonly name: string;
      readonly launches: number;
      readonly eager: Microseconds;
      readonly replayed: Microseconds | null;
      readonly commands: number | null;
    }[];
  }>('dispatch.json');
  if (report === null) return [];
  const us = (m: Microseconds | null) => (m === null ? '' : `${number(m.fastest)} (${number(m.median)})`);
  const rows = report.rows.map((r) => [
    r.name,
    String(r.launches),
    us(r.eager),
    String(r.commands ?? ''),
    us(r.replayed),
  ]);
  const titles = ['work', 'launches', 'eager, us each (median)', 'commands', 'replayed, us each (median)'];
  return ['## JavaScript a dispatch', '', ...table(titles, rows)];
}

function proofs(): string[] {
  const lines: string[] = [];
  const conformance = json<{
    readonly seconds: number;
    readonly ops: readonly { readonly op: string; readonly failures: readonly string[] }[];
  }>('conformance.json');
  if (conformance) {
    const failed = conformance.ops.filter((o) => o.failures.length > 0);
    const which = failed.length === 0 ? '' : `; not: ${failed.map((o) => o.op).join(', ')}`;
    lines.push(
      `- Conformance: ${conformance.ops.length - failed.length} of ${conformance.ops.length} ops agree with the reference backend (${conformance.seconds} s)${which}.`,
    );
  }
  const parity = text('parity.log').trim().split('\n').at(-1) ?? '';
  if (parity !== '') lines.push(`- Parity with dumps of the PyTorch reference: ${parity}`);
  return lines.length > 0 ? ['## Correctness', '', ...lines, ''] : [];
}

const machine = new Map(
  text('machine.txt')
    .split('\n')
    .map((line): [string, string] => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
);
const reports = ['kernels.json', 'cpu.json'].flatMap((name) => json<Report>(name) ?? []);
const page = [
  `# Azulejo, ${new Date().toISOString().slice(0, 10)}`,
  '',
  `- GPU: ${machine.get('gpu') ?? 'unknown'}`,
  ...(machine.has('nvidia') ? [`- nvidia-smi (name, driver, memory): ${machine.get('nvidia')}`] : []),
  `- ${reports[0]?.machine ?? `Linux ${machine.get('kernel') ?? ''}`}, Node ${process.versions.node}`,
  '',
  ...reports.flatMap(kernels),
  ...dispatches(),
  ...models(),
  ...proofs(),
];
console.log(page.join('\n').trimEnd());
