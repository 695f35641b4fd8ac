/**
 * A store in a folder: a snapshot of all records, and a journal of what has changed since. Both are lines of
 * JSON with a checksum each. Nothing is guessed: the journal may end in the middle of a line, which nobody was
 * told of; whatever else is damaged is told with its place, and nothing is opened.
 */
import type { Server } from 'node:net';
import { join } from 'node:path';
import { GatewayError } from 'gwlb';
import { DISK, type Disk, type File, linesOf, writeAll } from './disk.js';
import { lineOf, readLine } from './lines.js';
import { holdFolder } from './lock.js';
import { checkRevision, Records } from './records.js';
import type { ChangeSet, Json, StateStore } from './store.js';

/** Of the records; a newer one is not understood, an older one is brought up to date when it is opened. */
export const SCHEMA = 1;

/** A longer journal is replaced by a snapshot. */
const JOURNAL_BYTES_MAX = 4 << 20;
/** Written at a time. */
const PIECE_CHARACTERS = 65_536;

interface Waiting {
  readonly change: ChangeSet;
  readonly expectedRevision: number | undefined;
  readonly resolve: (revision: number) => void;
  readonly reject: (error: unknown) => void;
}

export interface DirectoryOptions {
  readonly disk?: Disk;
  readonly journalBytesMax?: number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

export class DirectoryStore implements StateStore {
  readonly #path: string;
  readonly #disk: Disk;
  readonly #now: () => number;
  readonly #journalBytesMax: number;
  readonly #records: Records;
  readonly #lock: Server;
  readonly #folder: File;
  readonly #journal: File;
  #revision: number;
  /** Up to here the journal is whole. */
  #end: number;
  /** What is behind that may be half of a change. */
  #torn = false;
  /** A journal of this length is replaced. */
  #replaceAt: number;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | null = null;
  #closed = false;

  /**
   * Opens the folder, and makes it where there is none. Rejects, with the path as field, where another process
   * has it, others may read it, it is of a newer version, or it is damaged.
   */
  static async open(path: string, options: DirectoryOptions = {}): Promise<DirectoryStore> {
    const { disk = DISK } = options;
    const opened: { close(): unknown }[] = [];
    const keep = <T extends { close(): unknown }>(one: T): T => {
      opened.unshift(one);
      return one;
    };
    try {
      await disk.makeFolder(path);
      const folder = keep(await disk.openFolder(path));
      await checkPrivate(folder, path);
      const lock = keep(await holdFolder(folder, path));
      const snapshot = keep(await disk.open(join(path, 'snapshot')));
      await checkPrivate(snapshot, join(path, 'snapshot'));
      const journal = keep(await disk.open(join(path, 'journal')));
      await checkPrivate(journal, join(path, 'journal'));
      await disk.remove(join(path, 'snapshot.new'));
      const records = new Records();
      const before = await readSnapshot(snapshot, join(path, 'snapshot'), records);
      await snapshot.close();
      const read = await readJournal(journal, join(path, 'journal'), records, before);
      if (read.torn) await journal.truncate(read.end);
      const store = new DirectoryStore(path, options, records, lock, folder, journal, read);
      if (before === null) await store.#replaceJournal();
      return store;
    } catch (error) {
      for (const one of opened) await one.close();
      throw told(error, path);
    }
  }

  private constructor(
    path: string,
    options: DirectoryOptions,
    records: Records,
    lock: Server,
    folder: File,
    journal: File,
    read: { revision: number; end: number },
  ) {
    this.#path = path;
    this.#disk = options.disk ?? DISK;
    this.#now = options.now ?? Date.now;
    this.#journalBytesMax = options.journalBytesMax ?? JOURNAL_BYTES_MAX;
    this.#replaceAt = this.#journalBytesMax;
    this.#records = records;
    this.#lock = lock;
    this.#folder = folder;
    this.#journal = journal;
    this.#revision = read.revision;
    this.#end = read.end;
  }

  get revision(): number {
    return this.#revision;
  }

  read(key: string): Json | undefined {
    return this.#records.read(key);
  }

  entries(prefix: string): [string, Json][] {
    return this.#records.entries(prefix);
  }

