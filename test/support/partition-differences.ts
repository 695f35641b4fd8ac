/** Where other judges sort the captures' packets into flows differently, and why they may. */

export type Judge = 'Community ID' | 'conntrack';

export interface Allowed {
  judge: Judge;
  /** With the rule of docs/rules.md where it is one that makes the difference. */
  why: string;
  /** By capture, in the words of `differences`. */
  where: Record<string, readonly string[]>;
}

export const ALLOWED: readonly Allowed[] = [
  {
    judge: 'conntrack',
    why: 'only one direction was captured: the kernel refuses an acknowledgment of what it has not seen',
    where: { 'async/suricata-verify--http-async-cli.pcap': ['ours 1-8, theirs 1 | - 2-8'] },
  },
  {
    judge: 'conntrack',
    why: 'an IP length of 0 is the captured one, as on the host; the kernel knows no such packet from outside',
    where: {
      'geneve-big/tcpdump--bigtcp-ipv4-geneve-ipv4.pcap': ['ours 1, theirs - 1'],
      'geneve-big/tcpdump--bigtcp-ipv6-geneve-ipv4.pcap': ['ours 1, theirs - 1'],
    },
  },
  {
    judge: 'conntrack',
    why: 'C3: picked up in the middle; the kernel refuses what cannot open a connection, or comes after its end',
    where: {
      'flow-mixed/zeek--wikipedia-filtered-plus-udp.pcap': ['ours 48, theirs - 48'],
      'flow-tcp/zeek--fin_retransmission.pcap': ['ours 1-5, theirs 1 3-5 | - 2'],
      'flow-tcp/zeek--handshake-reorder.pcap': ['ours 1-14, theirs - 1 3-4 10-14 | 2 5-9'],
      'flow-tcp/zeek--rst-inject-rae.pcap': ['ours 1-9, theirs 1-2 | - 3 | 4-9'],
      'geneve-l3/tcpdump--geneve-gcp.pcap': ['ours 1, theirs - 1'],
      'geneve-vectors/ovs--tunnel-push-pop-geneve-opts.pcap': ['ours 1, theirs - 1'],
      'other-l4/suricata-verify--decode-sctp-01.pcap': ['ours 1, theirs - 1'],
      'real-stacks/ovs31-gwlb-and-appliance-aws-tlvs-eth.pcap': [
        'ours 158 160 162 164, theirs 158 160 162 | - 164',
      ],
    },
  },
  {
    judge: 'Community ID',
    why: 'F1: later fragments have the ports of their train; Community ID goes by addresses, or has nothing to say',
    where: {
      'frag/PcapPlusPlus--IPv4Frag.pcap': ['ours 1-3, theirs 1 | 2-3'],
      'frag/nDPI--dns_fragmented.pcap': [
        'ours 1-3, theirs 1-2 | 3',
        'ours 4-6, theirs 4-5 | - 6',
        'ours 7-9, theirs 7-8 | - 9',
        'ours 10-12, theirs 10-11 | 12',
        'ours 15-17, theirs 15-16 | 17',
        'ours 36-39, theirs 36-38 | - 39',
        'ours 40-42, theirs 40-41 | 42',
      ],
      'frag/suricata-verify--frag-1.pcap': ['ours 1-2 5-6 8-11, theirs 1-2 5 10-11 | - 6 8-9'],
      'frag/suricata-verify--frag-eth-vlan-ipv6-tcp.pcap': ['ours 1-3, theirs 1 | - 2-3'],
      'frag/suricata-verify--ipv4frags.pcap': ['ours 1-3, theirs 1 3 | 2'],
      'frag/zeek--fragmented-1.pcap': ['ours 1-3, theirs 1 3 | 2'],
      'frag/zeek--fragmented-2.pcap': ['ours 1-3, theirs 1 3 | 2'],
      'frag/zeek--ipv6-fragmented-dns.pcap': [
        'ours 3 5-8, theirs 3 5-6 | - 7-8',
        'ours 4, theirs - 4',
      ],
      'real-stacks/ovs31-gwlb-and-appliance-aws-tlvs-eth.pcap': [
        'ours 11-14 17-32, theirs 11-14 17-21 24 27 30 | 22-23 25-26 28-29 31-32',
        'ours 33-52, theirs 33-41 44 47 50 | - 42-43 45-46 48-49 51-52',
      ],
    },
  },
  {
    judge: 'conntrack',
    why: 'K1: any protocol is a flow; the kernel does not track neighbour discovery and multicast listeners',
    where: {
      'frag/suricata-verify--frag-1.pcap': [
        'ours 3, theirs - 3',
        'ours 4 7, theirs - 4 7',
        'ours 12-13, theirs - 12-13',
      ],
      'frag/suricata-verify--frag-25.pcap': [
        'ours 3, theirs - 3',
        'ours 4-5, theirs - 4-5',
        'ours 6-7, theirs - 6-7',
      ],
      'frag/suricata-verify--frag-9.pcap': ['ours 3, theirs - 3', 'ours 4-5, theirs - 4-5'],
      'icmp6-nd/zeek--icmp6-mldv2.pcap': [
        'ours 1, theirs - 1',
        'ours 2, theirs - 2',
        'ours 3, theirs - 3',
        'ours 4, theirs - 4',
        'ours 5, theirs - 5',
      ],
      'icmp6-nd/zeek--icmp6-neighbor-advert.pcap': ['ours 1, theirs - 1'],
      'icmp6-nd/zeek--icmp6-router-solicit.pcap': ['ours 1, theirs - 1'],
      'ip6-ext/suricata-verify--covert_send6.pcap': ['ours 37, theirs - 37'],
      'real-stacks/ovs31-gwlb-and-appliance-aws-tlvs-eth.pcap': [
        'ours 1-4, theirs - 1-4',
        'ours 5-6 15-16, theirs - 5-6 15-16',
        'ours 7-10, theirs - 7-10',
      ],
    },
  },
  {
    judge: 'conntrack',
    why: 'the kernel takes nothing from its own loopback address',
    where: {
      'frag/suricata-verify--frag-eth-vlan-ipv6-tcp.pcap': ['ours 1-3, theirs - 1-3'],
    },
  },
  {
    judge: 'Community ID',
    why: "F4: a first fragment without all of TCP's ports is dropped, and TCP at offset 8",
    where: {
      'frag/suricata-verify--frag-ip-tcp-syn.pcap': [
        'ours - 1, theirs 1',
        'ours - 2 | 3, theirs 2-3',
      ],
    },
  },
  {
    judge: 'conntrack',
    why: "F4: a first fragment without all of TCP's ports is dropped, and TCP at offset 8",
    where: {
      'frag/suricata-verify--frag-ip-tcp-syn.pcap': ['ours - 1-2 | 3, theirs 1-3'],
    },
  },
  {
    judge: 'conntrack',
    why: 'the kernel never gets the train together: pieces are missing or overlap',
    where: {
      'frag/zeek--fragmented-1.pcap': ['ours 1-3, theirs - 1-3'],
      'frag/zeek--fragmented-2.pcap': ['ours 1-3, theirs - 1-3'],
      'frag/zeek--ipv6-fragmented-dns.pcap': ['ours 4, theirs - 4'],
    },
  },
  {
    judge: 'Community ID',
    why: 'I4: we drop what is malformed',
    where: {
      'icmp-error/zeek--icmp-destunreach-no-context.pcap': ['ours - 1, theirs 1'],
    },
  },
  {
    judge: 'conntrack',
    why: 'K1: the flow of an echo is its addresses and protocol; the kernel goes by its id too',
    where: {
      'geneve-gwlb/tx-gwlb-for-demo--tencent-gwlb-geneve.pcap': [
        'ours 1 3 5 7 9-10 12 15-17, theirs 1 3 5 7 9 | 10 12 15-17',
      ],
      'real-stacks/ovs31-gwlb-and-appliance-aws-tlvs-eth.pcap': [
        'ours 11-14 17-32, theirs 11-14 17-20 | 21-32',
        'ours 33-52, theirs 33-40 | 41-52',
      ],
    },
  },
  {
    judge: 'Community ID',
    why: 'Wireshark reads no packet where the header says another protocol, or none',
    where: {
      'geneve-vectors/scapy--uts-eth-ipv4.pcap': ['ours 2, theirs - 2'],
      'malformed-ip/suricata-verify--wrong-version-ipv4-ipv6.pcap': ['ours 1, theirs - 1'],
    },
  },
  {
    judge: 'conntrack',
    why: 'I2: the connection of the quoted packet is not there, so the kernel has nothing to say',
    where: {
      'icmp-error/zeek--icmp-destunreach-udp.pcap': ['ours 1, theirs - 1'],
      'icmp-error/zeek--icmp-timeexceeded.pcap': ['ours 1, theirs - 1'],
      'icmp-error/zeek--icmp6-destunreach-ip6ext-udp.pcap': ['ours 1, theirs - 1'],
      'icmp-error/zeek--icmp6-redirect-hdr-opt.pcap': ['ours 1, theirs - 1'],
      'icmp-error/zeek--icmp6-toobig.pcap': ['ours 1, theirs - 1'],
    },
  },
  {
    judge: 'Community ID',
    why: 'K1: any protocol is a flow; Community ID knows no such message of ICMPv6',
    where: {
      'icmp6-nd/zeek--icmp6-mldv2.pcap': ['ours 3, theirs - 3', 'ours 5, theirs - 5'],
    },
  },
  {
    judge: 'Community ID',
    why: 'I1: ICMP errors are of the flow they quote',
    where: {
      'real-stacks/ovs31-gwlb-and-appliance-aws-tlvs-eth.pcap': [
        'ours 145-148 | 149-152, theirs 145-146 | 147-148 151-152 | 149-150',
        'ours 153-156, theirs 153-154 | 155-156',
      ],
    },
  },
];
