/** The unit file, as systemd reads it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { ROOT } from '../../../test/support/places.js';
import { cannotRun, whyMissing } from '../../../test/support/wide.js';

const UNIT = 'gwlb-appliance.service';
const text = readFileSync(join(ROOT, 'server/systemd', UNIT), 'utf8');

t.test('it gives two capabilities and no others', async (t) => {
  for (const key of ['AmbientCapabilities', 'CapabilityBoundingSet']) {
    const values = [...text.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].map(([, value]) => value);
    t.strictSame(values, ['CAP_NET_ADMIN CAP_NET_BIND_SERVICE'], key);
  }
  t.match(text, /^DeviceAllow=\/dev\/net\/tun rw$/m);
  t.match(text, /^NoNewPrivileges=yes$/m);
});

const reason = whyMissing('systemd-analyze');
if (reason !== null) {
  cannotRun(t, reason);
} else {
  t.test('systemd finds nothing wrong with it', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'gwlb-unit-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const path = join(folder, UNIT);
    // Where the command is installed is the machine's affair.
    writeFileSync(path, text.replace('/usr/local/bin/gwlb', process.execPath));
    const run = spawnSync('systemd-analyze', ['verify', path], { encoding: 'utf8' });
    t.strictSame([run.status, run.stderr], [0, '']);
  });
}
