import { COMMON_FLAGS, type Command, type CommandGroup, type Flag } from './command.js';
import { COMMANDS } from './commands/index.js';
import { table, wrap } from './format.js';

const WIDTH = 96;

/** The overview of all commands. */
export function overview(version: string): string {
  return [
    `beit3 ${version}: BEiT-3 on images and texts, from official checkpoints.`,
    '',
    'Usage: beit3 COMMAND ... [--json] [--device NAME] [--threads N]',
    '',
    table(Array.from(COMMANDS, ([name, { summary }]) => [`  ${name}`, summary])),
    '',
    'beit3 COMMAND --help tells more; beit3 --version prints the version.',
  ].join('\n');
}

/** What the commands of a group are; `name` is what comes before them. */
export function groupHelp(name: string, { about, examples, commands }: CommandGroup): string {
  const own = table(Array.from(commands, ([command, { summary }]) => [`  ${command}`, summary]));
  const more = `Commands (beit3 ${name} COMMAND --help tells more):\n${own}`;
  return commandHelp({ usage: [`${name} COMMAND ...`], about, flags: {}, examples }, more);
}

/** All about one command; `more` stands behind what it does. */
export function commandHelp(
  { usage, about, flags, examples }: Pick<Command, 'usage' | 'about' | 'flags' | 'examples'>,
  more?: string,
): string {
  const entries = Object.entries({ ...flags, ...COMMON_FLAGS });
  const shown = ([name, { value, optional }]: [string, Flag]): string =>
    `  --${name}${value === undefined ? '' : optional ? `[=${value}]` : ` ${value}`}`;
  const column = Math.max(...entries.map((entry) => shown(entry).length)) + 2;
  const rows = (group: string | undefined): string[] =>
    entries
      .filter(([, flag]) => flag.group === group)
      .flatMap(([name, flag]) => {
        const more = `${flag.many ? ' May be repeated.' : ''}${flag.default === undefined ? '' : ` Default: ${flag.default}.`}`;
        return wrap(flag.help + more, WIDTH - column).map(
          (line, i) => (i === 0 ? shown([name, flag]) : '').padEnd(column) + line,
        );
      });
  const groups = [...new Set(entries.flatMap(([, { group }]) => group ?? []))];
  return [
    ...usage.map((line, i) => `${i === 0 ? 'Usage:' : '      '} beit3 ${line}`),
    '',
    ...wrap(about, WIDTH),
    '',
    ...(more === undefined ? [] : [more, '']),
    ...groups.flatMap((group) => [`${group}:`, ...rows(group), '']),
    'Flags:',
    ...rows(undefined),
    '',
    examples.length === 1 ? 'Example:' : 'Examples:',
    ...examples.map((example) => `  ${example}`),
  ].join('\n');
}
