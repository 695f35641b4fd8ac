/** Lists that are kept in two places and have to agree. */
import t from 'tap';
import { filesBelow, textOf } from './tree.js';

t.test('drop reasons: the native list and its TypeScript union', async (t) => {
  const native = [
    ...textOf('native/base/drop_reasons.def').matchAll(/^GWLB_DROP\((\w+), "([^"]+)"\)$/gm),
  ];
  const names = native.map(([, name]) => name);
  t.ok(names.length > 30);
  t.equal(new Set(names).size, names.length, 'each name once');
  t.equal(new Set(native.map(([, , sentence]) => sentence)).size, names.length, 'and its sentence');
  const [, union] = /export type DropReason =\n([^;]+);/.exec(textOf('src/packet/names.ts')) ?? [];
  const typed = [...(union ?? '').matchAll(/'(\w+)'/g)].map(([, name]) => name);
  t.strictSame(typed, names);
});

t.test('drop reasons: the operator’s page says of each what it means and what to do', async (t) => {
  const names = [...textOf('native/base/drop_reasons.def').matchAll(/^GWLB_DROP\((\w+),/gm)].map(
    ([, name]) => name,
  );
  const [, table = ''] = textOf('docs/operations.md').split('## What each drop reason means');
  const rows = [...table.matchAll(/^\| `(\w+)` \| (.+) \| (.+) \|$/gm)].map(([, name]) => name);
  t.strictSame(rows.sort(), names.sort());
});

t.test('drop reasons: each is used by native code, and none is invented there', async (t) => {
  const names = [...textOf('native/base/drop_reasons.def').matchAll(/^GWLB_DROP\((\w+),/gm)].map(
    ([, name]) => name ?? '',
  );
  const text = filesBelow('native')
    .filter((path) => /\.(cc|h)$/.test(path))
    .map(textOf)
    .join('\n');
  const used = new Set([...text.matchAll(/\bDropReason::(\w+)/g)].map(([, name]) => name));
  t.strictSame(
    names.filter((name) => !used.has(name)),
    [],
    'no reason without a place that drops for it',
  );
});
