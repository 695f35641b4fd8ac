/** The wider tests judge with programs that not every machine has. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Whether everything was promised to be here, as in CI: then nothing is skipped. */
export const WIDE = process.env.GWLB_WIDE === '1';

interface Reporter {
  fail(message: string): boolean;
  plan(count: number, reason: string): void;
}

/** Skips a file's tests with a reason; a failure where everything was promised. */
export function cannotRun(t: Reporter, reason: string): void {
  if (WIDE) t.fail(reason);
  else t.plan(0, reason);
}

/** Why a file of wider tests does not run; null where it does. */
export function whyNotWide(...programs: readonly string[]): string | null {
  if (!WIDE) return 'a wider test; GWLB_WIDE=1 runs it';
  return whyMissing(...programs);
}

/** Which programs are not installed, as a sentence; null where all are. */
export function whyMissing(...programs: readonly string[]): string | null {
  const missing = programs.filter(
    (program) => spawnSync('sh', ['-c', 'command -v "$0"', program]).status !== 0,
  );
  return missing.length > 0 ? `not installed: ${missing.join(', ')}` : null;
}

/** Why no process of this test can become another user; null where one can. */
export function whyNoOtherUser(): string | null {
  const denied = readFileSync('/proc/self/setgroups', 'utf8').trim() === 'deny';
  return denied ? 'the user namespace of an ordinary user has no other one' : null;
}
