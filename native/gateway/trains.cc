// Fragments of a batch. Only the first of a train has the ports of all, and may stand behind others
// in the batch: so all of them are taken when the batch has been read, in their order, and those
// that still know no train after that.
#include "gateway/keys.h"
#include "wire/ipv6_chain.h"

namespace gwlb::gateway {

using batch::PacketBatch;
using flow::FragmentTable;

namespace {

using Found = FragmentTable::Found;
using Part = Fragment::Part;

// Whether a later fragment of no train that is under way is kept to wait for its first one: once.
bool hold_fragment(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if ((batch.flags[i] & batch::kWasHeld) != 0) return false;
  const uint16_t endpoint = batch.endpoint[i];
  if (!state.hold->put(batch.packet(i), batch.length[i], endpoint, state.now_ms)) return false;
  batch.verdict[i] = static_cast<uint8_t>(batch::Verdict::held);
  state.counters.add(GatewayCounter::packets_held);
  return true;
}

Found ports_of(Gateway::State& state, Fragment& fragment, const FragmentTable::Name& name) {
  if (fragment.part == Part::quoted) {
    return state.fragments->find_quoted(&fragment.keyed, name, state.now_ms);
  }
  const Role role = state.scratch.seen[fragment.packet].role;
  return state.fragments->come(&fragment.keyed, name, pass_of(role), state.now_ms);
}

// A later fragment of which is known what there is to know: its flow, or that it waits, or that it
// goes without ports.
void settle(Gateway::State& state, PacketBatch& batch, Fragment& fragment,
            const FragmentTable::Name& name, Found found) {
  const uint32_t i = fragment.packet;
  const Seen& seen = state.scratch.seen[i];
  if (found == Found::unknown || found == Found::over) {
    if (!batch.pending(i)) return;
    const bool may_wait = seen.role == Role::ingress && fragment.part == Part::later &&
                          wire::may_have_ports(fragment.keyed.version, seen.protocol);
    if (may_wait && hold_fragment(state, batch, i)) return;
    if (may_wait && found == Found::unknown) {
      state.fragments->give_up(fragment.keyed, name, state.now_ms);
    }
  }
  set_key(state, batch, i, fragment.keyed, name.key.scope);
}

// What each of its packets is cut into will have that one's identification.
void bind_whole(Gateway::State& state, const Fragment& fragment, const FragmentTable::Name& name) {
  state.fragments->bind_whole(fragment.keyed, name, state.now_ms);
  flow::FragmentKey key = name.key;
  for (uint32_t n = 1; n < fragment.trains; ++n) {
    key.id = (key.id + 1) & 0xffff;
    state.fragments->bind_whole(fragment.keyed, state.fragments->name(key), state.now_ms);
  }
}

void bind(Gateway::State& state, const Fragment& fragment, const FragmentTable::Name& name) {
  if (fragment.part == Part::whole) return bind_whole(state, fragment, name);
  const Role role = state.scratch.seen[fragment.packet].role;
  state.fragments->bind(fragment.keyed, name, pass_of(role), state.now_ms);
}

// As it was before its train was looked for: one that is over has filled in ports.
void take_back(const Seen& seen, Fragment* fragment) {
  if (fragment->part != Part::later) return;
  fragment->keyed.protocol = seen.protocol;
  fragment->keyed.flags &= static_cast<uint8_t>(~wire::kHasPorts);
}

}  // namespace

void take_trains(Gateway::State& state, PacketBatch& batch) {
  Fragments& all = state.scratch.fragments;
  const FragmentTable& table = *state.fragments;
  table.hash(all.key, all.count, all.hash);
  for (uint32_t k = 0; k < all.count; ++k) table.prefetch(all.hash[k]);
  table.prefetch_trains(all.hash, all.count, all.oldest);
  uint32_t waiting = 0;
  for (uint32_t k = 0; k < all.count; ++k) {
    Fragment& fragment = all.of[k];
    const FragmentTable::Name name = all.name(k);
    if (fragment.binds()) {
      bind(state, fragment, name);
      --all.binding;
      continue;
    }
    const Found found = ports_of(state, fragment, name);
    const bool may_follow = all.binding != 0 || waiting != 0;
    if (may_follow && (found == Found::unknown || found == Found::over)) {
      all.waiting[waiting++] = static_cast<uint16_t>(k);
    } else {
      settle(state, batch, fragment, name, found);
    }
  }
  for (uint32_t n = 0; n < waiting; ++n) {
    const uint32_t k = all.waiting[n];
    const FragmentTable::Name name = all.name(k);
    take_back(state.scratch.seen[all.of[k].packet], &all.of[k]);
    settle(state, batch, all.of[k], name, ports_of(state, all.of[k], name));
  }
}

}  // namespace gwlb::gateway
