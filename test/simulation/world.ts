/** One load balancer from outside to inside, in one thread, in a time of its own. */
import type { GatewayError } from '../../src/base/errors.js';
import type { FleetCommand, FleetEvent } from '../../src/fleet/commands.js';
import { available } from '../../src/fleet/numbers.js';
import { emptyFleet, everyTarget, type Fleet, type GroupMembers } from '../../src/fleet/state.js';
import type { FleetTable } from '../../src/fleet/table.js';
import { zoneNumber } from '../../src/fleet/zones.js';
import { formatIpv4 } from '../../src/packet/address.js';
import { brokenInvariant } from '../fleet/invariants.js';
import { bytesOf, type Packet } from '../model/packets.js';
import { Connection, read } from './connection.js';
import { Core, type Fate } from './core.js';
import { Deadlines } from './deadlines.js';
import { type Scene, wrongFate, wronglyTold, wrongReturn } from './judge.js';
import { Network, type Returned } from './network.js';
import { Probes } from './probes.js';
import type { Seams } from './seams.js';
import { ENDPOINTS, FLOWS, LIMITS, type Setting, type Step } from './steps.js';

const SWEEP_MS = 5_000;
/** Between two packets of a conversation. */
const MOMENT_MS = 2;
/** What a load balancer begins with. */
const NOBODY: GroupMembers = {
  name: 'nobody',
  targets: [],
  policy: {
    failover: 'no_rebalance',
    resetOnUnhealthy: false,
    resetOnDeregistration: false,
    deregistrationDelayMs: 0,
    slowStartMs: 0,
    rule: null,
  },
};
/** A later fragment waits for so long. */
const HOLD_MS = 50;
/** The GENEVE header with the three options. */
const HEADER_BYTES = 40;

/** How much of everything was done. */
export interface Done {
  /** Packets that went to a target, and that came back to their endpoint. */
  forwarded: number;
  returned: number;
  /** Flows that went to another target, and packets that were refused. */
  moved: number;
  refused: number;
  /** Of the fleet. */
  events: number;
  restarts: number;
}

export class World {
  readonly #setting: Setting;
  readonly #seams: Seams;
  readonly #network: Network;
  readonly #probes: Probes;
  readonly #deadlines = new Deadlines();
  readonly #connections = Array.from({ length: FLOWS }, (_, n) => new Connection(n, 3));
  /** By slot: which registration has it. */
  readonly #owners = new Map<number, number>();
  #registrations = 0;
  #fleet: Fleet;
  #core: Core;
  #text = '';
  #now: number;
  #sweepAt: number;
  #heldUntil: number | null = null;
  #life = 0;
  readonly done: Done = { forwarded: 0, returned: 0, moved: 0, refused: 0, events: 0, restarts: 0 };

  constructor(setting: Setting, seams: Seams) {
    this.#setting = setting;
    this.#seams = seams;
    this.#network = new Network(setting.seed);
    this.#now = setting.startMs;
    this.#probes = new Probes(setting.startMs);
    this.#sweepAt = this.#now + SWEEP_MS;
    this.#fleet = emptyFleet(LIMITS, true, setting.crossZone);
    this.#core = new Core(setting);
    this.#seams.apply(this.#fleet, { type: 'useGroup', group: NOBODY }, this.#now);
    this.#publish();
  }

  close(): void {
    this.#core.close();
  }

  /** Does what the step says; what is wrong afterwards, or null. */
  run(step: Step): string | null {
    return this.#do(step) ?? this.#core.wrongCounters();
  }

