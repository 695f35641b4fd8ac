/** Structured logs: JSON lines on standard output, or readable ones where that is a terminal. */
import { type Logger, pino } from 'pino';
import type { LogLevel } from '../config/types.js';

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

/** Bytes that wait for a reader who is slow; what comes beyond them is lost and counted. */
const WAITING_MAX = 1 << 20;

export function makeLogger(level: LogLevel, output: NodeJS.WriteStream = process.stdout): Logger {
  // A reader that went away must not end the gateway.
  output.on('error', () => {});
  const textOf = output.isTTY ? readableLine : (line: string) => line;
  let lost = 0;
  const write = (line: string) => {
    if (output.writableLength < WAITING_MAX) output.write(textOf(line));
    else lost += 1;
  };
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const logger = pino(options, { write });
  output.on('drain', () => {
    if (lost === 0) return;
    const lines = lost;
    lost = 0;
    logger.warn({ event: 'log_lost', lines }, 'log lines were lost: nobody read them in time');
  });
  return logger;
}