  commit(change: ChangeSet, expectedRevision?: number): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new GatewayError('ERR_GWLB_CLOSED', 'the state was closed'));
        return;
      }
      this.#waiting.push({ change, expectedRevision, resolve, reject });
      this.#start();
    });
  }

  #start(): void {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = null;
      // What came when it had looked for the last time.
      if (this.#waiting.length > 0) this.#start();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    while (this.#writing !== null) await this.#writing;
    await this.#journal.close();
    await this.#folder.close();
    this.#lock.close();
  }

  /** All that wait are written and brought to the disk together. */
  async #write(): Promise<void> {
    // What is committed in the same turn goes with it.
    await null;
    while (this.#waiting.length > 0) {
      const waiting = this.#waiting.splice(0);
      const taken: (Waiting & { readonly revision: number })[] = [];
      const lines: string[] = [];
      for (const one of waiting) {
        const revision = this.#revision + taken.length + 1;
        const { change, expectedRevision } = one;
        try {
          checkRevision(expectedRevision, revision - 1);
          lines.push(lineOf({ revision, at: this.#now(), ...change }));
          taken.push({ ...one, revision });
        } catch (error) {
          one.reject(error);
        }
      }
      if (taken.length === 0) continue;
      try {
        await this.#append(lines.join(''));
      } catch (error) {
        for (const { reject } of taken) reject(told(error, this.#path));
        continue;
      }
      for (const { change } of taken) this.#records.apply(change);
      this.#revision += taken.length;
      for (const { resolve, revision } of taken) resolve(revision);
      if (this.#end >= this.#replaceAt) await this.#replaceJournal().catch(() => this.#putOff());
    }
  }

  async #append(text: string): Promise<void> {
    if (this.#torn) await this.#journal.truncate(this.#end);
    this.#torn = true;
    const bytes = await writeAll(this.#journal, text, this.#end);
    await this.#journal.datasync();
    this.#end += bytes;
    this.#torn = false;
  }

  /** The journal goes on; room on the disk may come. */
  #putOff(): void {
    this.#replaceAt = this.#end + this.#journalBytesMax;
  }

  /** Writes a snapshot, after which the journal is empty. */
  async #replaceJournal(): Promise<void> {
    const fresh = join(this.#path, 'snapshot.new');
    const file = await this.#disk.open(fresh);
    try {
      await file.truncate(0);
      await this.#writeSnapshot(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.#disk.rename(fresh, join(this.#path, 'snapshot'));
    await this.#folder.sync();
    // What is in the journal still is older than the snapshot: the next one to open it passes it over.
    await this.#journal.truncate(0);
    this.#end = 0;
    this.#torn = false;
    this.#replaceAt = this.#journalBytesMax;
  }

  async #writeSnapshot(file: File): Promise<void> {
    let at = 0;
    const revision = this.#revision;
    let text = lineOf({ gwlb: 'state', schema: SCHEMA, revision, at: this.#now() });
    for (const [key, value] of this.#records) {
      text += lineOf({ key, value });
      if (text.length < PIECE_CHARACTERS) continue;
      at += await writeAll(file, text, at);
      text = '';
    }
    await writeAll(file, text + lineOf({ records: this.#records.size }), at);
  }
}

/** Throws where others than its owner could read or change it. */
async function checkPrivate(file: File, path: string): Promise<void> {
  const stat = await file.stat();
  const expected = stat.isDirectory() ? 'mode 0700' : 'a regular file of mode 0600';
  const wrong = (received: string) =>
    GatewayError.mismatch(
      'ERR_GWLB_CONFIG',
      path,
      `${expected}, of the user who runs it`,
      received,
    );
  if (!stat.isDirectory() && !stat.isFile()) throw wrong('another kind of file');
  if ((stat.mode & 0o077) !== 0)
    throw wrong(`mode ${(stat.mode & 0o777).toString(8).padStart(4, '0')}`);
  if (stat.uid !== process.geteuid?.()) throw wrong(`that of user ${stat.uid}`);
}

function damaged(path: string, line: number, expected: string, received: string): GatewayError {
  return GatewayError.mismatch('ERR_GWLB_CONFIG', `${path}:${line}`, expected, received);
}

/** Its revision; null where there is no snapshot yet. */
async function readSnapshot(file: File, path: string, records: Records): Promise<number | null> {
  let revision: number | null = null;
  let ended = false;
  let last = 0;
  for await (const { text, number, whole } of linesOf(file)) {
    const value = whole ? readLine(text) : undefined;
    if (!value || ended) throw damaged(path, number, 'a line with its checksum', 'a damaged one');
    last = number;
    if (revision === null) revision = checkHeader(path, value);
    else if (typeof value.key === 'string') records.put(value.key, value.value);
    else ended = value.records === records.size;
  }
  if (revision !== null && !ended)
    throw damaged(path, last, 'the number of its records', 'its end');
  return revision;
}

function checkHeader(path: string, { gwlb, schema, revision }: Record<string, Json>): number {
  if (gwlb !== 'state' || typeof schema !== 'number' || typeof revision !== 'number') {
    throw damaged(path, 1, 'the state of a gwlb', 'something else');
  }
  if (schema === SCHEMA) return revision;
  const told = `${schema}: it belongs to ${schema > SCHEMA ? 'a newer' : 'another'} version of gwlb`;
  throw damaged(path, 1, `schema ${SCHEMA}`, told);
}

/** Brings the records up to date; where the journal's whole lines end. */
async function readJournal(
  file: File,
  path: string,
  records: Records,
  snapshot: number | null,
): Promise<{ revision: number; end: number; torn: boolean }> {
  let revision = snapshot ?? 0;
  let end = 0;
  let bad: number | null = null;
  for await (const { text, number, offset, whole } of linesOf(file)) {
    if (bad !== null) throw damaged(path, bad, 'a line with its checksum', 'a damaged one');
    const value = whole ? readLine(text) : undefined;
    if (!value) {
      bad = number;
      continue;
    }
    end = offset + Buffer.byteLength(text) + 1;
    // A crash came between a snapshot and the end of its journal.
    if ((value.revision as number) <= (snapshot ?? 0)) continue;
    if (value.revision !== revision + 1) {
      throw damaged(path, number, `revision ${revision + 1}`, String(value.revision));
    }
    records.apply(value as unknown as ChangeSet);
    revision += 1;
  }
  return { revision, end, torn: bad !== null };
}

function told(error: unknown, path: string): GatewayError {
  return GatewayError.fromSystemError(error, `keep the state in ${path}`);
}
