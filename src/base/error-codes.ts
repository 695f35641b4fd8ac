/** Codes of errors; `docs/errors.md` has a heading for each, a test compares. */

/** The codes and what each of them means. */
export const ERROR_CODES = Object.freeze({
  ERR_GWLB_INVALID_ARGUMENT: 'an argument or option has the wrong type or form',
  ERR_GWLB_OUT_OF_RANGE: 'a number is outside of its range',
  ERR_GWLB_ATTRIBUTES: 'target group attributes that exclude each other or do not exist here',
  ERR_GWLB_DUPLICATE_TARGET: 'the target is registered already',
  ERR_GWLB_UNKNOWN_TARGET: 'no such target is registered',
  ERR_GWLB_TARGET_LIMIT: 'the target group has no room for the target',
  ERR_GWLB_DUPLICATE_ENDPOINT: 'the endpoint exists already',
  ERR_GWLB_UNKNOWN_ENDPOINT: 'no such endpoint exists',
  ERR_GWLB_ENDPOINT_LIMIT: 'the load balancer has no room for the endpoint or its zone',
  ERR_GWLB_ADDRESS_IN_USE: 'another socket has the address and port',
  ERR_GWLB_ADDRESS_NOT_AVAILABLE: 'the address belongs to no interface of this host or namespace',
  ERR_GWLB_PERMISSION: 'a privilege is missing; the message names it and the way round',
  ERR_GWLB_UNKNOWN_NAMESPACE: 'no such network namespace exists',
  ERR_GWLB_DEVICE: 'a network device cannot be made or used',
  ERR_GWLB_CLOSED: 'the object was closed before',
  ERR_GWLB_OUT_OF_MEMORY: 'memory that was asked for is not to be had',
  ERR_GWLB_IN_USE: 'the target group, or the folder of a state, belongs to another already',
  ERR_GWLB_CONFIG: 'the configuration file, or the folder of a state, is wrong',
  ERR_GWLB_CAPTURE: 'the capture file cannot be read',
  ERR_GWLB_SYSTEM: 'the operating system refused something for another reason',
} as const);

/** One of the keys of `ERROR_CODES`. */
export type GatewayErrorCode = keyof typeof ERROR_CODES;