  #do(step: Step): string | null {
    switch (step.do) {
      case 'talk':
        return this.#talk(step.flow, step.back, step.turns);
      case 'fragments':
        return this.#sendFragments(step.flow, step.tailFirst);
      case 'close':
        return this.#hangUp(step.flow, step.how);
      case 'stray':
        return this.#stray(step.flow);
      case 'wait':
        return this.#wait(step.ms);
      case 'weather':
        this.#network.weather = step.weather;
        return null;
      case 'appliance':
        this.#network.setAppliance(step.address, step.up);
        return null;
      case 'command':
        return this.#perform(step.command);
      case 'open':
        return this.#open(step.endpoint, step.zone);
      case 'remove':
        return this.#remove(step.endpoint);
      case 'restart':
        return this.#restart();
    }
  }

  /** Everything ends, and time goes by: no number may be missing then. */
  finish(): string | null {
    const ends: Step[] = [
      ...ENDPOINTS.map((endpoint): Step => ({ do: 'remove', endpoint })),
      { do: 'command', command: { type: 'setTargets', targets: [] } },
      { do: 'wait', ms: 8_000_000 },
    ];
    for (const step of ends) {
      const problem = this.run(step);
      if (problem !== null) return problem;
    }
    const { slots, indices, zones, targets } = this.#fleet;
    if (Object.keys(targets).length > 0) return `targets are left: ${Object.keys(targets)}`;
    if (zones.length > 0) return `zones are left: ${JSON.stringify(zones)}`;
    const free = [available(slots, this.#now), available(indices, this.#now)];
    const all = [LIMITS.targets, LIMITS.endpoints];
    return `${free}` === `${all}` ? null : `slots and indices that are free: ${free} of ${all}`;
  }

  // --- Packets

  #talk(number: number, back: boolean, turns: number): string | null {
    const connection = this.#connections[number];
    for (let turn = 0; turn < turns; turn++) {
      const fromServer = back === (turn % 2 === 0);
      const problem = this.#send(connection.next(fromServer)) ?? this.#wait(MOMENT_MS);
      if (problem !== null) return problem;
    }
    return null;
  }

  #sendFragments(number: number, tailFirst: boolean): string | null {
    const connection = this.#connections[number];
    if (connection.isTcp) return null;
    const pieces = connection.fragments();
    for (const piece of tailFirst ? [...pieces].reverse() : pieces) {
      const problem = this.#send(piece);
      if (problem !== null) return problem;
    }
    return null;
  }

  #hangUp(number: number, how: 'fin' | 'rst'): string | null {
    const connection = this.#connections[number];
    if (!connection.isTcp || !connection.isOpen) return null;
    if (how === 'rst') return this.#send(connection.rst());
    return this.#send(connection.fin(false)) ?? this.#send(connection.fin(true));
  }

  #stray(number: number): string | null {
    const connection = this.#connections[number];
    return connection.isTcp ? this.#send(connection.stray()) : null;
  }

  #send(packet: Packet): string | null {
    const bytes = bytesOf(packet);
    const endpoint = this.#endpointOf(this.#connections[read(bytes).flow]);
    if (!endpoint) return null;
    const fate = this.#core.enter(bytes, endpoint.index, this.#now);
    return this.#settle(bytes, fate) ?? this.#release();
  }

  #endpointOf(connection: Connection) {
    const { endpoints } = this.#fleet;
    const id = ENDPOINTS[connection.endpoint];
    return Object.hasOwn(endpoints, id) ? { id, ...endpoints[id] } : undefined;
  }

  #scene(): Scene {
    return {
      fleet: this.#fleet,
      table: this.#core.table as FleetTable,
      now: this.#now,
      owners: this.#owners,
      life: this.#life,
    };
  }

  /** What became of a packet that entered. */
  #settle(bytes: Uint8Array, fate: Fate): string | null {
    const { flow, flags, later } = read(bytes);
    const connection = this.#connections[flow];
    const endpoint = this.#endpointOf(connection);
    // A fragment that waited may come out when its endpoint is gone.
    if (!endpoint) return fate.verdict === 'forward' ? 'forwarded for nobody' : null;
    if (connection.index !== endpoint.index && !this.#setting.scopeGateway) connection.forget();
    const entering = { connection, flags, later, endpoint };
    const problem = wrongFate(this.#scene(), entering, fate);
    if (problem !== null) return `flow ${flow}: ${problem}`;
    if (fate.verdict === 'held') {
      this.#heldUntil ??= this.#now + HOLD_MS;
      return null;
    }
    if (fate.reason === 'flow_refused') {
      this.done.refused++;
      connection.refused();
    }
    if (fate.verdict !== 'forward') return null;
    this.done.forwarded++;
    // Without the ports of its first one it is a flow of its own.
    if (!later || this.#setting.stickiness !== 5) {
      const { pin, learnt } = connection;
      const isNew = fate.chosen && pin === null && !learnt;
      if (isNew && !connection.isGiven(this.#text, endpoint.index, fate.target)) {
        return `flow ${flow}: one table gave it two targets`;
      }
      this.#pin(connection, endpoint.index, fate);
      connection.seen(flags, this.#now);
    }
    this.#toAppliance(connection, endpoint.id, fate);
    return null;
  }

  #pin(connection: Connection, index: number, { target: slot, chosen }: Fate): void {
    const entry = this.#core.table?.targets.find((target) => target.slot === slot);
    const owner = this.#owners.get(slot) ?? -1;
    const generation = entry?.generation ?? -1;
    const { pin } = connection;
    const same = pin?.slot === slot && pin.owner === owner && pin.generation === generation;
    if (same && !chosen && connection.index === index) return;
    if (pin !== null && pin.slot !== slot) this.done.moved++;
    if (chosen) connection.forget();
    connection.pinned({ slot, owner, generation }, index);
  }

  #toAppliance(connection: Connection, endpoint: string, fate: Fate): void {
    const { bytes, address, target: slot } = fate;
    const owner = this.#owners.get(slot) ?? -1;
    const generation = connection.pin?.generation ?? -1;
    const note = { flow: connection.number, endpoint, slot, owner, generation, life: this.#life };
    this.#network.send(bytes, formatIpv4(address), address, this.#now, note);
  }

  #receive({ bytes, address, note }: Returned): string | null {
    const fate = this.#core.return(bytes, address, this.#now);
    const connection = this.#connections[note.flow];
    const problem = wrongReturn(this.#scene(), note, connection, fate);
    if (problem !== null) return `flow ${note.flow}: ${problem}`;
    if (fate.verdict !== 'forward') return null;
    this.done.returned++;
    if (connection.pin === null) connection.learnt = true;
    const inner = bytes.subarray(HEADER_BYTES);
    if (Buffer.compare(fate.bytes, inner) !== 0) return 'a packet came back as another';
    const { flags, sequence, later } = read(inner);
    if (!later) connection.delivered(flags, sequence);
    return null;
  }

  #release(): string | null {
    for (const fate of this.#core.release(this.#now)) {
      const inner = fate.verdict === 'forward' ? fate.bytes.subarray(HEADER_BYTES) : fate.bytes;
      const problem = this.#settle(inner, fate);
      if (problem !== null) return problem;
    }
    if (this.#core.held === 0) this.#heldUntil = null;
    return null;
  }

  // --- Commands

  #perform(command: FleetCommand): string | null {
    const before = JSON.stringify(this.#fleet);
    const twin: Fleet = JSON.parse(before);
    const { revision } = this.#fleet;
    const events = this.#apply(this.#fleet, command);
    const same = this.#apply(twin, command);
    const after = JSON.stringify(this.#fleet);
    if (typeof events === 'string' && after !== before) return `it threw ${events}, and changed`;
    if (JSON.stringify(events) !== JSON.stringify(same)) return 'a copy tells something else';
    if (after !== JSON.stringify(twin)) return 'a copy becomes another';
    if (typeof events === 'string') return null;
    this.done.events += events.length;
    const table = this.#core.table as FleetTable;
    if (this.#fleet.revision !== revision) this.#publish();
    this.#adopt();
    this.#probes.told(command);
    return (
      brokenInvariant(this.#fleet) ??
      this.#deadlines.check(this.#fleet, command, this.#now) ??
      this.#wrongTable() ??
      wronglyTold(table, this.#scene()) ??
      this.#wrongPins()
    );
  }

  /** Its events, or the code of its error. */
  #apply(fleet: Fleet, command: FleetCommand): FleetEvent[] | string {
    try {
      return this.#seams.apply(fleet, command, this.#now);
    } catch (error) {
      const { code } = error as GatewayError;
      if (code === undefined) throw error;
      return code;
    }
  }

  #publish(): void {
    const table = this.#seams.publish(this.#seams.tableOf(this.#fleet));
    this.#core.publish(table);
    this.#text = show(table);
  }

  /** What the data plane decides by is what the fleet says, also when that is read anew. */
  #wrongTable(): string | null {
    const copy: Fleet = JSON.parse(JSON.stringify(this.#fleet));
    return this.#text === show(this.#seams.tableOf(copy))
      ? null
      : 'the table in force is not the fleet';
  }

  /** Gives every registration a number of its own. */
  #adopt(): void {
    const slots = new Set(everyTarget(this.#fleet).map(({ slot }) => slot));
    for (const slot of this.#owners.keys()) if (!slots.has(slot)) this.#owners.delete(slot);
    for (const slot of slots) {
      if (!this.#owners.has(slot)) this.#owners.set(slot, ++this.#registrations);
    }
  }

  /** Nobody has a slot in which flows of a former owner are at home. */
  #wrongPins(): string | null {
    for (const connection of this.#connections) {
      const { pin, number } = connection;
      if (pin === null || !connection.isCertain(this.#now)) continue;
      const owner = this.#owners.get(pin.slot);
      const entry = this.#core.table?.targets.find(({ slot }) => slot === pin.slot);
      if (owner === undefined || owner === pin.owner || !entry) continue;
      if (entry.generation === pin.generation) return `flow ${number} is at home with a stranger`;
    }
    return null;
  }

  #open(id: string, zone: string): string | null {
    const known = Object.hasOwn(this.#fleet.endpoints, id);
    const problem = this.#perform({ type: 'addEndpoint', id, zone });
    if (problem !== null || known || !Object.hasOwn(this.#fleet.endpoints, id)) return problem;
    const { index } = this.#fleet.endpoints[id];
    this.#core.setEndpoint(index, id, zoneNumber(this.#fleet, zone));
    return this.#deadlines.indexTaken(index, this.#now);
  }

  #remove(id: string): string | null {
    if (!Object.hasOwn(this.#fleet.endpoints, id)) return null;
    const { index } = this.#fleet.endpoints[id];
    const unused = this.#core.packetsIn(index) === 0;
    this.#core.removeEndpoint(index);
    if (!unused) this.#deadlines.indexLeft(index, this.#now);
    return this.#perform({ type: 'removeEndpoint', id, unused });
  }

  #restart(): string | null {
    const saved = this.#seams.save(this.#fleet);
    const before = JSON.stringify(this.#fleet);
    this.#fleet = this.#seams.load(saved);
    if (JSON.stringify(this.#fleet) !== before) return 'what was loaded is not what was saved';
    this.#core.close();
    this.#core = new Core(this.#setting);
    this.#publish();
    for (const [id, { index, zone }] of Object.entries(this.#fleet.endpoints)) {
      this.#core.setEndpoint(index, id, zoneNumber(this.#fleet, zone));
    }
    for (const connection of this.#connections) connection.forget();
    this.#heldUntil = null;
    this.#life++;
    this.done.restarts++;
    return null;
  }

  // --- Time

  #wait(ms: number): string | null {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#nextMs();
      if (next > end) break;
      if (next < this.#now) return 'something is overdue';
      this.#now = next;
      const problem = this.#turn();
      if (problem !== null) return problem;
    }
    this.#now = end;
    return this.#deadlines.overdue(this.#fleet, this.#now) ?? this.#quiet();
  }

  #nextMs(): number {
    const instant = this.#seams.nextInstant(this.#fleet);
    const times = [this.#sweepAt, this.#probes.nextMs, this.#network.nextMs, this.#heldUntil];
    // What became due while a command was done is done now.
    if (instant !== null) times.push(Math.max(instant, this.#now));
    return Math.min(...times.filter((time) => time !== null));
  }

  /** Does what is due at this moment. */
  #turn(): string | null {
    for (const returned of this.#network.arrive(this.#now)) {
      const problem = this.#receive(returned);
      if (problem !== null) return problem;
    }
    if (this.#heldUntil !== null && this.#heldUntil <= this.#now) {
      const problem = this.#release();
      if (problem !== null) return problem;
      if (this.#core.held > 0) return 'a fragment waits for longer than it may';
    }
    for (const command of this.#probes.due(this.#fleet, this.#network, this.#now)) {
      const problem = this.#perform(command);
      if (problem !== null) return problem;
    }
    const unhealthy = this.#probes.wrongState(this.#fleet);
    if (unhealthy !== null) return unhealthy;
    if (this.#sweepAt <= this.#now) {
      this.#core.sweep(this.#now);
      this.#sweepAt = this.#now + SWEEP_MS;
    }
    return this.#tick();
  }

  #tick(): string | null {
    const instant = this.#seams.nextInstant(this.#fleet);
    if (instant === null || instant > this.#now) return null;
    const busy = (slot: number) => this.#core.flowsActive(slot);
    const idle = this.#seams.idleSlots(this.#fleet, this.#now, busy);
    const flows = new Map(everyTarget(this.#fleet).map(({ slot }) => [slot, busy(slot)]));
    const awaited = everyTarget(this.#fleet).filter(({ freeAt }) => freeAt === null);
    const problem = this.#perform({ type: 'tick', idle });
    if (problem !== null) return problem;
    for (const { slot } of awaited) {
      if (this.#owners.has(slot) || flows.get(slot) === 0) continue;
      return `slot ${slot} was given up with ${flows.get(slot)} flows`;
    }
    const next = this.#seams.nextInstant(this.#fleet);
    return next !== null && next <= this.#now ? 'time stands still' : null;
  }

  /** Between its instants time changes nothing. */
  #quiet(): string | null {
    const instant = this.#seams.nextInstant(this.#fleet);
    if (instant !== null && instant <= this.#now) return null;
    const copy: Fleet = JSON.parse(JSON.stringify(this.#fleet));
    const events = this.#seams.apply(copy, { type: 'tick', idle: [] }, this.#now);
    const table = show(this.#seams.tableOf(copy));
    if (events.length > 0) return `time changed ${events[0].target} before its instant`;
    return table === show(this.#seams.tableOf(this.#fleet)) ? null : 'time changed the table';
  }
}

export function show(value: unknown): string {
  return JSON.stringify(value, (_key, part) => (typeof part === 'bigint' ? `${part}` : part));
}
