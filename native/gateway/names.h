// What is said of flows and packets, with the names under which users hear of it. Each list stands
// here alone: JavaScript gets names, or learns the numbers of them from the addon.
#pragma once

#include <cstdint>

namespace gwlb::gateway {

#define GWLB_VALUE(value, name) value,
#define GWLB_NAME(value, name) name,

#define GWLB_FLOW_EVENT_TYPES(X)                   \
  X(opened, "opened") /* pinned to a target     */ \
  X(moved, "moved")   /* to another target      */ \
  X(ended, "ended")   /* out of the table       */ \
  X(lives, "lives")   /* a report of its counts */

#define GWLB_FLOW_CAUSES(X)                                                                     \
  X(none, "none")                   /* of `lives`                                          */   \
  X(opened_new, "new")              /* opened                                              */   \
  X(picked_up, "picked-up")         /* opened: TCP in mid-stream                           */   \
  X(reopened, "reopened")           /* opened: a SYN with the tuple of a flow that was there */ \
  X(learnt, "learnt")               /* opened: from a returned packet with a good tag      */   \
  X(target_failed, "target-failed") /* moved                                               */   \
  X(target_gone, "target-gone")     /* moved                                               */   \
  X(closed, "closed")               /* ended, like all that follow                         */   \
  X(reset, "reset")                 /* by one of its ends                                  */   \
  X(idle, "idle")                                                                               \
  X(replaced, "replaced") /* by one that was reopened                            */             \
  X(evicted, "evicted")                                                                         \
  X(refused, "refused") /* its packets were answered with a RST                */               \
  X(stopped, "stopped") /* it was alive when the gateway was closed            */

// What decides about a packet.
#define GWLB_RULES(X)                                           \
  X(none, "dropped")                                            \
  X(row, "new")             /* new flow                      */ \
  X(picked_up, "picked-up") /* new flow, TCP in mid-stream   */ \
  X(pinned, "pinned")                                           \
  X(reopened, "reopened")                                       \
  X(moved, "moved")                                             \
  X(refused, "refused") /* answered with a RST           */     \
  X(bypass, "bypassed")

// What the next packet of a live flow would do under another target table.
#define GWLB_FATES(X)                            \
  X(stays, "stays")                              \
  X(moves, "moves")                              \
  X(refused, "reset") /* answered with a RST  */ \
  X(no_target, "no_target")

// Idle classes of the flow tables: after what a flow ends.
#define GWLB_IDLE_CLASSES(X)                                                      \
  X(kIdleTcp, "tcp")         /* tcp_idle_ms                                */     \
  X(kIdleOther, "other")     /* other_idle_ms                              */     \
  X(kIdleClosing, "closing") /* FIN both ways                              */     \
  X(kIdleReset, "reset")     /* RST seen; as before if the connection lives on */ \
  X(kIdleSyn, "syn-seen")                                                         \
  X(kIdleSynAcked, "syn-ack-seen") /* the SYN-ACK that answers it                */

// TCP packets of unknown flows.
#define GWLB_MID_STREAM(X) \
  X(automatic, "auto")     \
  X(drop, "drop")          \
  X(pickup, "pickup")

enum class FlowEventType : uint8_t { GWLB_FLOW_EVENT_TYPES(GWLB_VALUE) };
enum class FlowCause : uint8_t { GWLB_FLOW_CAUSES(GWLB_VALUE) };
enum class Rule : uint8_t { GWLB_RULES(GWLB_VALUE) };
enum class Fate : uint8_t { GWLB_FATES(GWLB_VALUE) };
enum IdleClass : uint8_t { GWLB_IDLE_CLASSES(GWLB_VALUE) };
enum class MidStream : uint8_t { GWLB_MID_STREAM(GWLB_VALUE) };

inline constexpr const char* kFlowEventTypeNames[] = {GWLB_FLOW_EVENT_TYPES(GWLB_NAME)};
inline constexpr const char* kFlowCauseNames[] = {GWLB_FLOW_CAUSES(GWLB_NAME)};
inline constexpr const char* kRuleNames[] = {GWLB_RULES(GWLB_NAME)};
inline constexpr const char* kFateNames[] = {GWLB_FATES(GWLB_NAME)};
inline constexpr const char* kIdleClassNames[] = {GWLB_IDLE_CLASSES(GWLB_NAME)};
inline constexpr const char* kMidStreamNames[] = {GWLB_MID_STREAM(GWLB_NAME)};

#undef GWLB_VALUE
#undef GWLB_NAME

}  // namespace gwlb::gateway
