/** The benchmark command itself: its cases, its rows, its errors. Figures are not judged here. */
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { rowProblem } from '../../bench/row.js';
import { ROOT } from '../support/places.js';
import { cannotRun, whyNotWide } from '../support/wide.js';

const reason = whyNotWide('g++', 'make');

function bench(...args: string[]) {
  return spawnSync('npm', ['run', '--silent', 'bench', '--', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
}

const lines = (text: string) => text.split('\n').filter((line) => line !== '');

if (reason !== null) {
  cannotRun(t, reason);
} else {
  // The first run builds the programs.

  t.test('the record of cases is what the suites have', async (t) => {
    const { status, stdout, stderr } = bench('--list');
    t.equal(status, 0, stderr);
    t.ok(lines(stdout).includes('lookup ipv4 1m'));
  });

  t.test('rows are as they are documented', async (t) => {
    const { status, stdout, stderr } = bench('--quick', '--json', '--filter', 'hash ipv4');
    t.equal(status, 0, stderr);
    const rows = lines(stdout).map((line) => JSON.parse(line));
    t.ok(rows.length > 0);
    for (const row of rows) {
      t.equal(rowProblem(row), null);
      t.match(row.case, /hash ipv4/);
      for (const [other, ratio] of Object.entries<number>(row.ratios)) {
        const theirs = other === 'limit' ? row.limit : row.peers[other];
        t.ok(Math.abs(row.ours.median / theirs.median / ratio - 1) < 0.001, other);
      }
      t.match(row.run, { date: /^\d{4}-/, commit: /./, machine: /cores/, command: /hash ipv4/ });
    }
  });

  t.test('errors are clear', async (t) => {
    const wrong = bench('--quik');
    t.equal(wrong.status, 2);
    t.match(wrong.stderr, /'--quik'.*--quick/s);
    const none = bench('--quick', '--filter', 'no such case');
    t.equal(none.status, 2);
    t.match(none.stderr, /no case has "no such case" in its name/);
  });
}
