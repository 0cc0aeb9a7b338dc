import { COMMON_FLAGS, type Command } from './command.js';
import { COMMANDS } from './commands/index.js';
import { table, wrap } from './format.js';

const WIDTH = 96;

/** The overview of all commands. */
export function overview(version: string): string {
  return [
    `beit3 ${version}: BEiT-3 on images and texts, from official checkpoints.`,
    '',
    'Usage: beit3 COMMAND ... [--json] [--device auto|wasm|reference] [--threads N]',
    '',
    table(Array.from(COMMANDS, ([name, { summary }]) => [`  ${name}`, summary])),
    '',
    'beit3 COMMAND --help tells more; beit3 --version prints the version.',
  ].join('\n');
}

/** All about one command. */
export function commandHelp({ usage, about, flags, examples }: Command): string {
  const rows = Object.entries({ ...flags, ...COMMON_FLAGS }).map(([name, flag]): [string, string] => [
    `  --${name}${flag.value === undefined ? '' : ` ${flag.value}`}`,
    `${flag.help}${flag.many ? ' May be repeated.' : ''}${flag.default === undefined ? '' : ` Default: ${flag.default}.`}`,
  ]);
  const column = Math.max(...rows.map(([name]) => name.length)) + 2;
  return [
    ...usage.map((line, i) => `${i === 0 ? 'Usage:' : '      '} beit3 ${line}`),
    '',
    ...wrap(about, WIDTH),
    '',
    'Flags:',
    ...rows.flatMap(([name, text]) =>
      wrap(text, WIDTH - column).map((line, i) => (i === 0 ? name : '').padEnd(column) + line),
    ),
    '',
    examples.length === 1 ? 'Example:' : 'Examples:',
    ...examples.map((example) => `  ${example}`),
  ].join('\n');
}
