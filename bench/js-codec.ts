// GENEVE in plain JavaScript, as one would write it who has no native code: the peers of the codec.

export const OPTION_CLASS = 0x0108;

/** What the careful parser writes its findings to: one object for all packets. */
export interface GeneveFields {
  headerLength: number;
  protocolType: number;
  vni: number;
  endpointHigh: number;
  endpointLow: number;
  attachmentHigh: number;
  attachmentLow: number;
  cookie: number;
}

export const noFields = (): GeneveFields => ({
  headerLength: 0,
  protocolType: 0,
  vni: 0,
  endpointHigh: 0,
  endpointLow: 0,
  attachmentHigh: 0,
  attachmentLow: 0,
  cookie: 0,
});

/**
 * The careful parser: one DataView, no garbage, every length checked, control packets and unknown
 * critical options refused. False where the header is not one of a gateway load balancer.
 */
export function parseFields(
  view: DataView,
  at: number,
  length: number,
  out: GeneveFields,
): boolean {
  if (length < 8) return false;
  const first = view.getUint8(at);
  if (first >>> 6 !== 0 || (view.getUint8(at + 1) & 0x80) !== 0) return false;
  const headerLength = 8 + (first & 0x3f) * 4;
  if (headerLength > length) return false;
  out.headerLength = headerLength;
  out.protocolType = view.getUint16(at + 2);
  out.vni = view.getUint32(at + 4) >>> 8;
  let seen = 0;
  let option = at + 8;
  const end = at + headerLength;
  while (option < end) {
    if (end - option < 4) return false;
    const type = view.getUint8(option + 2);
    const bytes = (view.getUint8(option + 3) & 0x1f) * 4;
    const data = option + 4;
    if (data + bytes > end) return false;
    option = data + bytes;
    if (view.getUint16(data - 4) !== OPTION_CLASS || type < 1 || type > 3) {
      if ((type & 0x80) !== 0) return false;
      continue;
    }
    if (bytes !== (type === 3 ? 4 : 8) || (seen & (1 << type)) !== 0) return false;
    seen |= 1 << type;
    if (type === 1) {
      out.endpointHigh = view.getUint32(data);
      out.endpointLow = view.getUint32(data + 4);
    } else if (type === 2) {
      out.attachmentHigh = view.getUint32(data);
      out.attachmentLow = view.getUint32(data + 4);
    } else {
      out.cookie = view.getUint32(data);
    }
  }
  return seen === 0b1110;
}

/** The idiomatic parser: returns objects, the same as `decodeGeneve` of a faultless header. */
export function parseObject(bytes: Uint8Array) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const first = view.getUint8(0);
  const flags = view.getUint8(1);
  const headerLength = 8 + (first & 0x3f) * 4;
  if (headerLength > bytes.length) throw new RangeError('truncated header');
  const options: { class: number; type: number; data: Uint8Array }[] = [];
  for (let at = 8; at < headerLength; ) {
    const end = at + 4 + (view.getUint8(at + 3) & 0x1f) * 4;
    if (end > headerLength) throw new RangeError('truncated option');
    options.push({
      class: view.getUint16(at),
      type: view.getUint8(at + 2),
      data: bytes.slice(at + 4, end),
    });
    at = end;
  }
  const find = (type: number) =>
    options.find((option) => option.class === OPTION_CLASS && option.type === type)?.data;
  const big = (data: Uint8Array) => new DataView(data.buffer, data.byteOffset).getBigUint64(0);
  const [endpoint, attachment, cookie] = [find(1), find(2), find(3)];
  return {
    header: {
      version: first >>> 6,
      oam: (flags & 0x80) !== 0,
      critical: (flags & 0x40) !== 0,
      protocolType: view.getUint16(2),
      vni: view.getUint32(4) >>> 8,
      headerLength,
      options,
    },
    gateway:
      endpoint && attachment && cookie
        ? {
            endpointId: `vpce-0${big(endpoint).toString(16).padStart(16, '0')}`,
            attachmentId: big(attachment),
            cookie: new DataView(cookie.buffer, cookie.byteOffset).getUint32(0),
          }
        : null,
    error: null,
  };
}
