/** Secret keys in a configuration: 32 hexadecimal digits, or a file that has them. */
import { GatewayError } from 'gwlb';
import { onlyKeys } from '../errors.js';
import { readRegular } from './regular-file.js';

const EXPECTED = '32 hexadecimal digits in quotes, or file: with the path of a file that has them';

const CODE = 'ERR_GWLB_INVALID_ARGUMENT';

/** A file that has more has no key in it. */
const FILE_BYTES_MAX = 1024;
/** Bits of a file's mode that let others read the key, or put another one there. */
const OTHERS = 0o026;

/** Why a key's file is no place for a secret; null where it is, or the key is in the configuration. */
export function keyFileWarning(value: unknown): string | null {
  const path = (value as { file?: unknown } | null | undefined)?.file;
  if (typeof path !== 'string') return null;
  try {
    const { mode } = readRegular(path, FILE_BYTES_MAX);
    if ((mode & OTHERS) === 0) return null;
    const text = mode.toString(8).padStart(4, '0');
    return `others may read or change ${path} (mode ${text}): expected 0600, or 0640 for a group that may know the key`;
  } catch {
    // Reading the key has told it.
    return null;
  }
}

/** The 16 bytes; messages do not show what was given. Reads the file where one is named. */
export function readKey(field: string, value: unknown): Uint8Array {
  if (typeof value === 'string') return keyBytes(field, value, EXPECTED);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(field, EXPECTED, value === null ? 'null' : `a ${typeof value}`);
  }
  const { file } = onlyKeys(field, value, ['file']);
  if (typeof file !== 'string' || file === '') {
    throw GatewayError.invalidArgument(`${field}.file`, 'a non-empty string', file);
  }
  const path = file;
  let text: string;
  try {
    ({ text } = readRegular(path, FILE_BYTES_MAX));
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    const expected = 'a file that can be read';
    const why = code === 'EINVAL' ? (error as Error).message : code;
    const told = `${JSON.stringify(path)} (${why})`;
    throw GatewayError.mismatch(CODE, `${field}.file`, expected, told, error);
  }
  return keyBytes(`${field}.file`, text.trim(), `32 hexadecimal digits in ${path}`);
}

function keyBytes(field: string, text: string, expected: string): Uint8Array {
  if (/^[0-9a-f]{32}$/i.test(text)) return Uint8Array.from(Buffer.from(text, 'hex'));
  throw wrong(field, expected, `${text.length} characters`);
}

function wrong(field: string, expected: string, received: string): GatewayError {
  return GatewayError.mismatch(CODE, field, expected, received);
}
