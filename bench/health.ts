// HTTP health checks of 1,000 targets every five seconds: the share of one core they take. All
// targets are addresses of the loopback with one server in a process of its own behind them. Ours and
// a plain node:http prober run at the same time, each in a process of its own, and are charged by
// their CPU time.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { prove, quick, report, wanted } from './harness.js';
import { INTERVAL_SECONDS, type ProberProgress } from './health-role.js';

const SUITE = 'health';
const NAME = 'health 1,000 HTTP targets, 5 s';
const TARGETS = 1000;
/** Whole intervals, so that each sample holds every target once. */
const SAMPLES = quick ? 1 : 3;
const INTERVAL_MS = INTERVAL_SECONDS * 1000;
/** The first check of a target is at once, the second up to one and a half intervals later. */
const WARM_MS = 1.5 * INTERVAL_MS;
const ANSWER_MS = 20_000;

async function answer<T>(child: ChildProcess): Promise<T> {
  const [message] = await once(child, 'message', { signal: AbortSignal.timeout(ANSWER_MS) });
  return message as T;
}

function start(children: ChildProcess[], ...role: string[]): ChildProcess {
  const path = fileURLToPath(new URL('./health-role.js', import.meta.url));
  const child = fork(path, role, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  children.push(child);
  return child;
}

interface Moment extends ProberProgress {
  time: number;
}

async function progressOf(child: ChildProcess): Promise<Moment> {
  const told = answer<ProberProgress>(child);
  child.send('progress');
  const progress = await told;
  return { ...progress, time: performance.now() };
}

async function compare(children: ChildProcess[]): Promise<void> {
  const port = await answer<number>(start(children, 'server'));
  const roles = ['gwlb', 'http'];
  const probers = roles.map((role) => start(children, role, `${port}`, `${TARGETS}`));
  await Promise.all(probers.map((prober) => answer(prober)));
  await sleep(WARM_MS);
  const first = await Promise.all(probers.map(progressOf));
  const shares: number[][] = roles.map(() => []);
  let before = first;
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    await sleep(INTERVAL_MS);
    const after = await Promise.all(probers.map(progressOf));
    for (const [i, { cpu, time }] of after.entries()) {
      shares[i].push((cpu - before[i].cpu) / 10 / (time - before[i].time));
    }
    before = after;
  }
  const done = before.map(({ good }, i) => good - first[i].good);
  prove(
    'no health check failed',
    before.map(({ bad }) => bad),
    [0, 0],
  );
  for (const [i, count] of done.entries()) {
    const due = TARGETS * SAMPLES;
    const enough = Math.abs(count - due) <= due * 0.1;
    prove(`${roles[i]} did about ${due} health checks, not ${count}`, enough, true);
  }
  report(
    {
      suite: SUITE,
      name: NAME,
      unit: '% of a core',
      note: `${done[0]} health checks by ours, ${done[1]} by the peer, all good`,
    },
    new Map([
      ['gwlb', shares[0]],
      ['plain node:http', shares[1]],
    ]),
  );
}

if (wanted(SUITE, NAME)) {
  const children: ChildProcess[] = [];
  try {
    await compare(children);
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}
