// The tests as JavaScript, below build-test/, each file by itself: types are `npm run lint`'s affair.
// What they import from src/ and server/src/ is what is shipped: those folders are links to the
// compiled packages there.
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { root } from './toolchain.mjs';

/** Where compiled tests are, from the root. */
export const COMPILED = 'build-test';

const FOLDERS = ['test', 'server/test', 'bench'];
const LINKS = { src: 'dist', 'server/src': 'server/dist' };
const STAMPS = join(root, COMPILED, '.stamps.json');

/**
 * @param {string} source
 * @returns {string}
 */
export function compiledPath(source) {
  return `${COMPILED}/${source.replace(/\.ts$/, '.js')}`;
}

/** All TypeScript of the tests, and the benchmarks that some of them test; from the root. */
export function testSources() {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true })
      .map((name) => `${folder}/${name}`)
      .filter((path) => path.endsWith('.ts') && !path.endsWith('-d.ts')),
  ).sort();
}

function link() {
  for (const [name, target] of Object.entries(LINKS)) {
    const path = join(root, COMPILED, name);
    if (existsSync(path)) continue;
    rmSync(path, { force: true });
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync(relative(dirname(path), join(root, target)), path);
  }
}

/** @returns {Record<string, string>} */
function stamps() {
  try {
    return JSON.parse(readFileSync(STAMPS, 'utf8'));
  } catch {
    return {};
  }
}

/** @param {string} text */
const digestOf = (text) => createHash('sha256').update(text).digest('base64');

/**
 * @param {typeof import('typescript')} ts
 * @param {string} path
 * @param {string} text
 * @returns {string[]} what is wrong with it
 */
function compile(ts, path, text) {
  const output = compiledPath(path);
  const result = ts.transpileModule(text, {
    fileName: basename(path),
    reportDiagnostics: true,
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      sourceMap: true,
      sourceRoot: relative(dirname(output), dirname(path)),
    },
  });
  const wrong = (result.diagnostics ?? []).map(({ file, start, messageText }) => {
    const { line } = file?.getLineAndCharacterOfPosition(start ?? 0) ?? { line: 0 };
    return `${path}:${line + 1}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  });
  if (wrong.length > 0) return wrong;
  mkdirSync(dirname(join(root, output)), { recursive: true });
  writeFileSync(join(root, output), result.outputText);
  writeFileSync(join(root, `${output}.map`), result.sourceMapText ?? '');
  return [];
}

/**
 * Compiles what is new or changed, and removes what is gone.
 * @returns {Promise<string[]>} what is wrong, a line each
 */
export async function compileTests() {
  link();
  const compiler = readFileSync(join(root, 'node_modules/typescript/package.json'), 'utf8');
  const salt = compiler + readFileSync(join(root, 'scripts/compile-tests.mjs'), 'utf8');
  const before = stamps();
  /** @type {Record<string, string>} */
  const now = {};
  /** @type {string[]} */
  const wrong = [];
  /** @type {typeof import('typescript') | undefined} */
  let ts;
  for (const path of testSources()) {
    const text = readFileSync(join(root, path), 'utf8');
    const digest = digestOf(salt + text);
    if (before[path] !== digest || !existsSync(join(root, compiledPath(path)))) {
      // Half of what this takes is loading the compiler; most runs need none.
      ts ??= (await import('typescript')).default;
      const problems = compile(ts, path, text);
      wrong.push(...problems);
      if (problems.length > 0) continue;
    }
    now[path] = digest;
  }
  for (const path of Object.keys(before)) {
    if (path in now) continue;
    for (const end of ['', '.map']) {
      rmSync(join(root, `${compiledPath(path)}${end}`), { force: true });
    }
  }
  // Another run may be reading it.
  if (JSON.stringify(now) !== JSON.stringify(before)) writeFileSync(STAMPS, JSON.stringify(now));
  return wrong;
}
