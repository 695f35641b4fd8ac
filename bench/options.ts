// What `npm run bench -- …` takes.
import { parseArgs } from 'node:util';

export const USAGE = `npm run bench -- [options]

  --quick         under a minute in all, smaller tables: proves that everything runs, judges nothing
  --filter TEXT   only cases whose name, such as "lookup ipv4 1m", or suite has TEXT in it
  --json          one JSON object a line instead of the table; the header goes to stderr
  --list          the names of all cases, without running any, held against bench/cases.json
  --limits        what this machine can do at best: memory, system calls, calls from JavaScript
  --instructions  instructions per packet of the hot loops (callgrind), held against
                  bench/instructions.json: more than 5 % above the record fails
  --update        with --instructions or --list: write the record instead
  --help          this
`;

export type Mode = 'run' | 'list' | 'limits' | 'instructions' | 'help';

export interface Options {
  mode: Mode;
  quick: boolean;
  json: boolean;
  filter: string;
  update: boolean;
}

/** What is wrong with the command line, in one sentence. */
export class UsageError extends Error {}

const MODES = ['list', 'limits', 'instructions'] as const;

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        filter: { type: 'string', default: '' },
        list: { type: 'boolean', default: false },
        limits: { type: 'boolean', default: false },
        instructions: { type: 'boolean', default: false },
        update: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

export function readOptions(args: readonly string[]): Options {
  const values = parse(args);
  const chosen = MODES.filter((mode) => values[mode]);
  if (chosen.length > 1) {
    throw new UsageError(
      `Expected one of --${chosen.join(', --')}, received ${chosen.length} of them`,
    );
  }
  const mode = values.help ? 'help' : (chosen[0] ?? 'run');
  if (values.update && mode !== 'instructions' && mode !== 'list') {
    throw new UsageError(
      '--update writes the record of --instructions or --list and is of no use without one of them',
    );
  }
  const { quick, json, filter, update } = values;
  if (mode === 'list' && update && filter !== '') {
    throw new UsageError('--list --update writes the names of all cases: leave --filter out');
  }
  return { mode, quick, json, filter, update };
}
