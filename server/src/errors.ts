/** Errors of the service: the library's own kind, about keys, arguments and fields of requests. */
import { GatewayError } from 'gwlb';

/** What was expected and received; in a file, what is not there is nothing. */
export function detailOf({ detail, expected, received }: GatewayError): string {
  return received === 'undefined' ? `expected ${expected}, received nothing` : detail;
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
  const expected = `one of the options ${keys.join(', ')}`;
  const code = 'ERR_GWLB_INVALID_ARGUMENT';
  throw GatewayError.mismatch(code, [field, unknown], expected, 'an unknown option');
}

/** A number as people type it, `6081` or `0x0108`, in min..max. */
export function numberArgument(field: string, text: string, min: number, max: number): number {
  const form = `a number ${min}–${max}`;
  if (!/^(?:0x[0-9a-f]+|[0-9]+)$/i.test(text))
    throw GatewayError.invalidArgument(field, form, text);
  const number = Number(text);
  if (number >= min && number <= max) return number;
  throw GatewayError.mismatch('ERR_GWLB_OUT_OF_RANGE', field, `${min}–${max}`, String(number));
}
