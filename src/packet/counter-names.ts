/** Names of native counter words, as the objects of the API have them. */
import { binding, type NamedText } from '../native/binding.js';
import { type DropReason, REASON_NAMES } from './names.js';

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function names(words: NamedText[]): readonly string[] {
  return Object.freeze(words.map((word) => camelCase(word.name)));
}

/** In the order of the words. */
export const COUNTER_NAMES = Object.freeze({
  gateway: names(binding.counterLayout.gateway),
  target: names(binding.counterLayout.target),
  endpoint: names(binding.counterLayout.endpoint),
  appliance: names(binding.counterLayout.appliance),
  device: names(binding.counterLayout.device),
});

/** Drop counters by name, every reason; `read` gives the word of a reason's code. */
export function readDrops(read: (code: number) => bigint): Record<DropReason, number> {
  const drops: Partial<Record<DropReason, number>> = {};
  REASON_NAMES.forEach((name, code) => {
    if (name !== 'none') drops[name] = Number(read(code));
  });
  return drops as Record<DropReason, number>;
}
