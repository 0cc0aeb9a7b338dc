/** How rows of figures look. */
import { formatSizes } from './cases.js';
import type { Device, Row } from './run.js';

const COLUMNS = [30, 5, 30, 10, 9, 6, 8, 6, 9, 8];
const TITLES = ['kernel', 'type', 'sizes', 'ms', 'GFLOP/s', 'peak', 'GB/s', 'copy', 'x ref.', 'error'];

const short = (value: number | undefined): string => {
  if (value === undefined) return '';
  if (!Number.isFinite(value)) return String(value);
  return value >= 1000 ? value.toFixed(0) : value >= 100 ? value.toFixed(1) : value.toPrecision(3);
};
const perCent = (value: number | undefined): string =>
  value === undefined ? '' : `${value.toFixed(value < 10 ? 1 : 0)}%`;

const line = (cells: readonly string[]): string =>
  cells
    .map((cell, i) => (i < 3 ? cell.padEnd(COLUMNS[i]) : cell.padStart(COLUMNS[i])))
    .join(' ')
    .trimEnd();

export function deviceLines({ name, hardware, ceiling, skipped }: Device): string[] {
  if (ceiling === null) return ['', `${name}: left out: ${skipped}`];
  const { float32, float16, matrix, bandwidth, how } = ceiling;
  const rate = (what: string, value: number | null) =>
    value === null ? [] : [`${what} ${short(value / 1e9)} GFLOP/s`];
  const rates = [...rate('float32', float32), ...rate('float16', float16), ...rate('matrix units', matrix)];
  return [
    '',
    `${name}: ${hardware}`,
    `ceilings measured now (${how}): ${[...rates, `copy ${short(bandwidth / 1e9)} GB/s`].join(', ')}`,
    line(TITLES),
  ];
}

const TYPES: Record<string, string> = { float32: 'f32', float16: 'f16' };

export function rowLine(row: Row): string {
  const { name, peer, dtype, sizes, failed, ratio } = row;
  const first = peer ? `  ${peer}` : name;
  const start = [first, TYPES[dtype] ?? dtype, peer ? '' : formatSizes(sizes)];
  if (failed !== undefined)
    return `${line(start)}  ${row.error === undefined ? '' : `error ${row.error.toExponential(1)}, `}${failed}`;
  const figures = [
    short((row.seconds ?? 0) * 1000),
    short(row.gflops),
    perCent(row.ofArithmetic),
    short(row.gbytes),
    perCent(row.ofBandwidth),
    short(row.overReference),
    row.error === undefined ? '' : row.error.toExponential(1),
  ];
  const beside = ratio === undefined ? '' : `  ours takes ${ratio.toFixed(2)} x its time`;
  return `${line([...start, ...figures])}${beside}`;
}
