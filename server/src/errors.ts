/** Errors of the service: the library's own kind, about keys, arguments and fields of requests. */
import { GatewayError } from 'gwlb';

/** `expected a list, received nothing` */
export function mismatch(expected: string, received: unknown): string {
  const { detail } = GatewayError.invalidArgument('value', expected, received);
  return detail.replace(/received undefined$/, 'received nothing');
}

/** The values of `keys` in an object that has no others. */
export function onlyKeys<K extends string>(
  field: string,
  value: unknown,
  keys: readonly K[],
): Partial<Record<K, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw GatewayError.invalidArgument(field, 'an object', value);
  }
  const unknown = Object.keys(value).find((key) => !keys.includes(key as K));
  if (unknown === undefined) return value as Partial<Record<K, unknown>>;
  throw new GatewayError(
    'ERR_GWLB_INVALID_ARGUMENT',
    `${field}.${unknown}: expected one of the options ${keys.join(', ')}, received an unknown option`,
    { field: `${field}.${unknown}` },
  );
}
