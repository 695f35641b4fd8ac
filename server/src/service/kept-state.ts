/** What of a gateway outlives its process: its keys, and the state that its library has saved. */
import { randomBytes } from 'node:crypto';
import type { GatewayState } from 'gwlb';
import type { Config } from '../config/types.js';
import type { Logger } from '../observe/log.js';
import { DirectoryStore } from '../state/directory.js';
import type { ChangeSet, Json, StateStore } from '../state/store.js';
import { differences, recordsOf, stateOf } from './state-records.js';

/** How soon it is tried again where it could not be kept. */
const AGAIN_MS = 1_000;

/** A key that cookies were signed with, for as long as its cookies are good. */
interface FormerKey {
  readonly key: Uint8Array;
  readonly overlapSeconds: number;
}

export class KeptState {
  readonly #store: StateStore;
  readonly #log: Logger;
  /** As it is kept. */
  #records: Map<string, Json>;
  /** The newest that could not be kept. */
  #missing: GatewayState | null = null;
  #again: NodeJS.Timeout | null = null;
  #saving: Promise<unknown> = Promise.resolve();

  static async open(folder: string, log: Logger): Promise<KeptState> {
    return new KeptState(await DirectoryStore.open(folder), log);
  }

  constructor(store: StateStore, log: Logger) {
    this.#store = store;
    this.#log = log;
    this.#records = new Map(store.entries('fleet/'));
  }

  /** What the former process saved; undefined where there was none. The library checks it. */
  get gatewayState(): GatewayState | undefined {
    return stateOf(this.#records);
  }

  /**
   * The configuration with the keys that are in use: those of the file, else those of the former process, else
   * new ones. They are kept when this resolves; where nothing can be kept now it rejects.
   */
  async withKeys(config: Config): Promise<Config> {
    const { gateway } = config;
    const hashKey = gateway.hashKey ?? this.#key('key/hash') ?? randomBytes(16);
    const cookieKey = gateway.cookieKey ?? this.#key('key/cookie') ?? randomBytes(16);
    // For eyes, and written each time: a change that cannot be kept is not begun.
    const puts: Record<string, Json> = { configuration: summaryOf(config) };
    if (hexOf(hashKey) !== this.#store.read('key/hash')) puts['key/hash'] = hexOf(hashKey);
    const before = this.#store.read('key/cookie');
    if (hexOf(cookieKey) !== before) {
      puts['key/cookie'] = hexOf(cookieKey);
      const until = Date.now() + gateway.idleTimeout.tcpSeconds * 1000;
      if (before !== undefined) puts['key/cookie-before'] = { key: before, until };
    }
    await this.#store.commit({ puts, deletes: [], cause: 'a configuration' });
    return { ...config, gateway: { ...gateway, hashKey, cookieKey } };
  }

  /** The cookie key before the one in use, while cookies that it signed are good. */
  get formerCookieKey(): FormerKey | null {
    const before = this.#store.read('key/cookie-before') as
      | { key: string; until: number }
      | undefined;
    const left = before ? Math.ceil((before.until - Date.now()) / 1000) : 0;
    if (!before || left <= 0) return null;
    return { key: Buffer.from(before.key, 'hex'), overlapSeconds: Math.min(left, 6000) };
  }

  /** Keeps it; where that fails it is told, and tried again until it is kept. */
  readonly save = (state: GatewayState): Promise<void> => {
    const saved = this.#saving.then(() => this.#save(state));
    this.#saving = saved.catch(() => {});
    return saved;
  };

  async close(): Promise<void> {
    if (this.#again) clearTimeout(this.#again);
    await this.#saving;
    await this.#store.close();
  }

  async #save(state: GatewayState): Promise<void> {
    const records = recordsOf(state);
    const change: ChangeSet = { ...differences(this.#records, records), cause: 'fleet' };
    try {
      if (Object.keys(change.puts).length + change.deletes.length > 0) {
        await this.#store.commit(change);
      }
    } catch (error) {
      if (this.#missing === null) {
        const { message } = error as Error;
        this.#log.error({ event: 'state_not_saved', error: message }, 'the state cannot be saved');
      }
      this.#missing = state;
      this.#again ??= setTimeout(() => this.#saveAgain(), AGAIN_MS).unref();
      throw error;
    }
    this.#records = records;
    if (this.#missing !== null)
      this.#log.info({ event: 'state_saved' }, 'the state is saved again');
    this.#missing = null;
  }

  #saveAgain(): void {
    this.#again = null;
    if (this.#missing !== null) void this.save(this.#missing).catch(() => {});
  }

  #key(name: string): Uint8Array | undefined {
    const text = this.#store.read(name);
    return typeof text === 'string' ? Buffer.from(text, 'hex') : undefined;
  }
}

function summaryOf({ gateway, targetGroup, endpoints }: Config): Json {
  const { name, address, port } = gateway;
  const at = new Date().toISOString();
  const counts = { targets: targetGroup.targets.length, endpoints: endpoints.length };
  return { at, name, address, port, targetGroup: targetGroup.name, ...counts };
}

function hexOf(key: Uint8Array): string {
  return Buffer.from(key).toString('hex');
}
