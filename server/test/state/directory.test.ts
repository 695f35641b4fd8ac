/** The store in a folder: what was acknowledged is there, whatever happens; what is damaged is told. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GatewayError } from 'gwlb';
import t from 'tap';
import { WIDE } from '../../../test/support/wide.js';
import { DirectoryStore, SCHEMA } from '../../src/state/directory.js';
import { lineOf } from '../../src/state/lines.js';
import { changeOf, commits, recordsAt } from './changes.js';
import { FaultyDisk } from './faulty-disk.js';

const root = mkdtempSync(join(tmpdir(), 'gwlb-state-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const folder = () => join(root, `${folders++}`);

/** What is in it, and its revision; it is closed again. */
async function look(path: string): Promise<{ revision: number; records: unknown }> {
  const store = await DirectoryStore.open(path);
  const { revision } = store;
  const records = store.entries('');
  await store.close();
  return { revision, records };
}

const at = (revision: number) => ({ revision, records: recordsAt(revision) });

async function refusal(path: string): Promise<string> {
  try {
    await (await DirectoryStore.open(path)).close();
  } catch (error) {
    if (error instanceof GatewayError) return error.message.replaceAll(path, 'DIR');
    throw error;
  }
  throw new Error('it was opened');
}

t.test('records, revisions, and what another process finds', async (t) => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  t.equal(store.revision, 0);
  t.strictSame(await Promise.all([1, 2, 3].map((n) => store.commit(changeOf(n)))), [1, 2, 3]);
  t.equal(store.read('left/2'), 2);
  t.equal(store.read('sometimes/2'), undefined);
  t.strictSame(store.entries('right/').length, 3);
  await t.rejects(store.commit(changeOf(9), 2), {
    code: 'ERR_GWLB_IN_USE',
    message: 'expectedRevision: expected 3, received 2: the state has changed since',
  });
  t.equal(await store.commit(changeOf(4), 3), 4);
  const closing = store.commit(changeOf(5));
  await store.close();
  t.equal(await closing, 5, 'what is under way is finished');
  await t.rejects(store.commit(changeOf(6)), { code: 'ERR_GWLB_CLOSED' });
  t.strictSame(await look(path), at(5));
  t.equal(statSync(path).mode & 0o777, 0o700);
  t.equal(statSync(join(path, 'journal')).mode & 0o777, 0o600);
  t.match(readFileSync(join(path, 'journal'), 'utf8'), /^[0-9a-f]{8} \{"revision":1,"at":\d+,/);
});

t.test('a long journal becomes a snapshot', async (t) => {
  const path = folder();
  const store = await DirectoryStore.open(path, { journalBytesMax: 1000 });
  await commits(store, 100);
  t.ok(statSync(join(path, 'journal')).size < 1500);
  t.strictSame(store.entries(''), recordsAt(100));
  await store.close();
  t.strictSame(await look(path), at(100));
  t.notOk(existsSync(join(path, 'snapshot.new')));
});

t.test('a journal that a snapshot was made of is passed over', async (t) => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  await commits(store, 10);
  await store.close();
  const journal = readFileSync(join(path, 'journal'));
  const other = await DirectoryStore.open(path, { journalBytesMax: 1 });
  await commits(other, 1);
  await other.close();
  // As if it had crashed before it emptied the journal.
  writeFileSync(join(path, 'journal'), journal);
  t.strictSame(await look(path), at(11));
});

t.test('half a line at the end is cut; nobody was told of it', async (t) => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  await commits(store, 3);
  await store.close();
  const line = lineOf({ revision: 4, at: 0, ...changeOf(4) });
  for (const torn of [line.slice(0, 20), line.slice(0, -1), `${line.slice(0, 30)}\n`, '\0\0\0\0']) {
    appendFileSync(join(path, 'journal'), torn);
    t.strictSame(await look(path), at(3));
  }
  const again = await DirectoryStore.open(path);
  await commits(again, 1);
  await again.close();
  t.strictSame(await look(path), at(4));
});

t.test('what is damaged elsewhere is told with its place, and stays as it is', async (t) => {
  const path = folder();
  const store = await DirectoryStore.open(path);
  await commits(store, 3);
  await store.close();
  const journal = readFileSync(join(path, 'journal'), 'utf8');
  const snapshot = readFileSync(join(path, 'snapshot'), 'utf8');
  const lines = journal.split('\n');
  const withJournal = (text: string) => {
    writeFileSync(join(path, 'journal'), text);
    return refusal(path);
  };
  const damaged = 'expected a line with its checksum, received a damaged one';
  t.equal(await withJournal(journal.replace('change 2', 'change 5')), `DIR/journal:2: ${damaged}`);
  t.equal(
    await withJournal([lines[0], lines[2], ''].join('\n')),
    'DIR/journal:2: expected revision 2, received 3',
  );
  t.equal(readFileSync(join(path, 'journal'), 'utf8').split('\n').length, 3);
  writeFileSync(join(path, 'journal'), journal);
  const withSnapshot = (text: string) => {
    writeFileSync(join(path, 'snapshot'), text);
    return refusal(path);
  };
  t.equal(await withSnapshot(snapshot.slice(0, 30)), `DIR/snapshot:1: ${damaged}`);
  t.equal(
    await withSnapshot(`${snapshot.split('\n')[0]}\n`),
    'DIR/snapshot:1: expected the number of its records, received its end',
  );
  t.equal(
    await withSnapshot(lineOf({ gwlb: 'state', schema: SCHEMA + 1, revision: 0 })),
    `DIR/snapshot:1: expected schema 1, received 2: it belongs to a newer version of gwlb`,
  );
  t.equal(
    await withSnapshot(lineOf({ some: 'other' })),
    'DIR/snapshot:1: expected the state of a gwlb, received something else',
  );
});

