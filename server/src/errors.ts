/** Errors of the service: the library's own kind, about keys, arguments and fields of requests. */
import { GatewayError, invalidArgument } from 'gwlb';

/** The message without the field's name, for callers that know the field by another one. */
export function withoutField({ message, field }: GatewayError): string {
  return field && message.startsWith(`${field}: `) ? message.slice(field.length + 2) : message;
}

/** The same error about another field. */
export function about(field: string, error: GatewayError): GatewayError {
  const message = `${field}: ${withoutField(error)}`;
  return new GatewayError(error.code, message, { field, cause: error });
}

/** `expected a list, received nothing` */
export function mismatch(expected: string, received: unknown): string {
  const message = withoutField(invalidArgument('value', expected, received));
  return message.replace(/received undefined$/, 'received nothing');
}

/** The values of `keys` in an object that has no others. */
export function onlyKeys<K extends string>(
  field: string,
  value: unknown,
  keys: readonly K[],
): Partial<Record<K, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidArgument(field, 'an object', value);
  }
  const unknown = Object.keys(value).find((key) => !keys.includes(key as K));
  if (unknown === undefined) return value as Partial<Record<K, unknown>>;
  throw new GatewayError(
    'ERR_GWLB_INVALID_ARGUMENT',
    `${field}.${unknown}: expected one of the options ${keys.join(', ')}, received an unknown option`,
    { field: `${field}.${unknown}` },
  );
}
