/** A web server behind a recipe, and a client of it, as programs that know nothing of us. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SERVER } from '../../../test/support/fleet.js';
import { until } from '../../../test/support/until.js';
import { runIn } from '../../src/lab/processes.js';
import type { Stage } from './stage.js';

/** Serves `/page` and `/admin`, once packets get there. */
export function serveWeb({ folder, lab }: Stage): void {
  const files = join(folder, 'files');
  mkdirSync(files);
  for (const name of ['page', 'admin']) writeFileSync(join(files, name), `the ${name}`);
  const options = ['--bind', '::', '--directory', files];
  lab.begin('server', 'python3', '-m', 'http.server', '80', ...options);
}

/** Waits until the client has what it asks for. */
export async function webWorks(): Promise<void> {
  const works = ([status]: [number | null, string]) => status === 0;
  await until(() => askWeb('page'), works, 'the web server serves');
}

/** curl's exit code, and what it got. */
export async function askWeb(path: string, ...more: string[]): Promise<[number | null, string]> {
  const url = `http://${SERVER.v4}/${path}`;
  const { status, out } = await runIn('client', 'curl', ['-s', ...more, url]);
  return [status, out];
}

/** Exit code of curl where nothing came within `-m`. */
export const NOTHING_CAME = 28;
