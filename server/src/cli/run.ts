/** `gwlb run`: a gateway in the foreground, until a signal ends it. */

import { randomBytes } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { GatewayError, limitPrivileges } from 'gwlb';
import { type Config, loadConfig, problemLine } from '../config/config.js';
import type { ReloadResult } from '../config/reload.js';
import { numberArgument } from '../errors.js';
import { type Logger, makeLogger } from '../observe/log.js';
import { Recorder } from '../observe/recorder.js';
import type { RecordingLimits } from '../observe/recordings.js';
import { KeptState } from '../service/kept-state.js';
import { TO_START, toGoOn } from '../service/privileges.js';
import { Service } from '../service/service.js';
import { onSignal, untilStopped } from '../service/signals.js';

export interface RunArguments {
  /** Seconds to keep for a replay. */
  record?: string;
  recordDir: string;
  /** Recordings kept in the folder, and their bytes. */
  recordKeep: string;
  recordBytes: string;
  /** TUN devices go with the gateway, also those that an earlier run left. */
  removeDevices: boolean;
  /** Who to become before anything is opened. */
  user?: string;
  /** False: no privilege is given up. */
  dropPrivileges: boolean;
  /** Folder of what outlives the process. */
  state?: string;
}

const RECORD_SECONDS_MAX = 3600;
const RECORD_KEEP_MAX = 100_000;
/** One recording has less. */
const RECORD_BYTES_MIN = 128 << 20;

/** A gateway that records, and what belongs to it. */
class RunRecorder {
  readonly #seconds: number;
  readonly #directory: string;
  readonly #limits: RecordingLimits;
  readonly #keys = { hashKey: randomBytes(16), cookieKey: randomBytes(16) };
  #recorder: Recorder | null = null;
  /** The configuration in force. */
  config: Config;

  /** Null where nothing is to be recorded. Throws what is wrong with an argument. */
  static of(given: RunArguments, config: Config): RunRecorder | null {
    if (given.record === undefined) return null;
    const seconds = numberArgument('--record', given.record, 1, RECORD_SECONDS_MAX);
    try {
      accessSync(given.recordDir, constants.W_OK);
    } catch {
      throw GatewayError.invalidArgument(
        '--record-dir',
        'a folder that can be written to',
        given.recordDir,
      );
    }
    const keep = numberArgument('--record-keep', given.recordKeep, 1, RECORD_KEEP_MAX);
    const max = Number.MAX_SAFE_INTEGER;
    const bytes = numberArgument('--record-bytes', given.recordBytes, RECORD_BYTES_MIN, max);
    return new RunRecorder(config, seconds, given.recordDir, { keep, bytes });
  }

  private constructor(config: Config, seconds: number, directory: string, limits: RecordingLimits) {
    this.config = config;
    this.#limits = limits;
    this.#seconds = seconds;
    this.#directory = directory;
  }

  /**
   * The configuration, with keys that a replay can be told where it has none: with them it chooses the
   * same targets.
   */
  withKeys(config: Config): Config {
    return { ...config, gateway: { ...this.#keys, ...config.gateway } };
  }

  /** Those in use are these. */
  useKeys({ hashKey, cookieKey }: Config['gateway']): void {
    Object.assign(this.#keys, { hashKey, cookieKey });
  }

  async start({ gateway }: Service, log: Logger): Promise<void> {
    this.#recorder = await Recorder.begin({
      gateway,
      config: () => this.config,
      keys: this.#keys,
      seconds: this.#seconds,
      directory: this.#directory,
      limits: this.#limits,
      log,
    });
  }

  write(): void {
    void this.#recorder?.write('SIGUSR2');
  }

  async close(): Promise<void> {
    await this.#recorder?.close();
  }
}

/** The same with devices that end with it. */
function withoutDevices(config: Config): Config {
  const endpoints = config.endpoints.map((endpoint) => {
    const { tun } = endpoint;
    if (tun === undefined) return endpoint;
    const name = typeof tun === 'string' ? tun : tun.name;
    return { ...endpoint, tun: { name, persistent: false } };
  });
  return { ...config, endpoints };
}

/** Keeps what a start needs, as this user where one is named. */
function becomeUser(user: string | undefined): void {
  try {
    limitPrivileges(TO_START, user);
  } catch (error) {
    throw error instanceof GatewayError && error.field === 'user' ? error.at('--user') : error;
  }
}

/** Resolves with the exit code, when it was stopped. */
export async function run(path: string, given: RunArguments, version: string): Promise<number> {
  if (!given.dropPrivileges && given.user !== undefined) {
    throw GatewayError.invalidArgument(
      '--user',
      'nothing together with --no-drop-privileges',
      given.user,
    );
  }
  // Before anything is opened: what can be at the start can be at a reload too.
  if (given.dropPrivileges) becomeUser(given.user);
  const loaded = loadConfig(path);
  if (!loaded.ok) {
    for (const problem of loaded.problems) console.error(problemLine(path, problem));
    return 2;
  }
  const recording = RunRecorder.of(given, loaded.config);
  const log = makeLogger(loaded.config.log.level);
  let kept: KeptState | null = null;
  const prepared = async (read: Config): Promise<Config> => {
    let config = given.removeDevices ? withoutDevices(read) : read;
    if (kept) {
      config = await kept.withKeys(config);
      recording?.useKeys(config.gateway);
    }
    return recording?.withKeys(config) ?? config;
  };
  const stopped = untilStopped();
  const reload = async (service: Service): Promise<ReloadResult> => {
    service.reopenLogs();
    const again = loadConfig(path);
    if (!again.ok) {
      return service.refuse(again.problems.map((problem) => problemLine(path, problem)));
    }
    let config: Config;
    try {
      config = await prepared(again.config);
    } catch (error) {
      return service.refuse([(error as Error).message]);
    }
    const result = await service.reload(config);
    if (result.applied && recording) recording.config = again.config;
    return result;
  };
  const write = (): void => {
    if (recording) recording.write();
    else log.warn({ event: 'no_recording' }, 'nothing is recorded: that takes --record SECONDS');
  };
  try {
    if (given.state !== undefined) kept = await KeptState.open(given.state, log);
    const config = await prepared(loaded.config);
    const service = await Service.start(config, log, version, reload, kept);
    await recording?.start(service, log);
    if (given.dropPrivileges) limitPrivileges(toGoOn(loaded.config));
    // What came before the start was over: the file is read once more.
    onSignal('SIGHUP', () => void reload(service));
    onSignal('SIGUSR2', write);
    const signal = await stopped;
    await service.stop(signal);
    return service.failure === null ? 0 : 1;
  } catch (error) {
    // The configuration is faultless in itself: what was refused is the system's doing.
    const message = error instanceof Error ? error.message : String(error);
    log.fatal({ event: 'failed', error: message }, 'failed');
    console.error(`gwlb: ${message}`);
    return 1;
  } finally {
    await recording?.close();
    await kept?.close();
  }
}
