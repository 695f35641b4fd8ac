/** What is kept of a gateway: its keys, and its state as often as it takes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../../../test/support/until.js';
import { parseConfig } from '../../src/config/config.js';
import { KeptState } from '../../src/service/kept-state.js';
import { DirectoryStore } from '../../src/state/directory.js';
import { logged } from '../observe/log-rig.js';
import { FaultyDisk } from '../state/faulty-disk.js';

const folder = mkdtempSync(join(tmpdir(), 'gwlb-kept-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

function config(more = '') {
  const loaded = parseConfig(`gateway: { address: 127.87.0.1${more} }\n`);
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
  return loaded.config;
}

const STATE = {
  version: 1,
  group: 1,
  groups: [],
  zones: [],
  targets: [],
  freeSlots: [],
  endpoints: [],
  freeIndices: [],
} as const;

t.test(
  'keys: of the file, else of before, else new; the cookie key before stays good',
  async (t) => {
    const path = join(folder, 'keys');
    const { log } = logged();
    const first = await KeptState.open(path, log);
    const keys = (await first.withKeys(config())).gateway;
    t.equal(keys.hashKey?.length, 16);
    t.notSame(keys.hashKey, keys.cookieKey);
    t.equal(first.formerCookieKey, null);
    await first.close();

    const second = await KeptState.open(path, log);
    t.match((await second.withKeys(config())).gateway, {
      hashKey: Buffer.from(keys.hashKey ?? []),
      cookieKey: Buffer.from(keys.cookieKey ?? []),
    });
    const given = await second.withKeys(config(', cookieKey: "00112233445566778899aabbccddeeff"'));
    t.equal(
      Buffer.from(given.gateway.cookieKey ?? [])
        .toString('hex')
        .slice(0, 8),
      '00112233',
    );
    await second.close();

    const third = await KeptState.open(path, log);
    const { gateway } = await third.withKeys(config());
    t.same(gateway.cookieKey, given.gateway.cookieKey, 'also when the file has it no more');
    const former = third.formerCookieKey;
    t.same(former?.key, keys.cookieKey);
    t.ok((former?.overlapSeconds ?? 0) > 300 && (former?.overlapSeconds ?? 0) <= 350);
    await third.close();
  },
);

t.test('a disk that is full: told once, tried until it is kept', async (t) => {
  const path = join(folder, 'full');
  const disk = new FaultyDisk();
  const { log, entries } = logged();
  const kept = new KeptState(await DirectoryStore.open(path, { disk }), log);
  t.equal(kept.gatewayState, undefined);
  await kept.save(STATE);
  disk.room = 0;
  await t.rejects(kept.save({ ...STATE, group: 2 }), { code: 'ERR_GWLB_SYSTEM' });
  await t.rejects(kept.save({ ...STATE, group: 3 }), { code: 'ERR_GWLB_SYSTEM' });
  t.match(entries, [{ event: 'state_not_saved', error: /space|ENOSPC/ }]);
  await t.rejects(kept.withKeys(config()), { code: 'ERR_GWLB_SYSTEM' }, 'nothing new is begun');
  disk.room = Number.POSITIVE_INFINITY;
  const events = () => entries.map(({ event }) => event);
  await until(events, (all) => all.includes('state_saved'), 'the next try');
  await kept.close();
  const again = await KeptState.open(path, log);
  t.match(again.gatewayState, { group: 3 });
  await again.close();
});
