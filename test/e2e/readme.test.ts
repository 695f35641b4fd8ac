/** The README's TypeScript examples run as they stand there, against each other. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../support/places.js';
import { runPrivately } from '../support/privately.js';

const obstacle = await runPrivately(import.meta.url);
const { default: t } = await import('tap');
const { default: ts } = await import('typescript');

/** The example whose first lines contain `mark`, as a module that Node can run. */
function example(mark: string): string {
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const blocks = [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code]) => code);
  const found = blocks.filter((code) => code.includes(mark));
  t.equal(found.length, 1, `one example has ${mark}`);
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
  return ts.transpileModule(found[0] ?? '', { compilerOptions: options }).outputText;
}

if (obstacle !== null) {
  t.plan(0, obstacle);
} else {
  const ip = (...args: string[]) => execFileSync('ip', args);
  ip('link', 'set', 'lo', 'up');
  for (const host of [5, 10, 11]) ip('addr', 'add', `10.0.1.${host}/32`, 'dev', 'lo');

  const folder = mkdtempSync(join(tmpdir(), 'gwlb-readme-'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules', 'gwlb'));
  const children: ChildProcess[] = [];
  t.teardown(() => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  });

  /** Runs an example; resolves with its output when that matches, or when it ends. */
  const run = (name: string, code: string, pattern: RegExp): Promise<string> => {
    const file = join(folder, `${name}.mjs`);
    writeFileSync(file, code);
    const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'pipe'] });
    children.push(child);
    let output = '';
    return new Promise((resolve) => {
      const take = (chunk: Buffer) => {
        output += chunk;
        if (pattern.test(output)) resolve(output);
      };
      child.stdout.on('data', take);
      child.stderr.on('data', take);
      child.once('exit', () => resolve(output));
    });
  };

  t.test('the core alone', async (t) => {
    const output = await run('core', example('new PacketBatch'), /never/);
    t.match(output, /^forward \d+ [01]\n$/);
  });

  t.test('a gateway and an appliance', async (t) => {
    const appliance = `${example('Appliance.listen')}\nconsole.log('listening');`;
    t.match(await run('appliance', appliance, /listening/), /listening/);
    // Five checks in a row, ten seconds apart, make it healthy: the first words are enough here.
    const output = await run(
      'gateway',
      example('GatewayLoadBalancer.listen'),
      /idle|new flow|SYN|row/,
    );
    t.match(output, /10\.0\.1\.1[01]/, 'explains where the flow goes');
    t.match(output, /row/, 'and why');
    t.match(execFileSync('ip', ['link', 'show', 'gwlbe0'], { encoding: 'utf8' }), /gwlbe0/);
  });
}
