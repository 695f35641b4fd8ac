// The batches that an appliance hands to its inspector. Their memory belongs to the engine; what
// keeps the engine's memory alive is shared by the engine's object and the batches' (and by every
// view that JavaScript has of them), so that they may be collected in any order.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "engine/appliance_engine.h"
#include "node/class_wrap.h"

namespace gwlb::node {

struct ApplianceBatch;

struct ApplianceMemory {
  std::unique_ptr<engine::ApplianceEngine> engine;
  bool stopped = false;
  std::vector<ApplianceBatch*> lent;
};

// JavaScript counts the packets that it is shown; the native batch has more where some had got
// their flow's verdict before.
struct ApplianceBatch {
  static constexpr ClassId kClass = {"ApplianceBatch", 0x2be94d7710f3c68a};
  static constexpr uint32_t kDetailWords = engine::ApplianceLoad::kDetailWords;

  std::shared_ptr<ApplianceMemory> memory;
  int number = 0;
  // Between next() and release(); otherwise the worker may be using the batch.
  bool lent = false;

  ~ApplianceBatch();
  batch::PacketBatch& native() { return memory->engine->batch(number); }

  engine::ApplianceLoad& load() const { return memory->engine->load(number); }

  // The engine has just handed the batch over.
  void lend();
  // Takes the verdicts; the engine gets the batch back.
  void give_back();
  // Marks what is hidden: version 0.
  void hide_details();
};

// A JavaScript object around the engine's batch `number`, which the inspector must hold. `*native`
// is the part that it wraps. nullptr with an exception pending.
napi_value new_appliance_batch(Napi::Env env, const std::shared_ptr<ApplianceMemory>& memory,
                               int number, ApplianceBatch** native);

}  // namespace gwlb::node
