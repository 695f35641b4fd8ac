/** A process that commits as fast as it can, says what was acknowledged, and is killed meanwhile. */
import { writeSync } from 'node:fs';
import { DirectoryStore } from '../../src/state/directory.js';
import { changeOf } from './changes.js';

const store = await DirectoryStore.open(process.argv[2], { journalBytesMax: 4096 });
writeSync(1, 'ready\n');
let next = store.revision;
async function commit(): Promise<void> {
  for (;;) {
    next += 1;
    writeSync(1, `${await store.commit(changeOf(next))}\n`);
  }
}
await Promise.all(Array.from({ length: 5 }, commit));