t.test('whose it is, and who may read it', async (t) => {
  const path = folder();
  await look(path);
  const held = await DirectoryStore.open(path);
  t.match(await refusal(path), /^DIR: expected a folder for this process alone, received one that/);
  await held.close();
  chmodSync(path, 0o755);
  t.match(
    await refusal(path),
    'DIR: expected mode 0700, of the user who runs it, received mode 0755',
  );
  chmodSync(path, 0o700);
  chmodSync(join(path, 'journal'), 0o640);
  t.match(await refusal(path), /^DIR\/journal: expected a regular file of mode 0600/);
  chmodSync(join(path, 'journal'), 0o600);
  const link = folder();
  symlinkSync(path, link);
  t.match(await refusal(link), /^cannot keep the state in DIR: /);
  const other = folder();
  mkdirSync(other, { mode: 0o700 });
  symlinkSync(join(path, 'journal'), join(other, 'journal'));
  t.match(await refusal(other), /^cannot keep the state in DIR: /);
  t.strictSame(await look(path), at(0), 'and nothing of it is held');
});

t.test('a disk that is full or fails: the change is refused, and reading goes on', async (t) => {
  const path = folder();
  const disk = new FaultyDisk();
  const store = await DirectoryStore.open(path, { disk, journalBytesMax: 500 });
  await commits(store, 3);
  disk.room = 50;
  await t.rejects(store.commit(changeOf(4)), {
    code: 'ERR_GWLB_SYSTEM',
    cause: { code: 'ENOSPC' },
  });
  t.strictSame(store.entries(''), recordsAt(3));
  disk.room = Number.POSITIVE_INFINITY;
  for (const call of ['datasync', 'truncate'] as const) {
    disk.failing = [
      { call: 'datasync', code: 'EIO' },
      ...(call === 'truncate' ? [{ call, code: 'EIO' }] : []),
    ];
    await t.rejects(store.commit(changeOf(4)), { cause: { code: 'EIO' } });
    t.equal(store.revision, 3);
    await t.rejects(store.commit(changeOf(4)), { cause: { code: 'EIO' } });
  }
  disk.failing = [{ call: 'rename', code: 'EACCES' }];
  await commits(store, 20);
  disk.failing = [];
  disk.mostBytes = 7;
  await commits(store, 20);
  t.strictSame(store.entries(''), recordsAt(43), 'as if nothing had happened');
  await store.close();
  t.strictSame(await look(path), at(43));
});

t.test(
  'the machine stops anywhere: what was acknowledged is there, and nothing half',
  async (t) => {
    for (let run = 0; run < 200; run++) {
      const path = folder();
      const disk = new FaultyDisk();
      disk.stops = true;
      disk.room = 300 + run * 16;
      disk.mostBytes = 1 + (run % 400);
      let acknowledged = 0;
      try {
        const store = await DirectoryStore.open(path, { disk, journalBytesMax: 700 });
        const all = Array.from({ length: 40 }, (_, i) =>
          store.commit(changeOf(i + 1)).then((revision) => {
            acknowledged = Math.max(acknowledged, revision);
          }),
        );
        await Promise.allSettled(all);
        await store.close();
      } catch (error) {
        t.equal((error as GatewayError).code, 'ERR_GWLB_SYSTEM');
      }
      const { revision, records } = await look(path);
      if (revision < acknowledged) t.fail(`run ${run}: ${acknowledged} became ${revision}`);
      t.strictSame(records, recordsAt(revision), `run ${run}`);
      rmSync(path, { recursive: true });
    }
  },
);

/** Stores that one process writes to: each is somewhere else when it is killed. */
const STORES = 8;

t.test('kill -9 at any moment', { timeout: 1_800_000 }, async (t) => {
  const paths = Array.from({ length: STORES }, folder);
  const writer = fileURLToPath(new URL('./writer.js', import.meta.url));
  // Without what tap has each process of a test load first.
  const { NODE_OPTIONS: _, ...env } = process.env;
  const runs = WIDE ? 1_000 / STORES : 12;
  for (let run = 0; run < runs; run++) {
    const child = spawn(process.execPath, [writer, ...paths], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      said += text;
    });
    await once(child.stdout, 'data');
    setTimeout(() => child.kill('SIGKILL'), (run * 7) % 40);
    await once(child, 'close');
    const acknowledged = paths.map(() => 0);
    for (const [, store, revision] of said.matchAll(/^(\d+) (\d+)\n/gm)) {
      acknowledged[Number(store)] = Math.max(acknowledged[Number(store)], Number(revision));
    }
    for (const [store, path] of paths.entries()) {
      const { revision, records } = await look(path);
      if (revision < acknowledged[store]) {
        t.fail(`run ${run}, store ${store}: ${acknowledged[store]} became ${revision}`);
      }
      t.strictSame(records, recordsAt(revision), `run ${run}, store ${store}`);
    }
  }
});
