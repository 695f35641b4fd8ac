/**
 * Lower layers never see higher ones: native includes and TypeScript imports of both packages, who may
 * touch N-API and the addon, what each package needs, and what the server sees of the library.
 */
import { execFileSync } from 'node:child_process';
import { posix } from 'node:path';
import t from 'tap';
import ts from 'typescript';
import { ROOT } from '../support/places.js';
import { filesBelow, textOf } from './tree.js';

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
  ['native'],
  ['base'],
  ['packet'],
  ['health'],
  ['fleet'],
  ['gateway', 'appliance'],
  ['replay'],
  ['system', 'check-options'],
  ['index'],
];

/** The same of server/src. */
const SERVER_LAYERS: readonly (readonly string[])[] = [
  ['errors', 'http', 'lab', 'state'],
  ['obstacles'],
  ['config'],
  ['observe'],
  ['api'],
  ['service'],
  ['appliance'],
  ['demo'],
  ['cli'],
];

/** What a source of the core defines for itself: constants, and functions with their parameters. */
function ownNames(path: string): string[] {
  const names: string[] = [];
  // Braces of namespaces are not indented, and what is in them neither.
  for (const [, body] of textOf(path).matchAll(
    /^namespace \{\n([\s\S]*?)^\} {2}\/\/ namespace$/gm,
  )) {
    for (const [, name] of body.matchAll(/^(?:static )?constexpr [\w:<>* ]+? (k\w+)\b/gm)) {
      names.push(name);
    }
    for (const [, name, parameters] of body.matchAll(
      /^\w[\w:<>*& ]* (\w+)(\([^;{]*?\))[^;{)]*\{/gm,
    )) {
      names.push(`${name}${parameters.replace(/\s+/g, ' ')}`);
    }
    for (const [, name] of body.matchAll(/^(?:struct|class|enum class|enum) (\w+)/gm))
      names.push(name);
  }
  return names;
}

const PACKAGES = [
  { source: 'src', layers: TYPESCRIPT_LAYERS },
  { source: 'server/src', layers: SERVER_LAYERS },
] as const;

const nativeFiles = filesBelow('native').filter((path) => /\.(cc|h|def)$/.test(path));
const typescriptFiles = filesBelow('src').filter((path) => path.endsWith('.ts'));
const serverFiles = filesBelow('server/src').filter((path) => path.endsWith('.ts'));

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

/** 'packet' for packet/batch.ts below a package's sources, 'errors' for errors.ts. */
function layerOf(path: string, source: string): string {
  return (path.slice(source.length + 1).split('/')[0] ?? '').replace(/\.ts$/, '');
}

t.test('a layer is one: no two of its files have a name of their own alike', async (t) => {
  const seen = new Map<string, string>();
  for (const path of nativeFiles.filter(
    (file) => file.endsWith('.cc') && !/^native\/node/.test(file),
  )) {
    for (const name of ownNames(path)) {
      const key = `${posix.dirname(path)} ${name}`;
      const other = seen.get(key);
      if (other !== undefined) t.fail(`${name} is defined in ${other} and in ${path}`);
      seen.set(key, path);
    }
  }
  t.ok(seen.size > 100, `${seen.size} names`);
});

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
    cwd: ROOT,
    encoding: 'utf8',
  });
  const sources = filesBelow('native').filter((path) => path.endsWith('.cc'));
  t.strictSame(listed.trim().split(/\s+/).sort(), sources);
});

for (const { source, layers } of PACKAGES) {
  t.test(`${source} imports only from its own and lower layers`, async (t) => {
    const files = filesBelow(source).filter((path) => path.endsWith('.ts'));
    const rankOf = (layer: string) => layers.findIndex((row) => row.includes(layer));
    t.ok(files.length > 20, 'there are files to judge');
    const wrong: string[] = [];
    for (const file of files) {
      const layer = layerOf(file, source);
      const rank = rankOf(layer);
      if (rank < 0) wrong.push(`${file}: "${layer}" is no layer`);
      for (const specifier of importsOf(file)) {
        const target = sourceFile(file, specifier);
        if (!target) continue;
        const other = layerOf(target, source);
        if (!files.includes(target)) {
          wrong.push(`${file}: ${specifier} is no file of ${source}/`);
        } else if (other !== layer && rankOf(other) >= rank) {
          wrong.push(`${file}: ${layer} may not import ${specifier}`);
        }
      }
    }
    t.strictSame(wrong, []);
  });
}

