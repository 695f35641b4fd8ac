/** What the demo's processes tell each other. */

/** One HTTP request of the client, as it experienced it. */
export interface RequestResult {
  ok: boolean;
  status: number;
  /** Milliseconds until the answer was complete, or until the client gave up. */
  ms: number;
  /** The connection's ends: `203.0.113.9:40000` and `10.0.2.10:80`. */
  client: string;
  server: string;
  /** What went wrong. */
  error?: string;
  /** What the load balancer and the application server put into the answer. */
  seen?: { client: string; balancer: string; application: string };
}

/** Packets of one connection that one appliance saw. */
export interface SeenFlow {
  /** Ends in the order client, server. */
  client: string;
  server: string;
  cookie: number;
  endpoint: string;
  toServer: number;
  toClient: number;
  dropped: number;
}

/** One packet of the connection that is being followed. */
export interface SeenPacket {
  /** Milliseconds since the epoch, with fractions. */
  at: number;
  toServer: boolean;
  bytes: number;
  tcpFlags: string;
  cookie: number;
  endpoint: string;
  /** Outer UDP source port it came with. */
  outerSourcePort: number;
  verdict: 'pass' | 'drop';
}

export interface FlowNote {
  type: 'opened' | 'moved' | 'ended' | 'lives';
  at: number;
  end: string | null;
  protocol: string;
  client: string;
  server: string;
  endpoint: string;
  target: string;
  previous: string | null;
  cookie: number;
}

export interface HealthNote {
  target: string;
  previous: string;
  state: string;
  reason: string | null;
  at: number;
}

export interface TargetView {
  id: string;
  address: string;
  zone: string;
  state: string;
  reason: string | null;
  flowsActive: number;
  flowsNew: number;
  packetsTo: number;
  packetsFrom: number;
}

export interface GatewayView {
  targets: TargetView[];
  packetsIn: number;
  packetsToTargets: number;
  packetsFromTargets: number;
  packetsOut: number;
  flowsNew: number;
  flowsMoved: number;
  flowsActive: number;
  drops: Record<string, number>;
}

/** How the client of one held connection fares. */
export interface HeldConnection {
  client: string;
  server: string;
  alive: boolean;
  answers: number;
  /** The longest time without an answer, in milliseconds. */
  gapMs: number;
  error?: string;
}

/** Ports and paths that the appliances' rules know. */
export const FORBIDDEN_PATH = '/admin';
export const FORBIDDEN_PORT = 23;
/** What the Linux firewall among the appliances forbids. */
export const KERNEL_PORT = 22;

export const now = (): number => performance.timeOrigin + performance.now();
