/** Structured logs: JSON lines on standard output, or readable ones where that is a terminal. */
import { type Logger, pino } from 'pino';
import type { LogLevel } from './config-types.js';

export type { Logger } from 'pino';

/** The fields that pino adds itself. */
const OWN = new Set(['level', 'time', 'msg', 'event']);

/** One line for people: time, level, message, and the other fields as they are. */
export function readableLine(json: string): string {
  const entry = JSON.parse(json) as Record<string, unknown>;
  const fields = Object.entries(entry)
    .filter(([key]) => !OWN.has(key))
    .map(([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return `${entry.time} ${String(entry.level).padEnd(5)} ${entry.msg}${fields.join('')}\n`;
}

export function makeLogger(level: LogLevel, output: NodeJS.WriteStream = process.stdout): Logger {
  // A reader that went away must not end the gateway.
  output.on('error', () => {});
  const write = output.isTTY
    ? (line: string) => output.write(readableLine(line))
    : (line: string) => output.write(line);
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  return pino(options, { write });
}
