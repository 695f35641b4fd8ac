/**
 * Lower layers never see higher ones: native includes and TypeScript imports, who may touch N-API and
 * the addon, and what a library user who left out the optional packages can still load.
 */
import { execFileSync } from 'node:child_process';
import { posix } from 'node:path';
import t from 'tap';
import ts from 'typescript';
import { filesBelow, root, textOf } from './tree.js';

/** What each native folder may include, besides itself. */
const NATIVE_LAYERS: Record<string, readonly string[]> = {
  base: [],
  wire: ['base'],
  batch: ['base'],
  flow: ['base', 'wire', 'batch'],
  select: ['base', 'wire', 'batch', 'flow'],
  gateway: ['base', 'wire', 'batch', 'flow', 'select'],
  appliance: ['base', 'wire', 'batch', 'flow', 'select'],
  io: ['base', 'wire', 'batch'],
  engine: ['base', 'wire', 'batch', 'flow', 'select', 'gateway', 'appliance', 'io'],
  node: ['base', 'wire', 'batch', 'flow', 'select', 'gateway', 'appliance', 'io', 'engine'],
};

/**
 * TypeScript from low to high; a name is a file or a folder of src/. Those of one line are neighbours
 * that do not know each other.
 */
const TYPESCRIPT_LAYERS: readonly (readonly string[])[] = [
  ['binding-codec'],
  ['binding-appliance'],
  ['binding-system'],
  ['binding'],
  ['errors'],
  ['checks'],
  ['limits'],
  ['http'],
  ['packet'],
  ['health'],
  ['fleet'],
  ['control'],
  ['gateway', 'appliance'],
  ['replay'],
  ['index'],
  ['daemon'],
  ['demo'],
  ['cli'],
];

const nativeFiles = filesBelow('native').filter((path) => /\.(cc|h|def)$/.test(path));
const typescriptFiles = filesBelow('src').filter((path) => path.endsWith('.ts'));

interface Include {
  file: string;
  target: string;
  quoted: boolean;
}

function includesOf(file: string): Include[] {
  return [...textOf(file).matchAll(/^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]/gm)].map(
    ([, mark, target]) => ({ file, target: target ?? '', quoted: mark === '"' }),
  );
}

/** Everything a file imports: static, dynamic, type-only and required. */
function importsOf(file: string): string[] {
  const text = textOf(file);
  const required = [...text.matchAll(/\brequire\(\s*['"]([^'"]+)['"]\s*\)/g)].map(
    (m) => m[1] ?? '',
  );
  const imported = ts.preProcessFile(text, true, true).importedFiles.map((f) => f.fileName);
  return [...new Set([...imported, ...required])];
}

/** 'src/packet/batch.ts' for './batch.js' in src/packet; undefined for a package. */
function sourceFile(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  return posix.join(posix.dirname(from), specifier).replace(/\.js$/, '.ts');
}

/** 'packet' for src/packet/batch.ts, 'errors' for src/errors.ts. */
function layerOf(path: string): string {
  return (path.split('/')[1] ?? '').replace(/\.ts$/, '');
}

function rankOf(layer: string): number {
  return TYPESCRIPT_LAYERS.findIndex((row) => row.includes(layer));
}

t.test('native files include only from their own and lower layers', async (t) => {
  t.ok(nativeFiles.length > 20, 'there are native files to judge');
  const wrong: string[] = [];
  for (const file of nativeFiles) {
    const layer = file.split('/')[1] ?? '';
    const allowed = NATIVE_LAYERS[layer];
    if (!allowed) {
      wrong.push(`${file}: "${layer}" is no layer`);
      continue;
    }
    for (const { target, quoted } of includesOf(file)) {
      if (!quoted) continue;
      const other = target.split('/')[0] ?? '';
      if (!(other in NATIVE_LAYERS)) {
        wrong.push(`${file}: "${target}" is not given from the native/ root`);
      } else if (other !== layer && !allowed.includes(other)) {
        wrong.push(`${file}: ${layer} may not include "${target}"`);
      } else if (!nativeFiles.includes(`native/${target}`)) {
        wrong.push(`${file}: "${target}" does not exist`);
      }
    }
  }
  t.strictSame(wrong, []);
});

