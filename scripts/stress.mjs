// Whether tests depend on the machine's speed: `npm run stress -- [--runs N] FILE...` runs each file N
// times (default 10), every second time with another job on each core. What failed stays in
// build-stress/, one log a run; exit code 1 where something did. Wide tests need GWLB_WIDE=1.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './toolchain.mjs';

const LOGS = join(root, 'build-stress');
const RUN_MINUTES = 20;

const USAGE = 'usage: npm run stress -- [--runs N] FILE...\n';

const { values, positionals: files } = parseArgs({
  options: { runs: { type: 'string', default: '10' }, help: { type: 'boolean', short: 'h' } },
  allowPositionals: true,
});
const runs = Number(values.runs);
if (values.help) {
  process.stdout.write(USAGE);
  process.exit(0);
}
if (files.length === 0 || !Number.isInteger(runs) || runs < 1) {
  process.stderr.write(USAGE);
  process.exit(2);
}

/** @returns {() => void} What ends it. */
function occupyCores() {
  const jobs = Array.from({ length: availableParallelism() }, () =>
    spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }),
  );
  return () => {
    for (const job of jobs) job.kill('SIGKILL');
  };
}

/**
 * @param {string} file
 * @returns {{ ok: boolean, output: string }}
 */
function runOnce(file) {
  const test = join('scripts', 'test.mjs');
  const { status, stdout, stderr } = spawnSync(process.execPath, [test, '--reporter=tap', file], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    timeout: RUN_MINUTES * 60_000,
  });
  return { ok: status === 0, output: stdout + stderr };
}

/**
 * @param {string} file
 * @returns {number} Failed runs.
 */
function stress(file) {
  /** @type {Record<string, number>} */
  const failed = { alone: 0, busy: 0 };
  const seconds = [];
  for (let run = 1; run <= runs; run++) {
    const kind = run % 2 === 0 ? 'busy' : 'alone';
    const release = kind === 'busy' ? occupyCores() : () => {};
    const started = Date.now();
    const { ok, output } = runOnce(file);
    release();
    seconds.push((Date.now() - started) / 1000);
    if (ok) continue;
    failed[kind]++;
    writeFileSync(join(LOGS, `${file.replaceAll('/', '_')}.${run}.log`), output);
  }
  const times = `${Math.min(...seconds).toFixed(0)} to ${Math.max(...seconds).toFixed(0)} s`;
  const counts = `${failed.alone} failed alone, ${failed.busy} on a busy machine`;
  process.stdout.write(`stress: ${file}: ${runs} runs of ${times}, ${counts}\n`);
  return failed.alone + failed.busy;
}

rmSync(LOGS, { recursive: true, force: true });
mkdirSync(LOGS);
const total = files.reduce((sum, file) => sum + stress(file), 0);
process.exit(total === 0 ? 0 : 1);
