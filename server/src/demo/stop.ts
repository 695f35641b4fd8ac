/** The demo is asked to stop, and tidies up: directly, or by the process outside of its sandbox. */
import type { ChildProcess } from 'node:child_process';
import { followParent, isInside, STOP_SIGNALS } from '../lab/sandbox.js';

/** Says that this process is the one inside. */
export const INSIDE = 'GWLB_DEMO_INSIDE';

/** Asks the process inside. */
export function askToStop(child: ChildProcess): void {
  if (child.connected) child.send({ stop: true });
}

/** Calls `stop` once, when this process is asked to end, directly or by the one outside. */
export function onStop(stop: () => void): void {
  let asked = false;
  const once = () => {
    if (asked) return;
    asked = true;
    stop();
  };
  for (const signal of STOP_SIGNALS) process.on(signal, once);
  if (!isInside(INSIDE)) return;
  process.on('message', (message) => {
    if ((message as { stop?: boolean }).stop) once();
  });
  followParent(once);
}
