/** The command inside of the test's process, since starting one takes a while. */
import type { GatewayError } from 'gwlb';
import { main } from '../../src/cli.js';

export interface Ran {
  /** null where it was ended by an error. */
  status: number | null;
  stdout: string;
  error: GatewayError | null;
}

/** Runs it; the code of an error is `dist/cli.js`'s to choose. */
export async function gwlb(...args: string[]): Promise<Ran> {
  const lines: string[] = [];
  const { log } = console;
  console.log = (line) => lines.push(`${line}\n`);
  try {
    const status = await main(args);
    return { status, stdout: lines.join(''), error: null };
  } catch (error) {
    return { status: null, stdout: lines.join(''), error: error as GatewayError };
  } finally {
    console.log = log;
  }
}