t.test('only native/node knows Node', async (t) => {
  const node = /^(napi.*|node.*|uv|v8.*|js_native_api.*)\.h$/;
  const wrong = nativeFiles
    .filter((file) => !file.startsWith('native/node/'))
    .flatMap(includesOf)
    .filter(({ target }) => node.test(target))
    .map(({ file, target }) => `${file}: <${target}>`);
  t.strictSame(wrong, []);
  const abi = nativeFiles
    .flatMap(includesOf)
    .filter(({ target }) => /^(node|uv|v8)\.h$/.test(target))
    .map(({ file, target }) => `${file}: <${target}> would tie a prebuild to one Node`);
  t.strictSame(abi, []);
});

t.test('binding.gyp takes up every native source', async (t) => {
  const [, command] = /"<!@\((.+)\)"\n/.exec(textOf('binding.gyp')) ?? [];
  t.ok(command, 'the list of sources is found in binding.gyp');
  const listed = execFileSync('/bin/sh', ['-c', (command ?? '').replaceAll('\\"', '"')], {
    cwd: root,
    encoding: 'utf8',
  });
  const sources = filesBelow('native').filter((path) => path.endsWith('.cc'));
  t.strictSame(listed.trim().split(/\s+/).sort(), sources);
});

t.test('TypeScript imports only from its own and lower layers', async (t) => {
  const wrong: string[] = [];
  for (const file of typescriptFiles) {
    const layer = layerOf(file);
    const rank = rankOf(layer);
    if (rank < 0) wrong.push(`${file}: "${layer}" is no layer`);
    for (const specifier of importsOf(file)) {
      const target = sourceFile(file, specifier);
      if (!target) continue;
      const other = layerOf(target);
      if (!typescriptFiles.includes(target)) {
        wrong.push(`${file}: ${specifier} is no file of src/`);
      } else if (other !== layer && rankOf(other) >= rank) {
        wrong.push(`${file}: ${layer} may not import ${specifier}`);
      }
    }
  }
  t.strictSame(wrong, []);
});

t.test('the fleet is a function: no clock, no timer, no randomness, no addon', async (t) => {
  const pure = typescriptFiles.filter((file) => file.startsWith('src/fleet/'));
  pure.push('src/health/thresholds.ts', 'src/health/damping.ts');
  t.ok(pure.length > 10, 'there are files to judge');
  const outside =
    /\b(Date\.now|performance|set(Timeout|Interval|Immediate)|queueMicrotask|Math\.random|EventEmitter|process)\b/;
  const wrong = pure.filter((file) => outside.test(textOf(file)));
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const specifier of importsOf(file)) {
      const target = sourceFile(file, specifier);
      if (target) visit(target);
      else if (specifier !== 'node:util') wrong.push(`${file}: ${specifier}`);
    }
  };
  for (const file of pure) visit(file);
  if (seen.has('src/binding.ts')) wrong.push('src/binding.ts');
  t.strictSame(wrong, []);
});

t.test('only src/binding.ts loads the addon', async (t) => {
  const wrong = typescriptFiles
    .filter((file) => file !== 'src/binding.ts')
    .filter((file) =>
      importsOf(file).some((name) => name === 'node-gyp-build' || name.endsWith('.node')),
    );
  t.strictSame(wrong, []);
  t.ok(importsOf('src/binding.ts').includes('node-gyp-build'));
});

t.test('the library needs none of the optional packages', async (t) => {
  const { dependencies, optionalDependencies } = JSON.parse(textOf('package.json'));
  t.strictSame(Object.keys(dependencies).sort(), ['node-addon-api', 'node-gyp-build']);
  const allowed = ['node-gyp-build'];
  const wrong: string[] = [];
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file) || !typescriptFiles.includes(file)) return;
    seen.add(file);
    for (const specifier of importsOf(file)) {
      const target = sourceFile(file, specifier);
      if (target) visit(target);
      else if (!specifier.startsWith('node:') && !allowed.includes(specifier)) {
        wrong.push(`${file}: ${specifier}`);
      }
    }
  };
  visit('src/index.ts');
  t.ok(seen.has('src/binding.ts'), 'the public surface was walked down to the addon');
  t.strictSame(wrong, []);

  const known = new Set([...Object.keys(dependencies), ...Object.keys(optionalDependencies)]);
  const undeclared = typescriptFiles.flatMap((file) =>
    importsOf(file)
      .filter((name) => !name.startsWith('.') && !name.startsWith('node:'))
      .map((name) =>
        name
          .split('/')
          .slice(0, name.startsWith('@') ? 2 : 1)
          .join('/'),
      )
      .filter((name) => !known.has(name))
      .map((name) => `${file}: ${name}`),
  );
  t.strictSame(undeclared, [], 'every imported package is declared');
});
