/** Secret keys in a configuration: 32 hexadecimal digits, or a file that has them. */
import { readFileSync } from 'node:fs';
import { checkOptions, checkString, GatewayError, invalidArgument } from '../errors.js';

const EXPECTED = '32 hexadecimal digits in quotes, or file: with the path of a file that has them';

/** The 16 bytes; messages do not show what was given. Reads the file where one is named. */
export function readKey(field: string, value: unknown): Uint8Array {
  if (typeof value === 'string') return keyBytes(field, value, EXPECTED);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(field, EXPECTED, value === null ? 'null' : `a ${typeof value}`);
  }
  const { file } = checkOptions(field, value, ['file']);
  const path = checkString(`${field}.file`, file);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    const expected = 'a file that can be read';
    const problem = invalidArgument(`${field}.file`, expected, path);
    const message = `${problem.message} (${code})`;
    throw new GatewayError(problem.code, message, { field: `${field}.file`, cause: error });
  }
  return keyBytes(`${field}.file`, text.trim(), `32 hexadecimal digits in ${path}`);
}

function keyBytes(field: string, text: string, expected: string): Uint8Array {
  if (/^[0-9a-f]{32}$/i.test(text)) return Uint8Array.from(Buffer.from(text, 'hex'));
  throw wrong(field, expected, `${text.length} characters`);
}

function wrong(field: string, expected: string, received: string): GatewayError {
  const message = `${field}: expected ${expected}, received ${received}`;
  return new GatewayError('ERR_GWLB_INVALID_ARGUMENT', message, { field });
}
