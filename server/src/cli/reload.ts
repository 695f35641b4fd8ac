/** `gwlb reload`: has the running gateway read its configuration again. */
import { askGateway } from '../api/client.js';
import { changeText, type ReloadResult } from '../config/reload.js';
import { type AskArguments, socketOf } from './socket-of.js';

/** Large tables are built and devices are made meanwhile. */
const TIMEOUT_MS = 60_000;

/** Prints what became of it; resolves with the exit code. */
export async function reload(given: AskArguments): Promise<number> {
  const asked = askGateway(socketOf(given), '/v1/reload', {}, TIMEOUT_MS);
  const result = (await asked) as ReloadResult;
  const { applied, changes, problems } = result;
  if (given.json) console.log(JSON.stringify(result));
  else if (applied) {
    const count = changes.length === 1 ? '1 change' : `${changes.length || 'no'} changes`;
    console.log([`reload applied: ${count}`, ...changes.map(changeText)].join('\n'));
  } else console.error(['reload refused: nothing changed', ...problems].join('\n'));
  return applied ? 0 : 1;
}
