/** What the documents point at is there. */
import { existsSync } from 'node:fs';
import { join, posix } from 'node:path';
import t from 'tap';
import { ROOT } from '../support/places.js';
import { filesBelow, textOf } from './tree.js';

const documents = filesBelow('').filter((path) => path.endsWith('.md'));

t.test('relative links lead to files', async (t) => {
  const broken: string[] = [];
  let links = 0;
  for (const path of documents) {
    for (const [, target = ''] of textOf(path).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(https?:|mailto:|#)/.test(target)) continue;
      links += 1;
      const file = posix.join(posix.dirname(path), target.replace(/#.*/, ''));
      if (!existsSync(join(ROOT, file))) broken.push(`${path}: ${target}`);
    }
  }
  t.ok(links > 0);
  t.strictSame(broken, []);
});

t.test('what architecture.md says where it is, is there', async (t) => {
  const [, table = ''] = /^## Where is …$(.+?)^## /ms.exec(textOf('docs/architecture.md')) ?? [];
  const paths = [...table.matchAll(/`((?:native|src|server|test|docs)\/[^`]*)`/g)].map(
    ([, path]) => path,
  );
  t.ok(paths.length > 20);
  t.strictSame(
    paths.filter((path) => !existsSync(join(ROOT, path ?? ''))),
    [],
  );
});

t.test('the files that CONTRIBUTING sends people to exist', async (t) => {
  const named = [
    ...textOf('CONTRIBUTING.md').matchAll(/`((?:native|src|server|test|docs|bench)\/[^`*<…]+)`/g),
  ];
  const paths = named.map(([, path = '']) => path.split(' ')[0] ?? '');
  t.ok(paths.length > 10);
  t.strictSame(
    paths.filter((path) => !existsSync(join(ROOT, path))),
    [],
  );
});
