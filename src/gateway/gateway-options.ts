/** The options of a `Gateway`: their meaning, ranges and defaults, and the check of them. */
import { checkOptions } from '../base/errors.js';
import { flag } from '../base/option-kinds.js';
import { fillOptions, type TableOf } from '../base/option-table.js';
import { gatewayAddress, portNumber } from '../packet/option-kinds.js';
import { type BaseSettings, checkBase } from './base-settings.js';
import { GATEWAY_BASE } from './option-tables.js';
import type { GatewayBaseOptions } from './options.js';

/** Options of a `Gateway`. */
export interface GatewayOptions extends GatewayBaseOptions {
  /**
   * Whether packets to and from targets begin with their outer IPv4 and UDP headers (68 bytes of
   * overhead), or with the GENEVE header (40 bytes; a UDP socket adds the rest). Default false.
   */
  outerHeaders?: boolean;
  /** Own IPv4 address, the outer source; required with `outerHeaders`. */
  address?: string;
  /** UDP port that GENEVE is received on. Default 6081. */
  port?: number;
}

const OWN = {
  outerHeaders: {
    says: 'packets to and from targets begin with outer IPv4 and UDP headers (68 bytes) rather than with GENEVE (40 bytes)',
    kind: flag,
    preset: false,
  },
  address: {
    says: 'own IPv4 address, the outer source; required with `outerHeaders`',
    kind: gatewayAddress,
    preset: 0,
    presetText: 'none',
    variant: { when: ['outerHeaders', true], preset: undefined },
  },
  port: { says: 'UDP port that GENEVE is received on', kind: portNumber, preset: 6081 },
} as const satisfies TableOf<Omit<GatewayOptions, keyof GatewayBaseOptions>>;

/** The options of a `Gateway`. */
export const GATEWAY = { ...OWN, ...GATEWAY_BASE } satisfies TableOf<GatewayOptions>;

/** The options of a `Gateway`, checked. */
export function checkGateway(value: unknown, field = 'options'): BaseSettings {
  const given = checkOptions(field, value, Object.keys(GATEWAY));
  const { outerHeaders, address, port } = fillOptions(OWN, field, given);
  const base = checkBase(field, given, address, port);
  return { ...base, config: { ...base.config, outerHeaders } };
}
