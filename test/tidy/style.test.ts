/** House rules that neither Biome nor clang-format knows. */
import t from 'tap';
import ts from 'typescript';
import { filesBelow, linesOf, textOf } from './tree.js';

const FILE_LINES = 400;
/** A file may outgrow its limit a little while it is worked on; not by this much. */
const FILE_LINES_MAX = 500;
/** Tests are lists of examples: longer, and then parted by what they are examples of. */
const TEST_LINES_MAX = 550;
const FUNCTION_LINES_MAX = 70;

const textsBelow = (...folders: readonly string[]): string[] =>
  folders.flatMap(filesBelow).filter((path) => /\.(cc|h|ts|mjs)$/.test(path));
const sources = textsBelow('native', 'src', 'server/src', 'scripts');
const tests = textsBelow('test', 'server/test');

t.test('files are short enough to be read', async (t) => {
  for (const path of sources) {
    const lines = linesOf(path).length;
    if (lines > FILE_LINES) t.comment(`${path} has ${lines} lines (aim: ${FILE_LINES})`);
  }
  const longer = (paths: string[], most: number): string[] =>
    paths.filter((path) => linesOf(path).length > most);
  t.strictSame(longer(sources, FILE_LINES_MAX), []);
  t.strictSame(longer(tests, TEST_LINES_MAX), []);
});

interface Long {
  where: string;
  lines: number;
}

function longTypescriptFunctions(path: string): Long[] {
  const found: Long[] = [];
  const file = ts.createSourceFile(path, textOf(path), ts.ScriptTarget.ES2023, true);
  const line = (position: number): number => file.getLineAndCharacterOfPosition(position).line + 1;
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && 'body' in node && node.body) {
      const first = line(node.getStart());
      const lines = line(node.getEnd()) - first + 1;
      if (lines > FUNCTION_LINES_MAX) found.push({ where: `${path}:${first}`, lines });
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

/** By layout, which clang-format fixes: a definition starts in the first column and ends with `}` there. */
function longNativeFunctions(path: string): Long[] {
  const found: Long[] = [];
  let first = 0;
  linesOf(path).forEach((line, i) => {
    if (line === '}') {
      const lines = i - first + 1;
      if (lines > FUNCTION_LINES_MAX) found.push({ where: `${path}:${first + 1}`, lines });
    } else if (/^[A-Za-z]/.test(line) && !/^(namespace|public|private|protected)\b/.test(line)) {
      first = i;
    }
  });
  return found;
}

t.test('functions are short enough to be held in mind', async (t) => {
  t.strictSame(
    sources.flatMap((path) =>
      /\.(ts|mjs)$/.test(path) ? longTypescriptFunctions(path) : longNativeFunctions(path),
    ),
    [],
  );
});

t.test('no test runs alone', async (t) => {
  const lone = new RegExp(String.raw`\.${'only'}\(|\b${'only'}:\s*true`);
  t.strictSame(
    tests.filter((path) => path.endsWith('.ts') && lone.test(textOf(path))),
    [],
  );
});

t.test('nothing names a folder of some machine', async (t) => {
  // Pieced together, so that this file does not name one either.
  const folders = ['work', 'home', 'root', 'Users'].join('|');
  const absolute = new RegExp(String.raw`(?<![\w.\-/@])/(?:${folders})/\w`);
  const texts = filesBelow('').filter((path) => !path.startsWith('test/fuzz/corpus/'));
  t.ok(texts.includes('package.json'));
  const found = texts.flatMap((path) =>
    linesOf(path).flatMap((line, i) => (absolute.test(line) ? [`${path}:${i + 1}`] : [])),
  );
  t.strictSame(found, []);
});

t.test('files are named in one way', async (t) => {
  const wrong = [
    ...filesBelow('src').filter((path) => !/^[a-z0-9/-]+(\.d\.c|\.)ts$/.test(path)),
    ...filesBelow('test').filter(
      (path) => path.endsWith('.ts') && !/^[a-z0-9/-]+(\.test|\.test-d)?\.ts$/.test(path),
    ),
    ...filesBelow('native').filter(
      (path) => /\.(cc|h|def)$/.test(path) && !/^[a-z0-9/_]+\.[a-z]+$/.test(path),
    ),
  ];
  t.strictSame(wrong, []);
});

t.test('prefetches are asked for in one place, where compilers cannot drop them', async (t) => {
  const bare = [...filesBelow('native'), ...filesBelow('bench/native')]
    .filter((path) => /\.(cc|h)$/.test(path) && path !== 'native/base/prefetch.h')
    .filter((path) => /\b(__builtin_prefetch|_mm_prefetch)\b/.test(textOf(path)));
  t.strictSame(bare, []);
});
