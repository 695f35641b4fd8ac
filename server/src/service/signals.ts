/**
 * Signals to a process of ours. Node ends by SIGHUP and SIGUSR2 and opens a debugger's port by SIGUSR1
 * unless somebody listens, so that somebody has to from the first instruction on; what they mean is
 * said later.
 */
export type HeldSignal = 'SIGHUP' | 'SIGUSR1' | 'SIGUSR2';

const handlers = new Map<HeldSignal, () => void>();
const waiting = new Set<HeldSignal>();

/** From now on these do nothing but what `onSignal` says, until the process ends. */
export function holdSignals(signals: readonly HeldSignal[]): void {
  for (const signal of signals) {
    process.on(signal, () => {
      const handler = handlers.get(signal);
      if (handler) handler();
      else waiting.add(signal);
    });
  }
}

/** What a held signal does; one that came before does it now. Returns how to take that back. */
export function onSignal(signal: HeldSignal, handler: () => void): () => void {
  handlers.set(signal, handler);
  if (waiting.delete(signal)) handler();
  return () => handlers.delete(signal);
}

export type StopSignal = 'SIGTERM' | 'SIGINT';

/** Resolves with the name of the next signal that asks the program to stop; the one after it ends the process. */
export function untilStopped(): Promise<StopSignal> {
  return new Promise((resolve) => {
    const signals = ['SIGTERM', 'SIGINT'] as const;
    const heard = (signal: StopSignal) => {
      for (const one of signals) process.off(one, heard);
      resolve(signal);
    };
    for (const signal of signals) process.on(signal, heard);
  });
}

/** How long a reader of standard output and error has for what was written, once all else is over. */
const LEAVE_MS = 2_000;

/** The process ends soon, whether or not somebody reads what it still has to say. */
export function leaveSoon(): void {
  setTimeout(() => process.exit(), LEAVE_MS).unref();
}
