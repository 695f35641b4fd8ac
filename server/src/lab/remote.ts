/** Calls between a process and those that it started, over Node's IPC channel. */
import type { ChildProcess } from 'node:child_process';

interface Call {
  id: number;
  method: string;
  argument: unknown;
}
interface Answer {
  id: number;
  value?: unknown;
  error?: string;
}
interface Note {
  note: string;
  value: unknown;
}

/** Methods of one process: a function each, from argument to answer. */
export type Handlers = Record<string, (argument: never) => unknown>;

/** In a child: answers calls and sends notes. */
export function serve(handlers: Handlers): (note: string, value: unknown) => void {
  process.on('message', async (message: Call) => {
    const answer: Answer = { id: message.id };
    try {
      answer.value = await handlers[message.method](message.argument as never);
    } catch (error) {
      answer.error = error instanceof Error ? error.message : String(error);
    }
    if (process.connected) process.send?.(answer);
  });
  // Without its parent a child has nothing left to do.
  process.on('disconnect', () => process.exit(0));
  return (note, value) => {
    if (process.connected) process.send?.({ note, value } satisfies Note);
  };
}

/** In the parent: one child, its calls and its notes. */
export class Remote {
  readonly child: ChildProcess;
  readonly #waiting = new Map<
    number,
    { resolve: (value: never) => void; reject: (e: Error) => void }
  >();
  #next = 1;

  constructor(child: ChildProcess, name: string, onNote: (note: string, value: unknown) => void) {
    this.child = child;
    child.on('message', (message: Answer | Note) => {
      if ('note' in message) onNote(message.note, message.value);
      else this.#answered(message);
    });
    child.on('exit', (code, signal) => {
      const error = new Error(`${name} ended (${signal ?? `exit code ${code}`})`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
    child.on('error', () => {});
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  call<T>(method: string, argument: unknown = null): Promise<T> {
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.child.send({ id, method, argument } satisfies Call, (error) => {
        if (!error) return;
        this.#waiting.delete(id);
        reject(error);
      });
    });
  }

  #answered(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.error === undefined) waiting?.resolve(answer.value as never);
    else waiting?.reject(new Error(answer.error));
  }
}