t.test('no file imports itself by way of others, types included', async (t) => {
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) {
      circles.push([...way.slice(way.indexOf(file)), file].join(' > '));
      return;
    }
    if (done.has(file)) return;
    for (const specifier of importsOf(file)) {
      const target = sourceFile(file, specifier);
      if (target && typescriptFiles.includes(target)) visit(target, [...way, file]);
    }
    done.add(file);
  };
  for (const file of typescriptFiles) visit(file, []);
  t.strictSame(circles, []);
});

t.test('the fleet is a function: no clock, no timer, no randomness, no addon', async (t) => {
  const pure = typescriptFiles.filter((file) => file.startsWith('src/fleet/'));
  pure.push('src/health/thresholds.ts', 'src/health/damping.ts', 'src/health/suspicion.ts');
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
  if (seen.has('src/native/binding.ts')) wrong.push('src/native/binding.ts');
  t.strictSame(wrong, []);
});

t.test('only src/native/binding.ts loads the addon', async (t) => {
  const wrong = typescriptFiles
    .filter((file) => file !== 'src/native/binding.ts')
    .filter((file) =>
      importsOf(file).some((name) => name === 'node-gyp-build' || name.endsWith('.node')),
    );
  t.strictSame(wrong, []);
  t.ok(importsOf('src/native/binding.ts').includes('node-gyp-build'));
});

/** 'gwlb' for 'gwlb/dist/x.js', '@types/node' for '@types/node/fs'. */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/** The packages that files import. */
function packagesOf(files: readonly string[]): string[] {
  const specifiers = files.flatMap(importsOf);
  const packages = specifiers.filter((name) => !name.startsWith('.') && !name.startsWith('node:'));
  return [...new Set(packages.map(packageOf))].sort();
}

t.test('each package imports what it declares, and declares what it needs', async (t) => {
  const library = JSON.parse(textOf('package.json'));
  t.strictSame(Object.keys(library.dependencies).sort(), ['node-addon-api', 'node-gyp-build']);
  t.strictSame(packagesOf(typescriptFiles), ['node-gyp-build'], 'the other one is of the build');
  t.notOk(library.optionalDependencies);
  t.notOk(library.bin);
  const server = JSON.parse(textOf('server/package.json'));
  t.strictSame(packagesOf(serverFiles), Object.keys(server.dependencies).sort());
});

t.test('the server has the library by its public API, in its own version', async (t) => {
  const deep = serverFiles.flatMap((file) =>
    importsOf(file)
      .filter((name) => packageOf(name) === 'gwlb' && name !== 'gwlb')
      .map((name) => `${file}: ${name}`),
  );
  t.strictSame(deep, []);
  const library = JSON.parse(textOf('package.json'));
  const server = JSON.parse(textOf('server/package.json'));
  t.equal(server.version, library.version);
  t.equal(server.dependencies.gwlb, library.version);
});

t.test(
  'the tests know of the server only its lab, and the model nothing of what it judges',
  async (t) => {
    const seen = (folder: string) =>
      filesBelow(folder)
        .filter((path) => path.endsWith('.ts'))
        .flatMap((file) =>
          importsOf(file).map((name) => ({ file, target: sourceFile(file, name) })),
        );
    const ofServer = seen('test').filter(
      ({ target }) => target?.startsWith('server/') && !target.startsWith('server/src/lab/'),
    );
    t.strictSame(ofServer, []);
    const ofModel = seen('test/model').filter(
      ({ file, target }) =>
        target && !file.endsWith('.test.ts') && !/^(test\/model|src\/packet)\//.test(target),
    );
    t.strictSame(ofModel, []);
  },
);
