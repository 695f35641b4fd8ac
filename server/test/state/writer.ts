/**
 * A process that commits to the stores that it is given as fast as it can, says what was acknowledged
 * ("store revision"), and is killed meanwhile.
 */
import { writeSync } from 'node:fs';
import { DirectoryStore } from '../../src/state/directory.js';
import { changeOf } from './changes.js';

async function write(path: string, number: number): Promise<void> {
  const store = await DirectoryStore.open(path, { journalBytesMax: 4096 });
  let next = store.revision;
  const commit = async (): Promise<void> => {
    for (;;) {
      next += 1;
      writeSync(1, `${number} ${await store.commit(changeOf(next))}\n`);
    }
  };
  await Promise.all(Array.from({ length: 5 }, commit));
}

await Promise.all(process.argv.slice(2).map(write));
