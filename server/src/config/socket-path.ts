/** Paths of Unix sockets. */
import { GatewayError } from 'gwlb';

/** Bytes of the longest path that a socket may have: `sun_path` of Linux without its NUL. */
const PATH_BYTES_MAX = 107;

/** The path of a socket, checked. */
export function checkSocketPath(field: string, value: unknown): string {
  const expected = `a path of 1–${PATH_BYTES_MAX} bytes, as the system takes it for sockets`;
  if (typeof value !== 'string' || value === '' || value.includes('\0')) {
    throw GatewayError.invalidArgument(field, expected, value);
  }
  const bytes = Buffer.byteLength(value);
  if (bytes > PATH_BYTES_MAX) {
    const received = `one of ${bytes} bytes: ${value}`;
    throw GatewayError.mismatch('ERR_GWLB_OUT_OF_RANGE', field, expected, received);
  }
  return value;
}
