/** Lines with a checksum before each: what a person can read, and a program can trust. */
import { crc32 } from 'node:zlib';
import type { Json } from './store.js';

/** `1c291ca3 {"key":…}` and a newline. */
export function lineOf(value: object): string {
  const text = JSON.stringify(value);
  return `${checksum(text)} ${text}\n`;
}

/** What a line says; undefined where it is damaged. */
export function readLine(line: string): { readonly [key: string]: Json } | undefined {
  const text = line.slice(9);
  if (line[8] !== ' ' || checksum(text) !== line.slice(0, 8)) return undefined;
  try {
    const value = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0');
}
