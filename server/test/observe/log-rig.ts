/** A logger whose entries a test reads. */
import { type Logger, makeLogger } from '../../src/observe/log.js';
import type { Entry } from '../support/running.js';

export function logged(): { log: Logger; entries: Entry[] } {
  const entries: Entry[] = [];
  const output = {
    writableLength: 0,
    on: () => output,
    write: (line: string) => entries.push(JSON.parse(line)),
  };
  return { log: makeLogger('info', output as unknown as NodeJS.WriteStream), entries };
}
