/** The flow log: a line of JSON for every flow that ends, and for live ones in an interval. */
import { type FlowEvent, GatewayError, type GatewayLoadBalancer } from 'gwlb';
import { type FlowLogConfig, STANDARD_OUTPUT } from '../config/types.js';
import { FlowRecords } from './flow-records.js';
import { checkWritable, FileSink, type FlowSink, type FlowSinkEvents } from './flow-sink.js';
import type { Logger } from './log.js';

/** Bytes that may wait to be written; records beyond them are lost, and counted. */
const WAITING_MAX = 16 << 20;

/** How often it is looked whether anything was lost. */
const LOOK_MS = 5000;

/** A file that fails is told about once in so long. */
const TELL_MS = 60_000;

export interface FlowLogTotals {
  /** Records that are in the file. */
  records: number;
  /** Records that found no room because the file is slow or fails, or were left at the end. */
  recordsLost: number;
  /** Flow events that were lost before. */
  eventsLost: number;
}

/** What a flow log needs of a gateway. */
export type FlowSource = Pick<
  GatewayLoadBalancer,
  'name' | 'targetGroup' | 'on' | 'off' | 'counters' | 'setFlowReports'
>;

export class FlowLog {
  readonly #gateway: FlowSource;
  readonly #log: Logger;
  readonly #sink: FlowSink;
  readonly #records: FlowRecords;
  readonly #timer: NodeJS.Timeout;
  readonly #onFlow = (event: FlowEvent) => this.#take(event);
  readonly #totals: FlowLogTotals = { records: 0, recordsLost: 0, eventsLost: 0 };
  /** Lost, and not written down as such yet. */
  #owed = { events: 0, records: 0 };
  /** The gateway's count of lost events that is accounted for. */
  #eventsSeen: number;
  #path: string;
  #toldAt = Number.NEGATIVE_INFINITY;

  /** Begins to log. Throws a GatewayError, field `flowLog.path`, where the file cannot be opened. */
  constructor(
    gateway: FlowSource,
    config: FlowLogConfig,
    log: Logger,
    sink?: (events: FlowSinkEvents) => FlowSink,
  ) {
    this.#gateway = gateway;
    this.#log = log;
    this.#path = config.path;
    this.#sink = sink ? sink(this.#sinkEvents()) : this.#open();
    this.#records = new FlowRecords(gateway.name, gateway.targetGroup.scope === 'endpoint');
    this.#eventsSeen = gateway.counters().eventsLost;
    gateway.setFlowReports(config.intervalSeconds);
    gateway.on('flow', this.#onFlow);
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  /** What it has done. */
  get totals(): Readonly<FlowLogTotals> {
    return this.#totals;
  }

  /** Throws, field `flowLog.path`, where `configure` could not open its file. */
  static check({ path }: FlowLogConfig): void {
    if (path !== STANDARD_OUTPUT) attempt(path, () => checkWritable(path));
  }

  /** Goes on in another file, or interval. */
  configure({ path, intervalSeconds }: FlowLogConfig): void {
    this.#gateway.setFlowReports(intervalSeconds);
    if (path === this.#path) return;
    attempt(path, () => this.#sink.reopen(path));
    this.#path = path;
  }

  /** Goes on in a new file of the same name, since the old one was moved away. */
  reopen(): void {
    try {
      this.#sink.reopen(this.#path);
    } catch (error) {
      this.#tellFailure(error as Error);
    }
  }

  /** Writes what waits, for up to 5 s. Flows that a closed gateway ended have their records by then. */
  async close(): Promise<void> {
    this.#gateway.off('flow', this.#onFlow);
    clearInterval(this.#timer);
    this.#look();
    const { bytes, records: left } = await this.#sink.close();
    this.#totals.recordsLost += left;
    const records = this.#owed.records + left;
    if (bytes === 0 && records === 0) return;
    const fields = { path: this.#path, bytes, records };
    this.#log.error(
      { event: 'flow_log_lost', ...fields },
      'the end of the flow log was not written',
    );
  }

  #open(): FlowSink {
    const path = this.#path;
    const file = path === STANDARD_OUTPUT ? null : path;
    return attempt(path, () => new FileSink(file, this.#sinkEvents()));
  }

  #sinkEvents(): FlowSinkEvents {
    return {
      written: (records) => {
        this.#totals.records += records;
      },
      failed: (error) => this.#tellFailure(error),
    };
  }

  #take(event: FlowEvent): void {
    const record = this.#records.of(event);
    if (record === null) return;
    if (this.#owed.events + this.#owed.records > 0) this.#writeOwed();
    if (this.#write(record, 1)) return;
    this.#totals.recordsLost += 1;
    this.#owed.records += 1;
  }

  /** False where there is no room. */
  #write(record: object, records: number): boolean {
    const line = `${JSON.stringify(record)}\n`;
    if (this.#sink.waiting + line.length > WAITING_MAX) return false;
    this.#sink.write(line, records);
    return true;
  }

  #writeOwed(): void {
    const lost = {
      time: new Date().toISOString(),
      type: 'lost',
      gateway: this.#gateway.name,
      ...this.#owed,
    };
    if (this.#write(lost, 0)) this.#owed = { events: 0, records: 0 };
  }

  #look(): void {
    const { eventsLost } = this.#gateway.counters();
    const events = eventsLost - this.#eventsSeen;
    this.#eventsSeen = eventsLost;
    this.#totals.eventsLost += events;
    this.#owed.events += events;
    const { records } = this.#owed;
    if (this.#owed.events + records === 0) return;
    const fields = { path: this.#path, events: this.#owed.events, records };
    this.#log.warn({ event: 'flow_log_lost', ...fields }, 'flows are missing in the flow log');
    this.#writeOwed();
  }

  #tellFailure(error: Error): void {
    const now = performance.now();
    if (now - this.#toldAt < TELL_MS) return;
    this.#toldAt = now;
    const fields = { path: this.#path, error: error.message };
    this.#log.error({ event: 'flow_log_failed', ...fields }, 'the flow log cannot be written');
  }
}

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const told = GatewayError.fromSystemError(error, `write the flow log ${path}`);
    throw told.at('flowLog.path');
  }
}
